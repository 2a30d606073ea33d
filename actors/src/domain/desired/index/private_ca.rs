//! Private CAs at public addresses. Such a CA looks like a public one, which certifies no internal
//! name; a certificate that it has issued for such a name proves that it is a private one.
//!
//! Users write Secrets, so that a proof counts in the namespace of its Secret only.

use std::sync::Arc;

use super::Index;
use super::indexed_ingress::IndexedIngress;
use crate::domain::certificate::CertificateView;
use crate::domain::desired::plan::plan;
use crate::domain::desired::problem::Problem;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::public_name::{PublicCa, check_public};

impl Index {
    /// Whether Ingresses of a namespace get certificates for public names only.
    pub(super) fn only_public(&self, namespace: &str) -> bool {
        self.selection.public_ca == PublicCa::Yes || self.is_unproven(namespace)
    }

    /// Secrets that may prove the CA of an Ingress to be a private one: those for which the Ingress
    /// asks for internal names, while these are left out.
    pub(crate) fn possible_proofs(&self, key: &IngressKey) -> Vec<SecretKey> {
        if !self.is_unproven(&key.namespace) {
            return Vec::new();
        }
        let entry = self.entries.get(key).filter(|entry| has_left_out(entry));
        let Some(entry) = entry else { return Vec::new() };
        let plan = plan(&entry.view);
        let open = plan.open.then(|| Self::possible_secrets(key));
        let planned = plan.certificates.into_iter();
        let planned = planned.filter(|one| any_internal(&one.names)).map(|one| one.secret);
        let planned = planned.chain(open.into_iter().flatten());
        // The Secret of a group that was split is in `spec.tls` only.
        let named = entry.view.tls.iter().filter_map(|block| block.secret_name.as_deref());
        let named = named.map(|name| SecretKey::new(&key.namespace, name));
        planned.chain(named.take(limits::CLAIMANTS_READ)).collect()
    }

    /// Whether a certificate may prove that the CA is a private one.
    pub(crate) fn may_be_proven(&self) -> bool {
        self.selection.public_ca == PublicCa::ByAddress
    }

    /// Whether nothing in this namespace is such a proof yet.
    pub(crate) fn is_unproven(&self, namespace: &str) -> bool {
        self.may_be_proven() && !self.proven_private.contains(namespace)
    }

    /// Serves the internal names of a namespace from now on, too. Returns the keys to reconcile.
    pub(crate) fn prove_private(&mut self, namespace: &Arc<str>) -> Vec<IngressKey> {
        if !self.proven_private.insert(namespace.clone()) {
            return Vec::new();
        }
        let within = self.entries.iter().filter(|(key, _)| key.namespace == *namespace);
        let entries = within.map(|(_, entry)| entry).filter(|entry| has_left_out(entry));
        let views: Vec<_> = entries.map(|entry| (entry.view.clone(), entry.space)).collect();
        views.into_iter().flat_map(|(view, space)| self.replan(view, None, space)).collect()
    }
}

/// Whether internal names of an Ingress are left out.
fn has_left_out(entry: &IndexedIngress) -> bool {
    entry.plan.problems.iter().any(|problem| matches!(problem, Problem::NotPublic { .. }))
}

/// Whether a certificate has a name that no public CA certifies.
pub(crate) fn has_internal_names(certificate: &CertificateView) -> bool {
    let names: Vec<DnsName> =
        certificate.names.iter().filter_map(|name| DnsName::parse(name).ok()).collect();
    any_internal(&names)
}

fn any_internal(names: &[DnsName]) -> bool {
    names.iter().any(|name| check_public(name).is_err())
}
