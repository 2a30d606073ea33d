//! A cluster without an operator holds Ingresses, Secrets and Events. Their dates are fixed and far
//! from now on both sides, so that answers are the same on every day.

use base64::prelude::{BASE64_STANDARD, Engine};
use ingress_acme_sim::{Options, World};
use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber, date_time_ymd};
use serde_json::{Value, json};

use crate::{program, said};

/// A cluster that commands are asked about.
pub(crate) struct Site(World);

impl Site {
    pub(crate) fn start() -> Self {
        let site = Self(World::start(Options::default()).unwrap());
        for name in ["web", "api"] {
            site.load(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        }
        site
    }

    pub(crate) fn load(&self, object: Value) {
        self.0.api().load(object).unwrap();
    }

    pub(crate) fn world(&self) -> &World {
        &self.0
    }

    /// A command runs as a user of this cluster.
    pub(crate) async fn said(&self, args: &[&str]) -> (i32, String, String) {
        self.said_in(args, &[]).await
    }

    /// A command runs with these variables in its environment.
    pub(crate) async fn said_in(
        &self,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> (i32, String, String) {
        let mut command = program(args);
        command.env("KUBECONFIG", self.0.kubeconfig()).envs(env.iter().copied());
        said(command).await
    }

    /// An Ingress of namespace `web` appears; `spec.tls` names the Secret where one is given.
    pub(crate) fn ingress(&self, name: &str, hosts: &[&str], secret: Option<&str>, marks: Value) {
        let mut metadata = json!({"namespace": "web", "name": name});
        metadata["annotations"] = marks;
        let rules: Vec<Value> = hosts.iter().map(|host| json!({"host": host})).collect();
        let mut spec = json!({"rules": rules});
        if let Some(secret) = secret {
            spec["tls"] = json!([{"hosts": hosts, "secretName": secret}]);
        }
        self.load(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": metadata, "spec": spec,
        }));
    }

    /// A Secret of namespace `web` appears, with a certificate from 2020 to the end of that year.
    pub(crate) fn secret(&self, name: &str, hosts: &[&str], ours: bool, until: i32) {
        let (chain, key) = certificate(hosts, until);
        let mut metadata = json!({"namespace": "web", "name": name});
        if ours {
            metadata["labels"] = json!({"app.kubernetes.io/managed-by": "ingress-acme"});
            let directory = json!({"ingress-acme.dev/directory": "https://ca.example/directory"});
            metadata["annotations"] = directory;
        }
        let data = json!({
            "tls.crt": BASE64_STANDARD.encode(chain), "tls.key": BASE64_STANDARD.encode(key),
        });
        self.load(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": metadata,
            "type": "kubernetes.io/tls", "data": data,
        }));
    }

    /// An Event of the operator appears on an Ingress of namespace `web`.
    pub(crate) fn event(&self, ingress: &str, at: &str, kind: &str, reason: &str, note: &str) {
        let name = format!("{ingress}.{}", at.replace(':', "-").to_lowercase());
        self.load(json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"namespace": "web", "name": name},
            "eventTime": at, "type": kind, "reason": reason, "note": note,
            "action": "IssueCertificate",
            "reportingController": "ingress-acme.dev/ingress-acme",
            "reportingInstance": "operator",
            "regarding": {"kind": "Ingress", "namespace": "web", "name": ingress},
        }));
    }
}

/// A certificate signs itself; the answer is the chain and the key, PEM.
fn certificate(hosts: &[&str], until: i32) -> (String, String) {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 12, 31);
    params.serial_number = Some(SerialNumber::from(42));
    params.distinguished_name.push(DnType::CommonName, "Contract CA");
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}
