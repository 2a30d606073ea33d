//! Selection of the Ingresses managed by ingress-acme.

use std::fmt;

use crate::domain::cut::cut;
use crate::domain::ingress::IngressView;
use crate::domain::limits;
use crate::domain::public_name::PublicCa;

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
    /// `--manage annotated`, and the Ingress lacks `ingress-acme.dev/enabled: "true"`.
    NotAnnotated,
    /// Another issuer serves the Ingress; the field is its annotation.
    OtherIssuer(String),
    /// The class is not in `--ingress-class`; the field is the class, if any.
    OtherClass(Option<String>),
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Solver => write!(f, "it is the solver's own Ingress"),
            Self::Deleting => write!(f, "it is being deleted"),
            Self::Disabled => {
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
        Some(value) if !value.eq_ignore_ascii_case("true") => return Err(Skip::Disabled),
        None if selection.manage == Manage::Annotated => return Err(Skip::NotAnnotated),
        _ => {}
    }
    if let Some(annotation) = &ingress.other_issuer {
        return Err(Skip::OtherIssuer(annotation.clone()));
    }
    let class = ingress.class.name();
    if !selection.classes.is_empty() && !class.is_some_and(|name| selected(selection, name)) {
        return Err(Skip::OtherClass(class.map(str::to_owned)));
    }
    Ok(())
}

fn selected(selection: &Selection, class: &str) -> bool {
    selection.classes.iter().any(|wanted| wanted == class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::desired::plan::tests::ingress;
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
        let other =
            IngressView { other_issuer: Some("cert-manager.io/issuer".into()), ..plain.clone() };
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

    #[test]
    fn each_reason_against_an_ingress_is_said() {
        let texts = [
            (Skip::Solver, "the solver's own"),
            (Skip::Deleting, "being deleted"),
            (Skip::Disabled, "a value other than \"true\""),
            (Skip::NotAnnotated, "lacks ingress-acme.dev/enabled"),
            (Skip::OtherIssuer("x.io/issuer".to_owned()), "it carries x.io/issuer"),
            (Skip::OtherClass(Some("nginx".to_owned())), "its class nginx is not selected"),
            (Skip::OtherClass(None), "it names no class"),
        ];
        for (skip, text) in texts {
            assert!(skip.to_string().contains(text), "{skip}");
        }
    }
}
