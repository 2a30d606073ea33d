//! Ingress classes: which there are, and whether their controllers serve solver Ingresses.

use super::{Check, Fact, Finding, joined};
use crate::domain::controllers::ControllerRule;
use crate::domain::ingress::IngressClass;
use crate::domain::solver_place::PlaceChoice;

/// An `IngressClass`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Class {
    /// `metadata.name`.
    pub name: String,
    /// `spec.controller`.
    pub controller: String,
    /// Whether Ingresses without a class have this one.
    pub is_default: bool,
    /// Rule of the controller against solver Ingresses; `None` if none is known.
    pub rule: Option<&'static ControllerRule>,
}

impl Class {
    fn shown(&self) -> String {
        let default = if self.is_default { ", the default" } else { "" };
        format!("{} ({}{default})", self.name, self.controller)
    }
}

/// Question about classes: that of one Ingress, or those of `--ingress-class`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Class of an Ingress, and the place of its solver route.
    Ingress(IngressClass, PlaceChoice),
    /// The classes of the flag; none for all.
    Flag(Vec<String>),
}

/// The class of the Ingress, or those of the cluster.
pub fn class(asked: &Asked, found: &Fact<Vec<Class>>) -> Finding {
    let classes = match found {
        Err(why) => {
            return Finding::skipped(
                Check::Class,
                &format!("IngressClasses cannot be read: {why}"),
            );
        }
        Ok(classes) => classes,
    };
    match asked {
        Asked::Flag(wanted) => of_flag(wanted, classes),
        Asked::Ingress(class, place) => of_ingress(class, *place, classes),
    }
}

fn of_flag(wanted: &[String], classes: &[Class]) -> Finding {
    let check = Check::Class;
    let there = |name: &&String| !classes.iter().any(|one| one.name == **name);
    let missing: Vec<&String> = wanted.iter().filter(there).collect();
    if !missing.is_empty() {
        return Finding::warn(
            check,
            &format!("--ingress-class has {}, of which there is no IngressClass", joined(missing)),
            "correct the flag, unless Ingresses name the class by the annotation kubernetes.io/ingress.class",
        );
    }
    let is_meant = |one: &&Class| wanted.is_empty() || wanted.contains(&one.name);
    let meant: Vec<&Class> = classes.iter().filter(is_meant).collect();
    if meant.is_empty() {
        return Finding::warn(
            check,
            "there is no IngressClass",
            "install an ingress controller: challenges reach the operator through one",
        );
    }
    let ruled =
        meant.iter().filter_map(|one| one.rule.map(|rule| format!("{}: {}", one.name, rule.rule)));
    let ruled: Vec<String> = ruled.collect();
    let seen = joined(meant.iter().map(|one| one.shown()));
    if ruled.is_empty() {
        return Finding::ok(check, &seen);
    }
    Finding::warn(
        check,
        &format!("{seen}; {}", joined(ruled)),
        "run `ingress-acme doctor NAMESPACE/NAME` for the way out of one Ingress",
    )
}

fn of_ingress(class: &IngressClass, place: PlaceChoice, classes: &[Class]) -> Finding {
    let check = Check::Class;
    let is_it = |one: &&Class| match class.name() {
        Some(name) => one.name == name,
        None => one.is_default,
    };
    let found = classes.iter().find(is_it);
    match (class, found) {
        (_, Some(class)) => match class.rule.filter(|rule| !rule.passed_by.contains(&place)) {
            Some(ControllerRule { rule, way_out, .. }) => {
                Finding::fail(check, &format!("{}: {rule}", class.shown()), way_out)
            }
            None => Finding::ok(check, &class.shown()),
        },
        (IngressClass::Named(name), None) => Finding::fail(
            check,
            &format!("there is no IngressClass {name}, so no controller serves the Ingress"),
            &format!(
                "correct spec.ingressClassName; there are: {}",
                joined(classes.iter().map(Class::shown))
            ),
        ),
        (IngressClass::Annotated(name), None) => Finding::ok(
            check,
            &format!(
                "{name}, by the annotation kubernetes.io/ingress.class, which needs no IngressClass"
            ),
        ),
        (IngressClass::Default, None) => Finding::warn(
            check,
            "the Ingress names no class, and no IngressClass is the default",
            "set spec.ingressClassName: many controllers leave an Ingress without a class alone",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::doctor::Verdict::{Fail, Ok as Well, Skipped, Warn};

    fn strings(all: &[&str]) -> Vec<String> {
        all.iter().map(|one| (*one).to_owned()).collect()
    }

    static RULE: ControllerRule = ControllerRule {
        rule: "merges nothing",
        way_out: "ask for in-place",
        passed_by: &[PlaceChoice::InPlace],
    };

    fn classes() -> Vec<Class> {
        let of = |name: &str, is_default, rule| Class {
            name: name.to_owned(),
            controller: format!("{name}.example/controller"),
            is_default,
            rule,
        };
        vec![of("main", true, None), of("f5", false, Some(&RULE))]
    }

    #[test]
    fn the_class_of_an_ingress_is_there_with_a_controller_that_serves_solver_ingresses() {
        let asked = |class: IngressClass, place| Asked::Ingress(class, place);
        let (shared, named) = (PlaceChoice::Shared, |name: &str| IngressClass::Named(name.into()));
        let cases = [
            (asked(named("main"), shared), Well, "main.example/controller, the default"),
            (asked(IngressClass::Default, shared), Well, "main"),
            (asked(named("f5"), shared), Fail, "ask for in-place"),
            (asked(named("f5"), PlaceChoice::InPlace), Well, "f5"),
            (asked(named("other"), shared), Fail, "no IngressClass other"),
            (asked(IngressClass::Annotated("old".into()), shared), Well, "annotation"),
        ];
        for (asked, verdict, words) in cases {
            let finding = class(&asked, &Ok(classes()));
            assert_eq!(finding.verdict, verdict, "{asked:?}: {finding:?}");
            assert!(finding.words().contains(words), "{finding:?}");
        }
        let none = Asked::Ingress(IngressClass::Default, shared);
        assert_eq!(class(&none, &Ok(Vec::new())).verdict, Warn);
        assert_eq!(class(&none, &Err("forbidden".to_owned())).verdict, Skipped);
    }

    #[test]
    fn the_classes_of_the_flag_have_objects_and_a_rule_is_told() {
        let judged = |wanted: &[&str]| class(&Asked::Flag(strings(wanted)), &Ok(classes()));
        assert_eq!(judged(&["main"]).verdict, Well);
        let all = judged(&[]);
        assert!(all.verdict == Warn && all.seen.contains("f5: merges nothing"), "{all:?}");
        let gone = judged(&["main", "gone"]);
        assert!(gone.verdict == Warn && gone.seen.contains("has gone"), "{gone:?}");
        assert_eq!(class(&Asked::Flag(Vec::new()), &Ok(Vec::new())).verdict, Warn);
    }
}
