//! Ingress controllers with a rule that keeps a solver Ingress from being served, and the way out
//! for each. From the documents of each controller.

use ingress_acme_actors::domain::controllers::{ClassView, ControllerRule};
use ingress_acme_actors::domain::solver_place::PlaceChoice;

/// A controller, and its rule.
struct KnownController {
    /// `spec.controller` of its classes.
    controller: &'static str,
    /// Class names that lead to it without an `IngressClass`.
    classes: &'static [&'static str],
    rule: ControllerRule,
}

/// A path in the user's own Ingress is served like the others of it.
const IN_PLACE: &[PlaceChoice] = &[PlaceChoice::InPlace];

/// The rules, from the documents of each controller.
static RULES: [KnownController; 6] = [
    KnownController {
        controller: "nginx.org/ingress-controller",
        classes: &[],
        rule: ControllerRule {
            rule: "the controller of F5 NGINX gives a host to the oldest Ingress that names it, and rejects the solver Ingress",
            way_out: "make this Ingress a master (annotation nginx.org/mergeable-ingress-type: master) and put its paths \
                  into minions, which the solver Ingress joins; or have the path put into this Ingress \
                  (ingress-acme.dev/solver-place: in-place)",
            passed_by: IN_PLACE,
        },
    },
    KnownController {
        controller: "openshift.io/ingress-to-route",
        classes: &["openshift-default"],
        rule: ControllerRule {
            rule: "OpenShift's router gives a host to the namespace that named it first, and refuses the solver Ingress",
            way_out: "have the solver Ingress made in the namespace of this one (ingress-acme.dev/solver-place: \
                  namespace), or set spec.routeAdmission.namespaceOwnership to InterNamespaceAllowed in the \
                  IngressController",
            passed_by: &[PlaceChoice::Namespace, PlaceChoice::InPlace],
        },
    },
    KnownController {
        controller: "ingress.k8s.aws/alb",
        classes: &["alb"],
        rule: ControllerRule {
            rule: "the AWS controller makes a load balancer for each Ingress, and the host leads to that of the user",
            way_out: "give this Ingress the annotation alb.ingress.kubernetes.io/group.name, and the solver Ingress the \
                  same one by the flag --solver-annotation",
            passed_by: &[],
        },
    },
    KnownController {
        controller: "cilium.io/ingress-controller",
        classes: &["cilium"],
        rule: ControllerRule {
            rule: "Cilium in dedicated mode makes a load balancer for each Ingress, and the host leads to that of the user",
            way_out: "give this Ingress the annotation ingress.cilium.io/loadbalancer-mode: shared, and the solver Ingress \
                  the same one by the flag --solver-annotation; or have the path put into this Ingress \
                  (ingress-acme.dev/solver-place: in-place)",
            passed_by: IN_PLACE,
        },
    },
    KnownController {
        controller: "azure/application-gateway",
        classes: &["azure/application-gateway", "azure-application-gateway"],
        rule: ControllerRule {
            rule: "Azure's Application Gateway serves one Ingress for each host",
            way_out: "have the path put into this Ingress (ingress-acme.dev/solver-place: in-place), or leave its \
                  certificate to Azure (annotation appgw.ingress.kubernetes.io/appgw-ssl-certificate)",
            passed_by: IN_PLACE,
        },
    },
    KnownController {
        controller: "networking.gke.io/ingress",
        classes: &["gce", "gce-internal"],
        rule: ControllerRule {
            rule: "GKE makes a load balancer for each Ingress, and the host leads to that of the user",
            way_out: "serve the host by another ingress controller, or leave its certificate to GKE (annotation \
                  networking.gke.io/managed-certificates)",
            passed_by: &[],
        },
    },
];

/// Rule of the controller with this `spec.controller`.
pub(super) fn rule_of(controller: &str) -> Option<&'static ControllerRule> {
    RULES.iter().find(|known| known.controller == controller).map(|known| &known.rule)
}

/// Classes that lead to a controller by their names alone.
pub(super) fn by_name() -> impl Iterator<Item = ClassView> {
    let class = |name: &str, rule| ClassView { name: name.into(), is_default: false, rule };
    RULES
        .iter()
        .flat_map(move |known| known.classes.iter().map(move |name| class(name, Some(&known.rule))))
}
