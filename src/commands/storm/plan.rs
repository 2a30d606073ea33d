//! Plan of a storm, decided in advance: the Ingresses, and their hosts after each edit.

use std::collections::BTreeSet;

use ingress_acme_actors::domain::desired::secret_names::chosen_name;
use serde_json::{Value, json};

/// Label of a storm's namespaces. The value identifies the storm.
pub const RUN_LABEL: &str = "ingress-acme.dev/storm";
/// Annotation of a storm's namespaces: seconds since 1970 after which the storm is certainly over,
/// in any state, and its namespaces may be deleted.
pub const UNTIL: &str = "ingress-acme.dev/storm-until";

/// Plan of a storm.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Identifier of this storm, unique among storms: a DNS label.
    pub run: String,
    /// Number of Ingresses.
    pub ingresses: u32,
    /// Number of edits per Ingress.
    pub edits: u32,
    /// Number of namespaces over which the Ingresses are spread.
    pub namespaces: u32,
    /// Number of hosts per Ingress.
    pub names: u32,
    /// Parent domain of all hosts.
    pub domain: String,
    /// `spec.ingressClassName`.
    pub class: Option<String>,
    /// Whether the Ingresses have `spec.tls`.
    pub spec_tls: bool,
}

impl Plan {
    /// Names of the namespaces.
    pub fn namespaces(&self) -> impl Iterator<Item = String> {
        (0..self.namespaces).map(|number| self.namespace(number))
    }

    fn namespace(&self, number: u32) -> String {
        format!("storm-{}-{}", self.run, number % self.namespaces)
    }

    /// Namespace and name of an Ingress.
    pub fn key(&self, number: u32) -> (String, String) {
        (self.namespace(number), format!("site-{number}"))
    }

    /// Namespace and name of its Secret: the operator chooses the name where there is no
    /// `spec.tls`.
    pub fn secret(&self, number: u32) -> (String, String) {
        let (namespace, name) = self.key(number);
        let name = if self.spec_tls { name } else { chosen_name(&name, 1) };
        (namespace, name)
    }

    /// Hosts after `edit` edits: every odd edit adds a host, and the next edit removes that host.
    pub fn hosts(&self, number: u32, edit: u32) -> BTreeSet<String> {
        let apex = format!("i{number}.{}.{}", self.run, self.domain);
        let more = (1..self.names).map(|name| format!("n{name}.{apex}"));
        let extra = (edit % 2 == 1).then(|| format!("e{edit}.{apex}"));
        more.chain(extra).chain([apex.clone()]).collect()
    }

    /// Hosts that the certificate must have at the end.
    pub fn final_hosts(&self, number: u32) -> BTreeSet<String> {
        self.hosts(number, self.edits)
    }

    /// The Ingress after `edit` edits.
    pub fn ingress(&self, number: u32, edit: u32) -> Value {
        let (namespace, name) = self.key(number);
        let mut ingress = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"namespace": namespace, "name": name, "labels": {RUN_LABEL: self.run}},
            "spec": self.spec(number, edit),
        });
        if let Some(class) = &self.class {
            ingress["spec"]["ingressClassName"] = class.as_str().into();
        }
        ingress
    }

    /// The `spec` that an edit writes.
    pub fn spec(&self, number: u32, edit: u32) -> Value {
        let hosts = self.hosts(number, edit);
        let (_, name) = self.key(number);
        let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
        let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
        let rules: Vec<Value> =
            hosts.iter().map(|host| json!({"host": host, "http": {"paths": [path]}})).collect();
        let mut spec = json!({ "rules": rules });
        if self.spec_tls {
            spec["tls"] = json!([{"hosts": hosts, "secretName": name}]);
        }
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            run: "r1".into(),
            ingresses: 4,
            edits: 3,
            namespaces: 2,
            names: 2,
            domain: "example.com".into(),
            class: None,
            spec_tls: true,
        }
    }

    #[test]
    fn ingresses_are_spread_over_the_namespaces_and_share_no_host() {
        let plan = plan();
        assert_eq!(plan.key(0).0, plan.key(2).0);
        assert_ne!(plan.key(0).0, plan.key(1).0);
        assert!(plan.hosts(0, 0).is_disjoint(&plan.hosts(1, 0)));
        assert_eq!(plan.hosts(0, 0).len(), 2);
    }

    #[test]
    fn each_edit_changes_the_hosts_and_the_last_one_decides() {
        let plan = plan();
        for edit in 0..3 {
            assert_ne!(plan.hosts(0, edit), plan.hosts(0, edit + 1));
        }
        assert_eq!(plan.final_hosts(0), plan.hosts(0, 3));
        assert_eq!(Plan { edits: 2, ..plan.clone() }.final_hosts(0), plan.hosts(0, 0));
    }

    #[test]
    fn hosts_stand_in_rules_and_in_spec_tls() {
        let ingress = plan().ingress(1, 0);
        assert_eq!(ingress["spec"]["rules"].as_array().map(Vec::len), Some(2));
        assert_eq!(ingress["spec"]["tls"][0]["secretName"], "site-1");
        let bare = Plan { spec_tls: false, ..plan() }.ingress(1, 0);
        assert!(bare["spec"]["tls"].is_null());
        let secret = |spec_tls| Plan { spec_tls, ..plan() }.secret(1).1;
        assert_eq!([secret(true), secret(false)], ["site-1", "site-1-tls"]);
    }
}
