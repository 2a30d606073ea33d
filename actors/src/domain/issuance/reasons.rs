//! Why work cannot go on, in words for users, with what they can do.

use crate::domain::certificate::SecretView;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::time::Timestamp;

/// Why a Secret must not be written, if it must not.
pub(super) fn not_ours(secret: &SecretView, desired: &DesiredCertificate) -> Option<&'static str> {
    if secret.immutable {
        return Some("is immutable (delete it, or name another secretName)");
    }
    if !secret.is_tls {
        return Some("is not of type kubernetes.io/tls (delete it, or name another secretName)");
    }
    (!secret.ours && !desired.adopt).then_some(
        "was not made by ingress-acme (annotate the Ingress with ingress-acme.dev/adopt-secret: \"true\" to \
         hand it over, or name another secretName)",
    )
}

/// One certificate cannot carry them.
pub(super) fn too_many_names(desired: &DesiredCertificate) -> Failure {
    let (count, max) = (desired.names.len(), desired.most_names());
    let detail = format!(
        "Secret {} would need a certificate for {count} names, and a CA takes {max} at most; split its hosts \
         over several spec.tls blocks",
        desired.secret
    );
    Failure::new(FailureClass::InvalidSpec, detail)
}

/// An order that the CA does not get on with.
pub(super) fn overdue(opened_at: Timestamp) -> Failure {
    let detail =
        format!("the CA has not finished the order opened at {opened_at}; a new one is opened");
    Failure::new(FailureClass::AcmeServer, detail)
}
