//! Selection of the Ingresses managed by ingress-acme.

use std::fmt;

use crate::domain::cut::cut;
use crate::domain::desired::plan::filled_by_us;
use crate::domain::desired::problem::Problem;
use crate::domain::ingress::IngressView;
use crate::domain::limits;
use crate::domain::marks::{Mark, TLS_ACME};
use crate::domain::public_name::PublicCa;
use crate::domain::solver_place::PlaceChoices;

/// Value of `--manage`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Manage {
    /// Every Ingress without `ingress-acme.dev/enabled`, or with the value `"true"`.
    #[default]
    All,
    /// Only Ingresses with `ingress-acme.dev/enabled: "true"`.
    Annotated,
}

/// Flags that select Ingresses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// `--manage`.
    pub manage: Manage,
    /// `--ingress-class`; empty means any class or none.
    pub classes: Vec<String>,
    /// `--allow-cross-namespace-hosts`: Ingresses of several namespaces may have a certificate for
    /// one host.
    pub shared_hosts: bool,
    /// `--public-ca`: whether the CA certifies public names only.
    pub public_ca: PublicCa,
    /// Whether the API server serves the group `cert-manager.io`, so that cert-manager answers
    /// `kubernetes.io/tls-acme`.
    pub cert_manager: bool,
    /// `--fill-tls false`: `spec.tls` is left as it is.
    pub leaves_tls: bool,
    /// `--solver-place`.
    pub places: PlaceChoices,
}

/// Reason why an Ingress is not managed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Skip {
    /// The Ingress is a solver Ingress of ours.
    Solver,
    /// The Ingress is being deleted.
    Deleting,
    /// The annotation `ingress-acme.dev/enabled` has a value other than `"true"`.
    Disabled,
    /// The same, and `spec.tls` is as we filled it in, with this Secret.
    DisabledFilled(String),
    /// `--manage annotated`, and the Ingress lacks `ingress-acme.dev/enabled: "true"`.
    NotAnnotated,
    /// Another issuer serves the Ingress; the field is its annotation.
    OtherIssuer(String),
    /// The class is not in `--ingress-class`; the field is the class, if any.
    OtherClass(Option<String>),
    /// `kubernetes.io/tls-acme` asks for a certificate, and cert-manager is in the cluster.
    CertManager,
    /// The Ingress is a minion; the field is the annotation that says so.
    Minion(&'static str),
    /// The Ingress is a canary; the field is the annotation that says so.
    Canary(&'static str),
    /// `kubernetes.io/tls-acme: "false"`.
    TlsAcmeOff,
    /// TLS is made elsewhere; the field is the annotation, label or class that says so.
    MadeElsewhere(String),
}

impl Skip {
    /// Whether a certificate of ours that the Ingress has is renewed all the same. These reasons
    /// are newer than release 0.1.0, which served such Ingresses, or come and go with other
    /// programs of the cluster: they decide about certificates that are not there yet.
    pub fn renews(&self) -> bool {
        matches!(
            self,
            Self::CertManager
                | Self::Minion(_)
                | Self::Canary(_)
                | Self::TlsAcmeOff
                | Self::MadeElsewhere(_)
        )
    }

    /// What the user is told of an Ingress that is left alone, if anything.
    pub(super) fn problem(&self) -> Option<Problem> {
        let Self::DisabledFilled(secret) = self else { return None };
        Some(Problem::StaysFilled { secret: cut(secret, limits::SHOWN_MAX) })
    }
}

/// Why a `spec.tls` that we filled in is taken back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TakesBack {
    /// The Ingress is a minion, whose controller rejects `spec.tls`.
    Minion,
    /// The annotation `ingress-acme.dev/fill-tls` says so.
    Asked,
}

impl fmt::Display for TakesBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minion => "its controller does not serve a minion with spec.tls",
            Self::Asked => "its annotation ingress-acme.dev/fill-tls says so",
        })
    }
}

impl Skip {
    /// The reason in words, where a mark of another program is the reason.
    fn of_a_mark(&self) -> String {
        let ours = "ingress-acme.dev/enabled: \"true\"";
        match self {
            Self::CertManager => format!(
                "its annotation {TLS_ACME} is answered by cert-manager, which is in this cluster; {ours} hands it over"
            ),
            Self::Minion(annotation) => format!(
                "its annotation {annotation} makes it a minion, which must not have spec.tls: the TLS of its host is that \
                 of the master"
            ),
            Self::Canary(annotation) => format!(
                "its annotation {annotation} makes it a canary: the TLS of its host is that of the main Ingress"
            ),
            Self::TlsAcmeOff => {
                format!("its annotation {TLS_ACME} has the value \"false\"; {ours} decides over it")
            }
            Self::MadeElsewhere(mark) => {
                format!("its TLS is made elsewhere ({mark}); {ours} decides over it")
            }
            _ => String::new(),
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Solver => write!(f, "it is the solver's own Ingress"),
            Self::Deleting => write!(f, "it is being deleted"),
            Self::Disabled | Self::DisabledFilled(_) => {
                write!(f, "its annotation ingress-acme.dev/enabled has a value other than \"true\"")
            }
            Self::NotAnnotated => write!(
                f,
                "only annotated Ingresses are managed and it lacks ingress-acme.dev/enabled: \"true\""
            ),
            Self::OtherIssuer(name) => {
                write!(f, "it carries {name}, which assigns it to another issuer")
            }
            Self::OtherClass(Some(class)) => {
                write!(f, "its class {} is not selected", cut(class, limits::SHOWN_MAX))
            }
            Self::OtherClass(None) => {
                write!(f, "it names no class, and only selected classes are managed")
            }
            Self::CertManager
            | Self::Minion(_)
            | Self::Canary(_)
            | Self::TlsAcmeOff
            | Self::MadeElsewhere(_) => f.write_str(&self.of_a_mark()),
        }
    }
}

/// Whether ingress-acme manages `ingress`.
///
/// # Errors
/// The first reason against the Ingress, in the order of [`Skip`].
pub fn select(selection: &Selection, ingress: &IngressView) -> Result<(), Skip> {
    if ingress.is_solver {
        return Err(Skip::Solver);
    }
    if ingress.deleting {
        return Err(Skip::Deleting);
    }
    let enabled = ingress.annotation("enabled");
    match enabled {
        Some(value) if !value.eq_ignore_ascii_case("true") => return Err(disabled(ingress)),
        None if selection.manage == Manage::Annotated => return Err(Skip::NotAnnotated),
        _ => {}
    }
    if let Some(Mark::OtherIssuer(name)) = &ingress.mark {
        return Err(Skip::OtherIssuer(name.clone()));
    }
    let class = ingress.class.name();
    if !selection.classes.is_empty() && !class.is_some_and(|name| selected(selection, name)) {
        return Err(Skip::OtherClass(class.map(str::to_owned)));
    }
    let is_chosen = enabled.is_some();
    match &ingress.mark {
        Some(Mark::Minion(annotation)) => Err(Skip::Minion(annotation)),
        Some(Mark::Canary(annotation)) => Err(Skip::Canary(annotation)),
        Some(Mark::TlsAcme) if !is_chosen && selection.cert_manager => Err(Skip::CertManager),
        Some(Mark::TlsAcmeOff) if !is_chosen => Err(Skip::TlsAcmeOff),
        Some(Mark::MadeElsewhere(mark)) if !is_chosen => Err(Skip::MadeElsewhere(mark.clone())),
        _ => Ok(()),
    }
}

/// Reason against an Ingress that opts out.
fn disabled(ingress: &IngressView) -> Skip {
    let secret = ingress.tls.first().and_then(|block| block.secret_name.clone());
    secret.filter(|_| filled_by_us(ingress)).map_or(Skip::Disabled, Skip::DisabledFilled)
}

fn selected(selection: &Selection, class: &str) -> bool {
    selection.classes.iter().any(|wanted| wanted == class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::desired::plan::tests::{ingress, named};
    use crate::domain::ingress::IngressClass;

    fn enabled(value: &str) -> IngressView {
        let mut view = ingress("web", "shop", &["shop.example.com"]);
        view.annotations.insert("enabled".into(), value.into());
        view
    }

    #[test]
    fn an_ingress_is_served_unless_something_speaks_against_it() {
        let all = Selection::default();
        let annotated = Selection { manage: Manage::Annotated, ..Selection::default() };
        let plain = ingress("web", "shop", &["shop.example.com"]);
        assert_eq!(select(&all, &plain), Ok(()));
        assert_eq!(select(&annotated, &plain), Err(Skip::NotAnnotated));
        assert_eq!(select(&annotated, &enabled("true")), Ok(()));
        assert_eq!(select(&all, &enabled("false")), Err(Skip::Disabled));
        let other = Mark::OtherIssuer("cert-manager.io/issuer".into());
        let other = IngressView { mark: Some(other), ..plain.clone() };
        assert_eq!(select(&all, &other), Err(Skip::OtherIssuer("cert-manager.io/issuer".into())));
        assert_eq!(
            select(&all, &IngressView { is_solver: true, ..plain.clone() }),
            Err(Skip::Solver)
        );
        assert_eq!(select(&all, &IngressView { deleting: true, ..plain }), Err(Skip::Deleting));
    }

    #[test]
    fn the_class_filter_knows_field_annotation_and_neither() {
        let nginx = Selection { classes: vec!["nginx".into()], ..Selection::default() };
        let of = |class| IngressView { class, ..ingress("web", "shop", &["shop.example.com"]) };
        assert_eq!(select(&nginx, &of(IngressClass::Named("nginx".into()))), Ok(()));
        assert_eq!(select(&nginx, &of(IngressClass::Annotated("nginx".into()))), Ok(()));
        assert_eq!(
            select(&nginx, &of(IngressClass::Named("traefik".into()))),
            Err(Skip::OtherClass(Some("traefik".into())))
        );
        assert_eq!(select(&nginx, &of(IngressClass::Default)), Err(Skip::OtherClass(None)));
    }

    /// What `select` says of an Ingress with this mark, without and with our own opt-in.
    fn marked(selection: &Selection, mark: &Mark) -> [Result<(), Skip>; 2] {
        let plain = ingress("web", "shop", &["shop.example.com"]);
        [plain, enabled("true")].map(|view| {
            let view = IngressView { mark: Some(mark.clone()), ..view };
            select(selection, &view)
        })
    }

    #[test]
    fn tls_acme_true_is_served_unless_cert_manager_is_there_and_is_no_opt_in_of_ours() {
        let all = Selection::default();
        assert_eq!(marked(&all, &Mark::TlsAcme), [Ok(()), Ok(())]);
        let beside = Selection { cert_manager: true, ..Selection::default() };
        assert_eq!(marked(&beside, &Mark::TlsAcme), [Err(Skip::CertManager), Ok(())]);
        let annotated = Selection { manage: Manage::Annotated, ..Selection::default() };
        assert_eq!(marked(&annotated, &Mark::TlsAcme), [Err(Skip::NotAnnotated), Ok(())]);
    }

    #[test]
    fn tls_acme_false_is_an_opt_out_and_our_own_annotation_decides_over_it() {
        let found = marked(&Selection::default(), &Mark::TlsAcmeOff);
        assert_eq!(found, [Err(Skip::TlsAcmeOff), Ok(())]);
    }

    #[test]
    fn an_opt_out_says_what_stays_of_a_spec_tls_that_we_filled_in() {
        let mut view = named("web", "shop", &["shop.example.com"]);
        view.annotations.insert("enabled".into(), "false".into());
        let all = Selection::default();
        assert_eq!(select(&all, &view), Err(Skip::Disabled), "the user's own");
        view.annotations.insert("filled-tls".into(), "shop.example.com".into());
        let skip = select(&all, &view).unwrap_err();
        assert_eq!(skip, Skip::DisabledFilled("shop".to_owned()));
        let told = skip.problem().unwrap().to_string();
        assert!(told.contains("Secret shop") && told.contains("fill-tls"), "{told}");
        assert_eq!(Skip::Disabled.problem(), None);
    }

    #[test]
    fn tls_made_elsewhere_is_left_alone_and_our_own_annotation_decides_over_it() {
        let mark = "alb.ingress.kubernetes.io/certificate-arn".to_owned();
        let found = marked(&Selection::default(), &Mark::MadeElsewhere(mark.clone()));
        assert_eq!(found, [Err(Skip::MadeElsewhere(mark)), Ok(())]);
    }

    #[test]
    fn a_canary_and_a_minion_have_no_certificate_of_their_own_whoever_asks_for_one() {
        let all = Selection::default();
        let canary = || Err(Skip::Canary("x.io/canary"));
        assert_eq!(marked(&all, &Mark::Canary("x.io/canary")), [canary(), canary()]);
        let minion = || Err(Skip::Minion("x.io/type"));
        assert_eq!(marked(&all, &Mark::Minion("x.io/type")), [minion(), minion()]);
        let other = || Err(Skip::OtherIssuer("cert-manager.io/issuer".to_owned()));
        let mark = Mark::OtherIssuer("cert-manager.io/issuer".to_owned());
        assert_eq!(marked(&all, &mark), [other(), other()], "never two issuers");
    }

    #[test]
    fn a_reason_of_before_comes_before_one_that_lets_renewals_go_on() {
        let nginx = Selection { classes: vec!["nginx".into()], ..Selection::default() };
        let canary = ingress("web", "shop", &["shop.example.com"]);
        let canary = IngressView { mark: Some(Mark::Canary("x.io/canary")), ..canary };
        let skip = select(&nginx, &canary).unwrap_err();
        assert!(!skip.renews(), "{skip}");
        let beside = Selection { cert_manager: true, ..nginx };
        let asks = IngressView { mark: Some(Mark::TlsAcme), ..canary };
        assert_eq!(select(&beside, &asks), Err(Skip::OtherClass(None)));
        assert!(Skip::CertManager.renews(), "cert-manager may come later than a certificate");
    }

    #[test]
    fn each_reason_against_an_ingress_is_said() {
        let texts = [
            (Skip::Solver, "the solver's own"),
            (Skip::Deleting, "being deleted"),
            (Skip::Disabled, "a value other than \"true\""),
            (Skip::DisabledFilled("shop".to_owned()), "a value other than \"true\""),
            (Skip::NotAnnotated, "lacks ingress-acme.dev/enabled"),
            (Skip::OtherIssuer("x.io/issuer".to_owned()), "it carries x.io/issuer"),
            (Skip::OtherClass(Some("nginx".to_owned())), "its class nginx is not selected"),
            (Skip::OtherClass(None), "it names no class"),
            (Skip::CertManager, "is answered by cert-manager"),
            (Skip::Minion("x.io/type"), "its annotation x.io/type makes it a minion"),
            (Skip::Canary("x.io/canary"), "its annotation x.io/canary makes it a canary"),
            (Skip::TlsAcmeOff, "kubernetes.io/tls-acme"),
            (Skip::MadeElsewhere("class tailscale".to_owned()), "(class tailscale)"),
        ];
        for (skip, text) in texts {
            assert!(skip.to_string().contains(text), "{skip}");
        }
    }
}
