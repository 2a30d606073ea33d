//! A cluster with Ingresses, Secrets and Events, but without an operator. All dates are fixed and
//! years away from today, so that output is the same every day.

use base64::prelude::{BASE64_STANDARD, Engine};
use ingress_acme_sim::kube::User;
use ingress_acme_sim::{Options, World};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::DeleteParams;
use kube::{Api, Client};
use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber, date_time_ymd};
use serde_json::{Value, json};

use crate::{program, said};

/// A cluster for commands to read.
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

    /// Runs a command as a user of this cluster.
    pub(crate) async fn said(&self, args: &[&str]) -> (i32, String, String) {
        self.said_in(args, &[]).await
    }

    /// Runs a command with these environment variables.
    pub(crate) async fn said_in(
        &self,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> (i32, String, String) {
        let mut command = program(args);
        command.env("KUBECONFIG", self.0.kubeconfig()).envs(env.iter().copied());
        said(command).await
    }

    /// Creates an Ingress in namespace `web`; a given Secret is named in `spec.tls`.
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

    /// Deletes an Ingress in namespace `web`.
    pub(crate) async fn delete_ingress(&self, name: &str) {
        let client = Client::try_from(self.0.api().config(User::Admin)).unwrap();
        let api: Api<Ingress> = Api::namespaced(client, "web");
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Creates a Secret in namespace `web` with a certificate from 2020 to the end of year `until`.
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

    /// Creates an Event of the operator about an Ingress in namespace `web`.
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

/// Chain and key of a self-signed certificate, in PEM.
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
