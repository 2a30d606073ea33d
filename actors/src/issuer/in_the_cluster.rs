//! Steps in the cluster: the Secret, the way to the hosts, `spec.tls`.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use tokio::time::timeout;
use tracing::debug;

use super::Office;
use super::steps::bounded;
use crate::domain::desk::Run;
use crate::domain::failure::FailureClass;
use crate::domain::issuance::{Command, Reach, Seen};
use crate::domain::limits;
use crate::domain::validity::{Reason, judge};
use crate::domain::wish::Wish;
use crate::messages::Publish;
use crate::metrics::Kind;
use crate::ports::{Installation, PortError};

impl Office {
    pub(super) async fn read_secret(&self, run: &mut Run) {
        let read = bounded(limits::KUBE_CALL, "API server", self.vault.read(&run.stream)).await;
        if let Some(status) = self.succeeded(run, FailureClass::SecretWrite, read) {
            self.metrics.secret(&run.stream, status.as_ref());
            run.seen.secret = Some((status, self.clock.now()));
        }
    }

    pub(super) async fn publish_routes(&self, run: &mut Run, wish: Wish) {
        let publish = Publish { stream: run.stream.clone(), routes: wish.routes };
        let published = async {
            let answer = self.routes.publish.send(publish).await;
            answer.unwrap_or_else(|gone| Err(PortError::passing(gone.to_string())))
        };
        let published = bounded(limits::ROUTE_CALL, "API server", published).await;
        if self.succeeded(run, FailureClass::SecretWrite, published).is_some() {
            run.seen.routes = true;
            run.seen.progressed();
        }
    }

    /// Hosts that were reached are not probed again.
    pub(super) async fn probe_hosts(&self, run: &mut Run, wish: &Wish) {
        let reached = |host| run.seen.reach.get(host) == Some(&Reach::Reached);
        let (known, unknown): (Vec<_>, Vec<_>) = wish.names.iter().partition(|host| reached(host));
        let probes = stream::iter(unknown).map(|host| async move {
            let late = |_| Reach::Elsewhere("no answer in time".to_owned());
            let found = timeout(limits::PROBE_CALL, self.probe.probe(host)).await;
            (host.clone(), found.unwrap_or_else(late))
        });
        let probed: Vec<_> = probes.buffer_unordered(limits::PROBES_AT_ONCE).collect().await;
        let known = known.into_iter().map(|host| (host.clone(), Reach::Reached));
        let reach: BTreeMap<_, _> = known.chain(probed).collect();
        run.seen.probed(reach, self.clock.now());
        if let Some((host, found)) = run.seen.unreached() {
            debug!(%host, ?found, "not reached");
        }
    }

    pub(super) async fn install(&self, run: &mut Run, wish: &Wish) {
        let (Some(issuance), Some(chain)) = (self.issuance(run), run.seen.chain.clone()) else {
            return;
        };
        let started_at = issuance.started_at;
        let kind = self.kind(run, wish);
        let what = Installation {
            chain: chain.pem,
            key: issuance.key,
            owners: wish.owners.clone(),
            renew: issuance.renew,
            adopt: wish.adopt,
        };
        let installed = self.vault.install(&run.stream, what);
        let installed = bounded(limits::KUBE_CALL, "API server", installed).await;
        if let Err(PortError::Passing { .. }) = installed {
            run.seen.secret = None; // it may have changed under us: read it again before the next try
        }
        let Some(status) = self.succeeded(run, FailureClass::SecretWrite, installed) else {
            return;
        };
        let (serial, not_after) = (chain.leaf.serial.clone(), chain.leaf.not_after);
        if self.commit(run, Command::Installed { serial, not_after }).await {
            let now = self.clock.now();
            self.metrics.issued(kind, now.since(started_at));
            self.metrics.secret(&run.stream, status.as_ref());
            run.seen = Seen { secret: Some((status, now)), ..Seen::default() };
        }
    }

    pub(super) async fn update_owners(&self, run: &mut Run, wish: &Wish) {
        let updated = self.vault.set_owners(&run.stream, &wish.owners);
        let updated = bounded(limits::KUBE_CALL, "API server", updated).await;
        if let Some(status) = self.succeeded(run, FailureClass::SecretWrite, updated) {
            run.seen.secret = Some((status, self.clock.now()));
        }
    }

    pub(super) async fn fill_tls(&self, run: &mut Run, wish: &Wish) {
        for (ingress, names) in &wish.fill {
            let filled = self.vault.fill_tls(ingress, &run.stream, names);
            let filled = bounded(limits::KUBE_CALL, "API server", filled).await;
            if self.succeeded(run, FailureClass::SecretWrite, filled).is_none() {
                return;
            }
        }
        run.seen.filled = true;
    }

    /// What the certificate about to be installed replaces.
    fn kind(&self, run: &Run, wish: &Wish) -> Kind {
        let secret = run.seen.secret.as_ref().and_then(|(secret, _)| secret.as_ref());
        match judge(secret, wish, &self.directory, self.clock.now()) {
            Err(reason) if reason.is_first() => Kind::First,
            Err(Reason::DueForRenewal(_) | Reason::Requested) => Kind::Renew,
            _ => Kind::Replace,
        }
    }
}
