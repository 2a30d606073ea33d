//! What a storm does, decided before it begins: which Ingresses, with which hosts after which edit.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Label of the namespaces of a storm; its value is the job.
pub const RUN_LABEL: &str = "ingress-acme.dev/storm";
/// Annotation of those namespaces: seconds since 1970 after which the job is over, whatever became of it.
pub const UNTIL: &str = "ingress-acme.dev/storm-until";

/// A storm.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Tells this storm from all others: a DNS label.
    pub run: String,
    /// How many Ingresses.
    pub ingresses: u32,
    /// Edits of each.
    pub edits: u32,
    /// Over how many namespaces.
    pub namespaces: u32,
    /// Hosts of each.
    pub names: u32,
    /// What the hosts are under.
    pub domain: String,
    /// `spec.ingressClassName`.
    pub class: Option<String>,
    /// Whether `spec.tls` is given.
    pub spec_tls: bool,
}

impl Plan {
    /// The namespaces.
    pub fn namespaces(&self) -> impl Iterator<Item = String> {
        (0..self.namespaces).map(|number| self.namespace(number))
    }

    fn namespace(&self, number: u32) -> String {
        format!("storm-{}-{}", self.run, number % self.namespaces)
    }

    /// Namespace and name of an Ingress; its Secret has its name.
    pub fn key(&self, number: u32) -> (String, String) {
        (self.namespace(number), format!("site-{number}"))
    }

    /// The hosts after so many edits: every other edit adds one, and the next takes it away.
    pub fn hosts(&self, number: u32, edit: u32) -> BTreeSet<String> {
        let apex = format!("i{number}.{}.{}", self.run, self.domain);
        let more = (1..self.names).map(|name| format!("n{name}.{apex}"));
        let extra = (edit % 2 == 1).then(|| format!("e{edit}.{apex}"));
        more.chain(extra).chain([apex.clone()]).collect()
    }

    /// The hosts that the certificate must have at the end.
    pub fn final_hosts(&self, number: u32) -> BTreeSet<String> {
        self.hosts(number, self.edits)
    }

    /// The Ingress after so many edits.
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

    /// What an edit changes.
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
    }
}
