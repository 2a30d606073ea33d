//! Ingress controllers by the rules that keep a solver Ingress from being served, and the way out
//! for each.
//!
//! Most controllers merge the paths of all Ingresses of a host. For the others a second Ingress, in
//! another namespace, gets no request, so a host whose challenge path another server answers will
//! not lead to the solver later either.

use std::sync::Arc;

use crate::domain::ingress::IngressClass;

/// An `IngressClass` of the cluster, trimmed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassView {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `spec.controller`.
    pub controller: Arc<str>,
    /// Whether the annotation `ingressclass.kubernetes.io/is-default-class` is `"true"`.
    pub is_default: bool,
}

/// Rule of a controller that keeps a solver Ingress from being served.
#[derive(PartialEq, Eq, Debug)]
pub struct ControllerRule {
    /// `spec.controller` of its classes.
    pub controller: &'static str,
    /// Class names of a controller that is chosen without an `IngressClass`.
    classes: &'static [&'static str],
    /// What the controller does, as a sentence without its end.
    pub rule: &'static str,
    /// What the user can do, as an order.
    pub way_out: &'static str,
}

/// The rules, from the documents of each controller.
static RULES: [ControllerRule; 6] = [
    ControllerRule {
        controller: "nginx.org/ingress-controller",
        classes: &[],
        rule: "the controller of F5 NGINX gives a host to the oldest Ingress that names it, and rejects the solver Ingress",
        way_out: "make this Ingress a master (annotation nginx.org/mergeable-ingress-type: master) and put its paths \
                  into minions: the solver Ingress joins them",
    },
    ControllerRule {
        controller: "openshift.io/ingress-to-route",
        classes: &["openshift-default"],
        rule: "OpenShift's router gives a host to the namespace that named it first, and refuses the solver Ingress",
        way_out: "set spec.routeAdmission.namespaceOwnership to InterNamespaceAllowed in the IngressController",
    },
    ControllerRule {
        controller: "ingress.k8s.aws/alb",
        classes: &["alb"],
        rule: "the AWS controller makes a load balancer for each Ingress, and the host leads to that of the user",
        way_out: "give this Ingress the annotation alb.ingress.kubernetes.io/group.name, and the solver Ingress the \
                  same one by the flag --solver-annotation",
    },
    ControllerRule {
        controller: "cilium.io/ingress-controller",
        classes: &["cilium"],
        rule: "Cilium in dedicated mode makes a load balancer for each Ingress, and the host leads to that of the user",
        way_out: "give this Ingress the annotation ingress.cilium.io/loadbalancer-mode: shared, and the solver Ingress \
                  the same one by the flag --solver-annotation",
    },
    ControllerRule {
        controller: "azure/application-gateway",
        classes: &["azure/application-gateway", "azure-application-gateway"],
        rule: "Azure's Application Gateway serves one Ingress for each host",
        way_out: "serve the host by another ingress controller, or leave its certificate to Azure (annotation \
                  appgw.ingress.kubernetes.io/appgw-ssl-certificate)",
    },
    ControllerRule {
        controller: "networking.gke.io/ingress",
        classes: &["gce", "gce-internal"],
        rule: "GKE makes a load balancer for each Ingress, and the host leads to that of the user",
        way_out: "serve the host by another ingress controller, or leave its certificate to GKE (annotation \
                  networking.gke.io/managed-certificates)",
    },
];

/// Rule of the controller of an Ingress class; `None` if it merges paths, or is not known. `classes`
/// are those of the cluster.
pub(crate) fn rule_of(
    class: &IngressClass,
    classes: &[ClassView],
) -> Option<&'static ControllerRule> {
    let name = class.name();
    let known = classes.iter().find(|one| match name {
        Some(name) => *one.name == *name,
        None => one.is_default,
    });
    match known {
        Some(known) => RULES.iter().find(|rule| *rule.controller == *known.controller),
        None => RULES.iter().find(|rule| name.is_some_and(|name| rule.classes.contains(&name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(name: &str, controller: &str, is_default: bool) -> ClassView {
        ClassView { name: name.into(), controller: controller.into(), is_default }
    }

    #[test]
    fn a_rule_is_found_by_the_controller_of_the_class_and_by_the_name_where_there_is_no_class() {
        let classes = [
            view("web", "nginx.org/ingress-controller", false),
            view("alb", "k8s.io/ingress-nginx", false),
            view("main", "cilium.io/ingress-controller", true),
        ];
        let of = |class: &IngressClass, classes: &[ClassView]| {
            rule_of(class, classes).map(|rule| rule.controller)
        };
        let named = |name: &str| IngressClass::Named(name.into());
        let cases = [
            (named("web"), Some("nginx.org/ingress-controller")),
            (IngressClass::Annotated("web".into()), Some("nginx.org/ingress-controller")),
            (named("alb"), None),
            (named("gce"), Some("networking.gke.io/ingress")),
            (named("other"), None),
            (IngressClass::Default, Some("cilium.io/ingress-controller")),
        ];
        for (class, expected) in cases {
            assert_eq!(of(&class, &classes), expected, "{class:?}");
        }
        assert_eq!(of(&IngressClass::Default, &[]), None);
        assert_eq!(of(&named("alb"), &[]), Some("ingress.k8s.aws/alb"));
    }
}
