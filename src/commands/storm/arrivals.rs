//! Results of the storm: each write of a Secret, and finally whether the Secret is right.

use std::cell::RefCell;
use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::oneshot;

use super::drive::insist;
use super::plan::Plan;
use super::tally::Tally;
use crate::kubernetes::client::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::kubernetes::journal_segments;
use crate::pki::inspect;

/// Number of Secrets read concurrently for verification.
const AT_ONCE: usize = 16;

/// Records each write of a Secret managed by the operator, forever. Reads only metadata, so no key
/// is transferred.
pub(super) async fn watch(client: Client, tally: &RefCell<Tally>, watching: oneshot::Sender<()>) {
    let secrets: Api<PartialObjectMeta<Secret>> = Api::all(client);
    let ours = format!("{MANAGED_BY_LABEL}={MANAGED_BY},!{}", journal_segments::LABEL);
    let config = watcher::Config::default().labels(&ours).page_size(500);
    let mut events = std::pin::pin!(watcher(secrets, config).default_backoff());
    let mut watching = Some(watching);
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(secret) | watcher::Event::InitApply(secret)) => {
                note(&secret, tally);
            }
            Ok(watcher::Event::InitDone) => {
                watching.take().map(|watching| watching.send(()));
            }
            // The watcher lists and watches again by itself.
            Ok(_) | Err(_) => {}
        }
    }
}

fn note(secret: &PartialObjectMeta<Secret>, tally: &RefCell<Tally>) {
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    let (namespace, name) = (of(&secret.metadata.namespace), of(&secret.metadata.name));
    tally.borrow_mut().written(&namespace, &name);
}

/// Reads the Secrets that are not verified yet, and records those that are right.
pub(super) async fn verify(client: &Client, plan: &Plan, tally: &RefCell<Tally>) {
    let doubtful = tally.borrow().to_verify();
    stream::iter(doubtful)
        .for_each_concurrent(AT_ONCE, |number| async move {
            let written = written(tally, number);
            let names = names(client, plan, number).await;
            // A Secret written in the meantime is checked again.
            if names == Some(plan.final_hosts(number)) && written == self::written(tally, number) {
                tally.borrow_mut().verified(number);
            }
        })
        .await;
}

fn written(tally: &RefCell<Tally>, number: u32) -> Option<std::time::Duration> {
    tally.borrow().rows().get(number as usize)?.written
}

/// Returns the names in the Secret's certificate.
async fn names(client: &Client, plan: &Plan, number: u32) -> Option<BTreeSet<String>> {
    let (namespace, name) = plan.secret(number);
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let secret = insist(async || api.get(&name).await).await.ok()?;
    let chain = secret.data?.remove("tls.crt")?.0;
    Some(inspect(std::str::from_utf8(&chain).ok()?, None).ok()?.names)
}
