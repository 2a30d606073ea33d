//! Places of a solver route: in which Ingress the challenge path of a host is routed to the
//! solver.
//!
//! Most ingress controllers merge the paths of all Ingresses of a host, so that one solver Ingress
//! in the operator's namespace serves all. Some do not, and then the route has to be nearer to the
//! user's Ingress: in its namespace, or in the Ingress itself.

use std::str::FromStr;
use std::sync::Arc;

use crate::domain::cut::cut;
use crate::domain::ingress::{IngressKey, IngressView, SOLVER_PLACE};
use crate::domain::limits;

/// Name of the solver Service, in each namespace that has a route to the solver.
pub const SOLVER_SERVICE: &str = "ingress-acme-solver";

/// Beginning of the names of solver Ingresses.
pub const SOLVER_NAMES: &str = "ingress-acme-solver-";

/// Place of a solver route.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum SolverPlace {
    /// A solver Ingress in the operator's namespace, which many hosts share.
    #[default]
    Shared,
    /// A solver Ingress of one host in the operator's namespace, which is a minion of the user's
    /// Ingress.
    Minion,
    /// A solver Ingress in this namespace, which many hosts share.
    Namespace(Arc<str>),
    /// The user's Ingress itself.
    InPlace(Arc<IngressKey>),
}

impl SolverPlace {
    /// Namespace of a user that the place is in; `None` for the operator's own.
    pub fn namespace(&self) -> Option<&Arc<str>> {
        match self {
            Self::Shared | Self::Minion => None,
            Self::Namespace(namespace) => Some(namespace),
            Self::InPlace(key) => Some(&key.namespace),
        }
    }

    /// The choice that leads here.
    pub(crate) fn choice(&self) -> PlaceChoice {
        match self {
            Self::Shared | Self::Minion => PlaceChoice::Shared,
            Self::Namespace(_) => PlaceChoice::Namespace,
            Self::InPlace(_) => PlaceChoice::InPlace,
        }
    }
}

/// Place that a user chooses: `--solver-place`, or the annotation `ingress-acme.dev/solver-place`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum PlaceChoice {
    /// In the operator's namespace: `shared`.
    #[default]
    Shared,
    /// In the namespace of the user's Ingress: `namespace`.
    Namespace,
    /// In the user's Ingress: `in-place`.
    InPlace,
}

/// A text that names no place, cut for display.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
#[error("`{0}` is none of shared, namespace and in-place")]
pub struct UnknownPlace(String);

impl FromStr for PlaceChoice {
    type Err = UnknownPlace;

    fn from_str(text: &str) -> Result<Self, UnknownPlace> {
        match text {
            "shared" => Ok(Self::Shared),
            "namespace" => Ok(Self::Namespace),
            "in-place" => Ok(Self::InPlace),
            other => Err(UnknownPlace(cut(other, limits::SHOWN_MAX))),
        }
    }
}

/// `--solver-place`: the places of classes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PlaceChoices {
    /// The places.
    pub classes: Vec<ClassPlace>,
    /// Namespace of the operator, where all routes are shared.
    pub own_namespace: Option<String>,
}

/// Place of one class.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassPlace {
    /// The class; `None` for all that are not named.
    pub class: Option<String>,
    /// Its place.
    pub place: PlaceChoice,
}

impl PlaceChoices {
    fn of_class(&self, class: Option<&str>) -> PlaceChoice {
        let named =
            self.classes.iter().find(|one| one.class.is_some() && one.class.as_deref() == class);
        let place = named.or_else(|| self.classes.iter().find(|one| one.class.is_none()));
        place.map_or(PlaceChoice::default(), |one| one.place)
    }

    /// Choice of `ingress`, or of its class.
    pub fn choice(&self, ingress: &IngressView) -> PlaceChoice {
        let asked = place_asked_for(ingress).ok().flatten();
        asked.unwrap_or_else(|| self.of_class(ingress.class.name()))
    }

    /// Place of the route of a host of `ingress`. Without a rule of the Ingress that serves the
    /// host, it cannot be routed in place.
    pub(crate) fn place(&self, ingress: &IngressView, has_rule: bool) -> SolverPlace {
        let choice = self.choice(ingress);
        let is_own = self.own_namespace.as_deref() == Some(&*ingress.key.namespace);
        match choice {
            _ if is_own => SolverPlace::Shared,
            PlaceChoice::InPlace if has_rule => SolverPlace::InPlace(Arc::new(ingress.key.clone())),
            PlaceChoice::Namespace => SolverPlace::Namespace(ingress.key.namespace.clone()),
            _ if ingress.is_master => SolverPlace::Minion,
            _ => SolverPlace::Shared,
        }
    }
}

/// Returns the place that an Ingress asks for; `None` without the annotation.
///
/// # Errors
/// [`UnknownPlace`] if the annotation has another value.
pub(crate) fn place_asked_for(ingress: &IngressView) -> Result<Option<PlaceChoice>, UnknownPlace> {
    ingress.annotation(SOLVER_PLACE).map(str::parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::desired::plan::tests::ingress;
    use crate::domain::ingress::IngressClass;

    fn choices(all: &[(Option<&str>, PlaceChoice)]) -> PlaceChoices {
        let one = |(class, place): &(Option<&str>, PlaceChoice)| ClassPlace {
            class: class.map(str::to_owned),
            place: *place,
        };
        PlaceChoices { classes: all.iter().map(one).collect(), own_namespace: None }
    }

    #[test]
    fn the_annotation_decides_then_the_class_then_all_classes() {
        use PlaceChoice::{InPlace, Namespace, Shared};
        let all = choices(&[(None, Namespace), (Some("gce"), InPlace), (Some("nginx"), Shared)]);
        let cases = [
            (None, None, Namespace),
            (Some("gce"), None, InPlace),
            (Some("nginx"), None, Shared),
            (Some("other"), None, Namespace),
            (Some("gce"), Some("shared"), Shared),
            (Some("nginx"), Some("in-place"), InPlace),
            (Some("gce"), Some("In place"), InPlace),
        ];
        for (class, annotation, expected) in cases {
            let mut view = ingress("web", "shop", &["A.example.com"]);
            view.class =
                class.map_or(IngressClass::Default, |class| IngressClass::Named(class.into()));
            let annotation = annotation.map(|place| (SOLVER_PLACE.to_owned(), place.to_owned()));
            view.annotations.extend(annotation);
            assert_eq!(
                all.place(&view, true).choice(),
                expected,
                "{class:?} {:?}",
                view.annotations
            );
        }
    }

    #[test]
    fn a_host_in_no_rule_is_not_routed_in_place_and_a_master_has_minions() {
        let in_place = choices(&[(None, PlaceChoice::InPlace)]);
        let mut view = ingress("web", "shop", &["a.example.com"]);
        let there = SolverPlace::InPlace(Arc::new(view.key.clone()));
        assert_eq!(in_place.place(&view, true), there);
        assert_eq!(in_place.place(&view, false), SolverPlace::Shared);
        let own = PlaceChoices { own_namespace: Some("web".to_owned()), ..in_place.clone() };
        assert_eq!(own.place(&view, true), SolverPlace::Shared, "the operator's own namespace");
        view.is_master = true;
        assert_eq!(in_place.place(&view, false), SolverPlace::Minion);
        assert_eq!(PlaceChoices::default().place(&view, true), SolverPlace::Minion);
    }

    #[test]
    fn an_unknown_place_is_told_in_few_words() {
        let long = "x".repeat(5_000);
        for bad in ["", "Shared", "in place", &long] {
            let told = bad.parse::<PlaceChoice>().unwrap_err().to_string();
            assert!(told.ends_with("is none of shared, namespace and in-place"), "{told}");
            assert!(told.len() < 300, "{}", told.len());
        }
    }
}
