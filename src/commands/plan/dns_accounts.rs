//! DNS accounts as far as a user may read them: they decide which wildcards are proved.

use std::sync::Arc;

use ingress_acme_actors::domain::dns::account::DnsAccounts;
use ingress_acme_actors::domain::dns::account_secret::LABEL;
use ingress_acme_actors::domain::limits;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::dns_providers::accounts::account_of;
use crate::kubernetes::client::detail;
use crate::process::clock::SystemClock;

/// Reads the accounts of the operator's `namespace`, and returns notes about those that it cannot
/// use. The provider is not asked.
///
/// # Errors
/// A note for the plan, which is then made without accounts.
pub(super) async fn dns_accounts(
    client: &Client,
    namespace: &str,
) -> Result<(DnsAccounts, Vec<String>), String> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let most = u32::try_from(limits::DNS_ACCOUNTS).unwrap_or(u32::MAX);
    let ours = ListParams::default().labels(&format!("{LABEL}=true")).limit(most);
    let listed = secrets.list(&ours).await.map_err(|error| {
        let why = match &error {
            kube::Error::Api(status) if status.code == 403 => "may not be read by you".to_owned(),
            other => format!("cannot be read ({})", detail(other)),
        };
        format!(
            "DNS accounts of namespace {namespace} {why}, so wildcards seem to be proved by none. The operator reads them"
        )
    })?;
    let (mut accounts, mut notes) = (Vec::new(), Vec::new());
    let clock = Arc::new(SystemClock::default());
    for secret in &listed.items {
        match account_of(secret, client, clock.clone()) {
            Ok(account) => accounts.push(account),
            Err(why) => notes.push(format!(
                "Secret {namespace}/{} cannot be used as a DNS account: {why}. An operator that has read it before that \
                 edit uses it as it was, until a restart",
                secret.metadata.name.as_deref().unwrap_or_default()
            )),
        }
    }
    Ok((DnsAccounts::new(accounts), notes))
}
