//! Marks of other programs on an Ingress, by their names: annotations, labels and classes that say
//! who makes its certificate. `docs/ingresses.md` has a row for each.

use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::marks::{Mark, TLS_ACME};

use crate::kubernetes::client::MINION;

/// The annotation of an Ingress that has minions.
pub(super) const MASTER: (&str, &str) = (MINION.0, "master");

/// Annotation that makes an Ingress a canary (ingress-nginx).
const CANARY: &str = "nginx.ingress.kubernetes.io/canary";

/// Annotations that name an issuer of cert-manager. Its other annotations say how a certificate is
/// made, not by whom, and often stay behind after a migration. So do those of `certmanager.k8s.io`,
/// which releases before 0.11 read: release 0.1.0 served such Ingresses, and so do we.
const ISSUERS: [&str; 2] = ["cert-manager.io/issuer", "cert-manager.io/cluster-issuer"];

/// Prefix of the annotations of Gardener's cert-management.
const GARDENER: &str = "cert.gardener.cloud/";

/// Label of cert-manager's own short-lived solver Ingresses, which need no certificate.
pub(super) const OTHER_SOLVER: &str = "acme.cert-manager.io/http01-solver";

/// Annotations with a certificate that is not in the Secret of `spec.tls`, whatever their value.
/// The load balancer of AWS reads no Secret at all: `scheme` and `target-type` are on nearly every
/// Ingress of its controller, and no other controller reads them. Its class says less, because the
/// controller of Alibaba Cloud has the class `alb` too, and reads Secrets.
const ELSEWHERE: [&str; 12] = [
    "networking.gke.io/managed-certificates",
    "ingress.gcp.kubernetes.io/pre-shared-cert",
    "alb.ingress.kubernetes.io/certificate-arn",
    "alb.ingress.kubernetes.io/create-acm-cert",
    "alb.ingress.kubernetes.io/scheme",
    "alb.ingress.kubernetes.io/target-type",
    "appgw.ingress.kubernetes.io/appgw-ssl-certificate",
    "kubernetes.azure.com/tls-cert-keyvault-uri",
    "traefik.ingress.kubernetes.io/router.tls.certresolver",
    "haproxy-ingress.github.io/cert-signer",
    "ingress.kubernetes.io/cert-signer",
    "projectcontour.io/tls-cert-namespace",
];

/// Annotations that pass TLS through to the application with the value `"true"`.
const PASSTHROUGH: [&str; 4] = [
    "nginx.ingress.kubernetes.io/ssl-passthrough",
    "haproxy-ingress.github.io/ssl-passthrough",
    "haproxy.org/ssl-passthrough",
    "ingress.kubernetes.io/ssl-passthrough",
];

/// Annotation with the kind of TLS of a Route, and the value that passes it through.
const OPENSHIFT_PASSTHROUGH: (&str, &str) = ("route.openshift.io/termination", "passthrough");

/// Labels of Ingresses that another ACME client serves.
const CLIENTS: [&str; 2] = ["kcert.dev/ingress", "acme.itzg.github.io/issuer"];

/// Classes whose controllers end TLS in their own network, with certificates of their own.
const EDGES: [&str; 3] = ["tailscale", "ngrok", "cloudflare-tunnel"];

/// Returns the mark that decides about an Ingress with these annotations (name and value), names of
/// labels, and class. Texts are cut at [`limits::CLASS_NAME`] bytes.
pub(super) fn mark<'a>(
    annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
    labels: impl IntoIterator<Item = &'a str>,
    class: Option<&str>,
) -> Option<Mark> {
    let annotations = annotations.into_iter().filter_map(|(name, value)| annotated(name, value));
    let marks = annotations.chain(labels.into_iter().filter_map(labelled));
    let of_class = class.filter(|class| EDGES.contains(class));
    marks.chain(of_class.map(|class| Mark::MadeElsewhere(format!("class {class}")))).min()
}

fn annotated(name: &str, value: &str) -> Option<Mark> {
    let is_true = value.eq_ignore_ascii_case("true");
    if (name, value) == MINION {
        return Some(Mark::Minion(MINION.0));
    }
    if name == TLS_ACME {
        let off = value.eq_ignore_ascii_case("false");
        return Some(if off { Mark::TlsAcmeOff } else { Mark::TlsAcme });
    }
    if ISSUERS.contains(&name) || name.starts_with(GARDENER) {
        return Some(Mark::OtherIssuer(cut(name)));
    }
    let is_made = ELSEWHERE.contains(&name) && !value.is_empty();
    let is_passed = PASSTHROUGH.contains(&name) && is_true;
    if is_made || is_passed || (name, value) == OPENSHIFT_PASSTHROUGH {
        return Some(Mark::MadeElsewhere(cut(name)));
    }
    (name == CANARY && is_true).then_some(Mark::Canary(CANARY))
}

fn labelled(name: &str) -> Option<Mark> {
    if name == OTHER_SOLVER {
        return Some(Mark::OtherIssuer(OTHER_SOLVER.to_owned()));
    }
    CLIENTS.contains(&name).then(|| Mark::MadeElsewhere(format!("label {name}")))
}

/// Cuts a name that is longer than any valid one.
fn cut(name: &str) -> String {
    name[..name.floor_char_boundary(limits::CLASS_NAME)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: &str) -> Option<Mark> {
        mark([(name, value)], [], None)
    }

    #[test]
    fn tls_made_elsewhere_is_known_by_its_annotation_label_or_class() {
        for name in ELSEWHERE {
            assert_eq!(of(name, "x"), Some(Mark::MadeElsewhere(name.to_owned())));
            assert_eq!(of(name, ""), None, "{name}: a chart's empty value says nothing");
        }
        for name in PASSTHROUGH {
            assert_eq!(of(name, "true"), Some(Mark::MadeElsewhere(name.to_owned())));
            assert_eq!(of(name, "false"), None);
        }
        let elsewhere = |text: &str| Some(Mark::MadeElsewhere(text.to_owned()));
        let (termination, passthrough) = OPENSHIFT_PASSTHROUGH;
        assert_eq!(of(termination, passthrough), elsewhere(termination));
        for kind in ["edge", "reencrypt"] {
            assert_eq!(of(termination, kind), None, "{kind}: the router has the certificate");
        }
        for label in CLIENTS {
            assert_eq!(mark([], ["team", label], None), elsewhere(&format!("label {label}")));
        }
        for class in EDGES {
            assert_eq!(mark([], [], Some(class)), elsewhere(&format!("class {class}")));
        }
        assert_eq!(mark([], ["team"], Some("alb")), None, "that of Alibaba Cloud reads Secrets");
    }

    #[test]
    fn an_annotation_of_cert_manager_decides_only_if_it_names_an_issuer() {
        for name in ISSUERS {
            assert_eq!(of(name, "le"), Some(Mark::OtherIssuer(name.to_owned())));
        }
        for how in ["common-name", "duration", "renew-before", "private-key-algorithm", "usages"] {
            assert_eq!(of(&format!("cert-manager.io/{how}"), "x"), None, "{how}");
        }
        for left_over in ["certmanager.k8s.io/issuer", "certmanager.k8s.io/cluster-issuer"] {
            assert_eq!(of(left_over, "le"), None, "0.1.0 served it: its certificate is renewed");
        }
        let gardener = "cert.gardener.cloud/purpose";
        assert_eq!(of(gardener, "managed"), Some(Mark::OtherIssuer(gardener.to_owned())));
        let solver = mark([], [OTHER_SOLVER], None);
        assert_eq!(solver, Some(Mark::OtherIssuer(OTHER_SOLVER.to_owned())));
    }

    #[test]
    fn tls_acme_asks_or_opts_out_by_its_value() {
        let cases = [("true", Mark::TlsAcme), ("1", Mark::TlsAcme), ("false", Mark::TlsAcmeOff)];
        for (value, expected) in cases {
            assert_eq!(of(TLS_ACME, value), Some(expected), "{value}");
        }
    }

    #[test]
    fn of_several_marks_another_issuer_counts_first_so_that_never_two_write_one_secret() {
        let all = [
            (TLS_ACME, "true"),
            ("alb.ingress.kubernetes.io/certificate-arn", "arn"),
            (CANARY, "true"),
            MINION,
            ("cert-manager.io/issuer", "le"),
        ];
        let expected = ["TlsAcme", "MadeElsewhere", "Canary", "Minion", "OtherIssuer"];
        for (count, expected) in (1..).zip(expected) {
            let found = mark(all.into_iter().take(count), [], None).unwrap();
            assert!(format!("{found:?}").starts_with(expected), "{found:?}");
        }
        assert_eq!(of(CANARY, "false"), None);
        assert_eq!(of(MINION.0, "master"), None);
    }

    #[test]
    fn a_long_name_is_cut() {
        let name = format!("{GARDENER}{}", "ä".repeat(10_000));
        let Some(Mark::OtherIssuer(shown)) = of(&name, "x") else { panic!("no mark") };
        assert!(shown.len() <= limits::CLASS_NAME && name.starts_with(&shown));
    }
}
