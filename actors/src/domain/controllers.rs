//! Rules by which an ingress controller does not serve a solver Ingress. The adapter knows which
//! controller has which.
//!
//! Most controllers merge the paths of all Ingresses of a host. For the others a second Ingress, in
//! another namespace, gets no request, so a host whose challenge path another server answers will
//! not lead to the solver later either.

use std::sync::Arc;

use crate::domain::ingress::IngressClass;
use crate::domain::solver_place::PlaceChoice;

/// An ingress class of the cluster, trimmed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassView {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// Whether Ingresses that name no class have this one.
    pub is_default: bool,
    /// Rule of its controller; `None` if that merges paths, or is not known.
    pub rule: Option<&'static ControllerRule>,
}

/// Rule of a controller that keeps a solver Ingress from being served.
#[derive(PartialEq, Eq, Debug)]
pub struct ControllerRule {
    /// What the controller does, as a sentence without its end.
    pub rule: &'static str,
    /// What the user can do, as an order.
    pub way_out: &'static str,
    /// Places of a route that the rule does not concern.
    pub passed_by: &'static [PlaceChoice],
}

/// Rule of the controller of an Ingress class that concerns routes of this place, among the
/// `classes` of the cluster.
pub(crate) fn rule_of(
    class: &IngressClass,
    place: PlaceChoice,
    classes: &[ClassView],
) -> Option<&'static ControllerRule> {
    let is_it = |one: &&ClassView| match class.name() {
        Some(name) => *one.name == *name,
        None => one.is_default,
    };
    classes.iter().find(is_it)?.rule.filter(|rule| !rule.passed_by.contains(&place))
}

#[cfg(test)]
mod tests {
    use super::*;

    static RULE: ControllerRule = ControllerRule {
        rule: "it refuses",
        way_out: "ask it",
        passed_by: &[PlaceChoice::InPlace],
    };

    #[test]
    fn a_rule_is_that_of_the_named_class_or_of_the_default() {
        let view = |name: &str, is_default, rule| ClassView { name: name.into(), is_default, rule };
        let classes = [view("merging", false, None), view("main", true, Some(&RULE))];
        let named = |name: &str| IngressClass::Named(name.into());
        let cases = [
            (named("main"), Some(&RULE)),
            (IngressClass::Annotated("main".into()), Some(&RULE)),
            (IngressClass::Default, Some(&RULE)),
            (named("merging"), None),
            (named("other"), None),
        ];
        for (class, expected) in cases {
            for place in [PlaceChoice::Shared, PlaceChoice::Namespace] {
                assert_eq!(rule_of(&class, place, &classes), expected, "{class:?}");
            }
            assert_eq!(rule_of(&class, PlaceChoice::InPlace, &classes), None, "{class:?}");
        }
        assert_eq!(rule_of(&IngressClass::Default, PlaceChoice::Shared, &[]), None);
    }
}
