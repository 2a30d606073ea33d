//! `NetworkPolicies` that select the operator's pods, without their peers.

use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::doctor::Fact;
use ingress_acme_actors::domain::doctor::network_policy::{Needs, Policy, Ports, Rule};
use ingress_acme_actors::domain::limits;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::ListParams;
use kube::core::{Selector, SelectorExt};

use super::cluster::Cluster;
use super::deployment::Setup;
use crate::dns_and_http::listeners::SOLVER;

/// Networks of all addresses.
const ALL: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Lists the policies of the operator's namespace that select its pods.
pub(super) async fn read(cluster: &Cluster, setup: &Setup) -> Fact<Vec<Policy>> {
    let api: Api<NetworkPolicy> = Api::namespaced(cluster.client.clone(), &cluster.own);
    let listed = cluster.ask(api.list(&ListParams::default().limit(limits::DOCTOR_LISTED))).await?;
    Ok(listed.items.iter().filter_map(|policy| of(policy, setup)).collect())
}

/// Ports that the operator uses, by its flags.
pub(super) fn needs(setup: &Setup) -> Needs {
    let solver = setup.flags.solver_bind.map_or(SOLVER, |bind| bind.port());
    Needs { solver, ca: setup.ca_ports() }
}

/// The rules of a policy; `None` if other pods are meant, or a selector that nobody can read.
fn of(policy: &NetworkPolicy, setup: &Setup) -> Option<Policy> {
    let spec = policy.spec.clone().unwrap_or_default();
    let selector: Selector = spec.pod_selector.unwrap_or_default().try_into().ok()?;
    if !selector.matches(&setup.labels) {
        return None;
    }
    let types = spec.policy_types.unwrap_or_default();
    let is_of = |name: &str, by_default: bool| {
        if types.is_empty() { by_default } else { types.iter().any(|one| one == name) }
    };
    let (is_in, is_out) = (is_of("Ingress", true), is_of("Egress", spec.egress.is_some()));
    let rule =
        |ports: &Option<Vec<NetworkPolicyPort>>, peers: &Option<Vec<NetworkPolicyPeer>>| Rule {
            ports: ports.iter().flatten().map(|port| ports_of(port, setup)).collect(),
            any_peer: peers
                .as_ref()
                .is_none_or(|peers| peers.is_empty() || peers.iter().any(is_any)),
        };
    let incoming = spec.ingress.iter().flatten().map(|one| rule(&one.ports, &one.from));
    let outgoing = spec.egress.iter().flatten().map(|one| rule(&one.ports, &one.to));
    Some(Policy {
        name: cut(policy.metadata.name.clone().unwrap_or_default(), limits::QUOTED_MAX),
        ingress: is_in.then(|| incoming.collect()),
        egress: is_out.then(|| outgoing.collect()),
    })
}

/// The ports of one entry. A name is that of a port of the pods, and matches nothing if no port has
/// it.
fn ports_of(port: &NetworkPolicyPort, setup: &Setup) -> Ports {
    /// First and last of no port.
    const NONE: (u16, u16) = (1, 0);
    let udp = port.protocol.as_deref() == Some("UDP");
    let is_known = udp || port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let number = |number: i32| u16::try_from(number).unwrap_or(u16::MAX);
    let range = match (&port.port, port.end_port) {
        _ if !is_known => NONE,
        (None, _) => (0, u16::MAX),
        (Some(IntOrString::Int(first)), last) => (number(*first), number(last.unwrap_or(*first))),
        (Some(IntOrString::String(name)), _) => {
            setup.ports.get(name).map_or(NONE, |port| (*port, *port))
        }
    };
    Ports { udp, range }
}

fn is_any(peer: &NetworkPolicyPeer) -> bool {
    let block = peer.ip_block.as_ref();
    block.is_some_and(|block| ALL.contains(&block.cidr.as_str()) && block.except.is_none())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::commands::doctor::deployment::setup_of;

    fn policy(spec: &Value) -> Option<Policy> {
        let labels = json!({"app.kubernetes.io/name": "ingress-acme", "tier": "edge"});
        let ports = json!([{"name": "solver", "containerPort": 8089}]);
        let setup = setup_of(&json!({
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "x", "args": ["run"], "ports": ports}]},
        }));
        let object = json!({"metadata": {"name": "p"}, "spec": spec});
        of(&serde_json::from_value(object).unwrap(), &setup)
    }

    #[test]
    fn a_policy_is_read_if_it_selects_the_pods_and_a_named_port_is_that_of_the_pods() {
        let rule = json!({"ports": [{"port": "solver"}, {"port": "other"}, {"protocol": "UDP"}]});
        let found = policy(&json!({"podSelector": {}, "ingress": [rule]})).unwrap();
        let rules = found.ingress.unwrap();
        let ranges: Vec<(u16, u16)> = rules[0].ports.iter().map(|ports| ports.range).collect();
        assert_eq!(ranges, [(8089, 8089), (1, 0), (0, u16::MAX)]);
        assert!(rules[0].any_peer && rules[0].ports[2].udp);
        assert_eq!(found.egress, None, "without rules for it, and without its type");
        let edge = json!({"key": "tier", "operator": "In", "values": ["edge"]});
        let selecting =
            json!({"podSelector": {"matchExpressions": [edge]}, "policyTypes": ["Egress"]});
        let found = policy(&selecting).unwrap();
        assert_eq!((found.ingress, found.egress), (None, Some(Vec::new())));
        assert_eq!(policy(&json!({"podSelector": {"matchLabels": {"tier": "core"}}})), None);
    }

    #[test]
    fn peers_are_any_without_a_list_or_with_a_network_of_all_addresses() {
        let any_peer = |from: &Value| {
            let found = policy(&json!({"podSelector": {}, "ingress": [{"from": from}]})).unwrap();
            found.ingress.unwrap()[0].any_peer
        };
        assert!(any_peer(&json!([])) && any_peer(&json!([{"ipBlock": {"cidr": "0.0.0.0/0"}}])));
        assert!(!any_peer(&json!([{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}])));
        assert!(!any_peer(&json!([{"namespaceSelector": {}}])));
    }
}
