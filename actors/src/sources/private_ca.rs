//! Look for proof that a CA at a public address is a private one, before Ingresses are checked: its
//! certificates for internal names are renewed then.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use futures_util::stream::{self, StreamExt};
use tokio::time::timeout;
use tracing::info;

use crate::context::OperatorContext;
use crate::dedup::registry::Registry;
use crate::domain::desired::index::has_internal_names;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::limits;
use crate::reporting::metrics::Source;

/// Secrets that may prove the CA of the `wanted` Ingresses to be a private one, a bounded number of
/// each namespace. None is looked for, and no Ingress looked at, where the CA is known.
pub(super) fn possible_proofs(
    context: &OperatorContext,
    wanted: impl Fn(&IngressKey) -> bool,
) -> BTreeSet<SecretKey> {
    let index = context.index.borrow();
    let (mut proofs, mut of_namespace) = (BTreeSet::new(), HashMap::<_, usize>::new());
    if !index.may_be_proven() {
        return proofs;
    }
    let keys = index.managed().filter(|key| wanted(key));
    for proof in keys.flat_map(|key| index.possible_proofs(key)) {
        let count = of_namespace.entry(proof.namespace.clone()).or_default();
        if *count < limits::HOLDER_SECRETS && proofs.insert(proof) {
            *count += 1;
        }
    }
    proofs
}

/// Reads Secrets, each once, until one proves for its namespace that the CA is a private one. Then
/// notifies the registry of all Ingresses of the namespace with internal names. Ends after
/// [`limits::PROOFS`], because all Ingresses wait for it; the rest follows with the next scan.
pub(super) async fn look_for_proofs(
    context: &OperatorContext,
    registry: &Rc<Registry>,
    secrets: BTreeSet<SecretKey>,
) {
    _ = timeout(limits::PROOFS, read_all(context, registry, secrets)).await;
}

async fn read_all(
    context: &OperatorContext,
    registry: &Rc<Registry>,
    secrets: BTreeSet<SecretKey>,
) {
    let reads = stream::iter(secrets).map(|secret| async move {
        let is_open = context.index.borrow().is_unproven(&secret.namespace);
        (is_open && is_proof(context, &secret).await).then_some(secret)
    });
    let mut proofs = reads.buffer_unordered(limits::SCAN_AT_ONCE);
    while let Some(proof) = proofs.next().await {
        let Some(secret) = proof else { continue };
        let changed = context.index.borrow_mut().prove_private(&secret.namespace);
        if !changed.is_empty() {
            info!(%secret, "the CA has issued a certificate for an internal name: it is a private one");
        }
        for key in changed {
            registry.notify(&key.into(), Source::Scan);
        }
    }
}

/// Whether the CA in use has issued the certificate of a Secret, for an internal name.
async fn is_proof(context: &OperatorContext, secret: &SecretKey) -> bool {
    let read = timeout(limits::KUBE_CALL, context.tls_secrets.read(secret)).await;
    let Ok(Ok(Some(found))) = read else { return false };
    let certificate =
        found.issued_by(&context.cas.set().cas.first.directory).filter(|one| one.key_matches);
    certificate.is_some_and(has_internal_names)
}
