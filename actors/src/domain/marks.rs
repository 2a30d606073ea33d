//! Marks of other programs on an Ingress: annotations, labels and classes that say who makes its
//! certificate. The adapter knows their names, and `docs/ingresses.md` has a row for each.

/// Mark of another program. Of several marks on one Ingress, the first variant counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mark {
    /// Another issuer serves the Ingress; the field is its annotation or label. First of all: a
    /// canary that was copied with its annotations would be renewed against that issuer.
    OtherIssuer(String),
    /// A minion of a master Ingress; the field is the annotation. The controller (F5 NGINX) rejects
    /// a minion with `spec.tls`, and its paths are no longer served. The TLS is the master's.
    Minion(&'static str),
    /// A canary; the field is the annotation. The controller (ingress-nginx) serves the host with
    /// the TLS of the main Ingress.
    Canary(&'static str),
    /// `kubernetes.io/tls-acme: "false"`: an opt-out.
    TlsAcmeOff,
    /// The TLS of the hosts is made elsewhere; the field is the annotation, label or class.
    MadeElsewhere(String),
    /// `kubernetes.io/tls-acme: "true"`, the oldest way to ask for a certificate of an ACME CA.
    TlsAcme,
}

/// kube-lego's annotation, which cert-manager also supports.
pub const TLS_ACME: &str = "kubernetes.io/tls-acme";
