//! Ingresses of users, and the Services behind them, which have no Pods.

use std::collections::BTreeMap;

use actix_web::{App, HttpServer, web};
use ingress_acme_control_plane::{ADDRESS, World, apply_yaml};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::controllers::Kind;

/// Namespaces of the users.
pub(crate) const NAMESPACES: [&str; 4] = ["team-0", "team-1", "team-2", "team-3"];
/// Name of the users' Service, one in each namespace.
const SERVICE: &str = "site";
/// Port of the users' program.
const BACKEND: u16 = 8000;
/// Port of the operator's solver.
pub(crate) const SOLVER: u16 = 8089;

/// How an Ingress names its class.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Class {
    /// `spec.ingressClassName`.
    Field,
    /// The annotation of old.
    Annotation,
    /// Not at all: the cluster has a default class.
    Default,
}

/// Builder of an Ingress with one host.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) namespace: &'static str,
    pub(crate) name: String,
    pub(crate) host: String,
    /// Host of the rule; `None` for a rule without one.
    rule_host: Option<String>,
    /// Status of every plain HTTP request, unless the controller redirects all of them.
    pub(crate) http: u16,
    /// Status of every HTTPS request.
    pub(crate) https: u16,
    class: Class,
    has_tls: bool,
    paths: Vec<&'static str>,
    annotations: BTreeMap<String, String>,
}

impl Site {
    /// Starts with the class in the field, the path `/`, and no `spec.tls`.
    pub(crate) fn new(namespace: &'static str, name: &str) -> Self {
        let host = format!("{name}.{namespace}.example.com");
        Self {
            namespace,
            name: name.to_owned(),
            rule_host: Some(host.clone()),
            host,
            http: 200,
            https: 200,
            class: Class::Field,
            has_tls: false,
            paths: vec!["/"],
            annotations: BTreeMap::new(),
        }
    }

    pub(crate) fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// Adds `spec.tls`.
    pub(crate) fn tls(mut self) -> Self {
        self.has_tls = true;
        self
    }

    /// Has a rule for all hosts of the namespace, and `spec.tls` for the one.
    pub(crate) fn wildcard(self) -> Self {
        let rule_host = Some(format!("*.{}.example.com", self.namespace));
        Self { rule_host, ..self.tls() }
    }

    /// Has a rule without a host, and `spec.tls` for the one.
    pub(crate) fn hostless(self) -> Self {
        Self { rule_host: None, ..self.tls() }
    }

    pub(crate) fn path(mut self, path: &'static str) -> Self {
        self.paths.push(path);
        self
    }

    pub(crate) fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn http(mut self, status: u16) -> Self {
        self.http = status;
        self
    }

    pub(crate) fn https(mut self, status: u16) -> Self {
        self.https = status;
        self
    }

    /// Name of the Secret, which is the one that the operator chooses by itself.
    pub(crate) fn secret(&self) -> String {
        format!("{}-tls", self.name)
    }

    /// Creates the Ingress.
    pub(crate) async fn create(&self, client: &Client, kind: &Kind) {
        let api: Api<Ingress> = Api::namespaced(client.clone(), self.namespace);
        let object = serde_json::from_value(self.object(kind)).expect("an Ingress");
        api.create(&PostParams::default(), &object).await.expect("the Ingress is created");
    }

    fn object(&self, kind: &Kind) -> Value {
        let class = kind.class;
        let backend = json!({ "service": { "name": SERVICE, "port": { "number": 80 } } });
        let path = |path| json!({ "path": path, "pathType": "Prefix", "backend": backend });
        let paths: Vec<Value> = self.paths.iter().map(path).collect();
        let mut spec = json!({ "rules": [{ "host": self.rule_host, "http": { "paths": paths } }] });
        let mut annotations = self.annotations.clone();
        annotations.extend(kind.annotation.map(|(key, value)| (key.to_owned(), value.to_owned())));
        match self.class {
            Class::Field => spec["ingressClassName"] = class.into(),
            Class::Annotation => {
                annotations.insert("kubernetes.io/ingress.class".to_owned(), class.to_owned());
            }
            Class::Default => {}
        }
        if self.has_tls {
            spec["tls"] = json!([{ "secretName": self.secret(), "hosts": [self.host] }]);
        }
        json!({ "metadata": { "name": self.name, "annotations": annotations }, "spec": spec })
    }
}

/// Creates the class, the namespaces with their Services, and the `EndpointSlices`, which no
/// controller makes without Pods.
pub(crate) async fn set_up(world: &World, class: &str, class_controller: &str) {
    let default = "ingressclass.kubernetes.io/is-default-class";
    let class = format!(
        "apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {{name: {class}, annotations: {{{default}: \"true\"}}}}
spec: {{controller: {class_controller}}}
"
    );
    let solver = endpoints("ingress-acme", "ingress-acme-solver", SOLVER);
    let namespaces = NAMESPACES.map(|namespace| {
        format!(
            "---
apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {SERVICE}, namespace: {namespace}}}
spec: {{ports: [{{name: http, port: 80}}]}}
{}",
            endpoints(namespace, SERVICE, BACKEND)
        )
    });
    let yaml = class + &solver + &namespaces.concat();
    apply_yaml(&world.admin(), &yaml).await.expect("the class and the Services");
}

fn endpoints(namespace: &str, service: &str, port: u16) -> String {
    format!(
        "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {service}
  namespace: {namespace}
  labels: {{kubernetes.io/service-name: {service}}}
addressType: IPv4
ports: [{{name: http, port: {port}, protocol: TCP}}]
endpoints: [{{addresses: [{ADDRESS}], conditions: {{ready: true}}}}]
"
    )
}

/// Starts the users' program, which answers every path with 200. Ends with the test.
pub(crate) fn start_backend() {
    let app = || App::new().default_service(web::to(async || "the user's program"));
    let server = HttpServer::new(app).workers(1).disable_signals();
    let server = server.bind((ADDRESS, BACKEND)).expect("the port is free in the namespace");
    actix::spawn(server.run());
}
