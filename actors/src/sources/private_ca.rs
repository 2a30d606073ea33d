//! Look for proof that a CA at a public address is a private one, before the check of an Ingress:
//! its certificates for internal names are renewed then.

use std::rc::Rc;

use tokio::time::timeout;
use tracing::info;

use crate::context::OperatorContext;
use crate::dedup::registry::Registry;
use crate::domain::desired::index::has_internal_names;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::limits;
use crate::reporting::metrics::Source;

/// Reads the Secrets of an Ingress whose internal names are left out. If the CA in use has issued
/// one of them, notifies the registry of all Ingresses of the namespace with such names.
pub(super) async fn look_for_proof(
    context: &OperatorContext,
    registry: &Rc<Registry>,
    key: &IngressKey,
) {
    let secrets = context.index.borrow().possible_proofs(key);
    for secret in secrets {
        if !is_proof(context, &secret).await {
            continue;
        }
        info!(%secret, "the CA has issued a certificate for an internal name: it is a private one");
        let changed = context.index.borrow_mut().prove_private(&secret.namespace);
        for key in changed {
            registry.notify(&key.into(), Source::Scan);
        }
        return;
    }
}

/// Whether the CA in use has issued the certificate of a Secret, for an internal name.
async fn is_proof(context: &OperatorContext, secret: &SecretKey) -> bool {
    let read = timeout(limits::KUBE_CALL, context.tls_secrets.read(secret)).await;
    let Ok(Ok(Some(found))) = read else { return false };
    let certificate = found.issued_by(&context.directory).filter(|one| one.key_matches);
    certificate.is_some_and(has_internal_names)
}
