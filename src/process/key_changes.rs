//! Account keys that other processes have changed, as every replica learns of them.

use std::rc::Weak;
use std::time::Duration;

use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::said::Said;
use ingress_acme_actors::ports::bounded;
use tokio::time::sleep;
use tracing::warn;

use crate::acme::Acme;

/// Time between checks of the account for a replaced key, on every replica. One small read each.
pub(super) const FOLLOW: Duration = Duration::from_mins(1);

/// Reloads the account key periodically, as long as the client is in use: challenges must be
/// answered with the newest key.
pub(super) async fn follow(acme: Weak<Acme>) {
    let mut said = Said::default();
    loop {
        sleep(FOLLOW).await;
        let Some(acme) = acme.upgrade() else { return };
        match bounded(limits::KUBE_CALL, "API server", acme.follow()).await {
            Ok(()) => said.has_ended(&()),
            Err(error) if said.is_news((), error.to_string()) => {
                warn!(%error, retry_in = ?FOLLOW, "the account key cannot be read");
            }
            Err(_) => {}
        }
    }
}
