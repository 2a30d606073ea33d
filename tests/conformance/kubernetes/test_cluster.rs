//! The two worlds that must behave alike: a real control plane, and the simulated API server.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use ingress_acme::kubernetes::client;
use ingress_acme::kubernetes::tls_secrets::KubeTlsSecrets;
use ingress_acme_actors::domain::ingress::{IngressKey, IngressRef};
use ingress_acme_control_plane::{World, apply_yaml};
use ingress_acme_sim::clock::Clock;
use ingress_acme_sim::kube::{ApiServer, User};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Api, Client, Config};
use serde_json::{Value, json};

/// Timeout of a wait; all awaited changes come much sooner.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// ACME directory of the installed certificates.
pub(crate) const DIRECTORY: &str = "https://ca.example/directory";
/// Namespace and Ingress that the adapters work on.
pub(crate) const WEB: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: web}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: web}
spec:
  ingressClassName: nginx
  rules:
    - host: a.example.com
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
";

/// One world and its clients.
pub(crate) struct TestCluster {
    cluster: Cluster,
    pub(crate) admin: Client,
    /// Client that connects like the operator, with the operator's rights.
    pub(crate) client: Client,
    pub(crate) secrets: Api<Secret>,
    pub(crate) ingresses: Api<Ingress>,
}

enum Cluster {
    Real(Box<World>),
    Simulated(ApiServer),
}

/// Similar requests of the operator, counted.
pub(crate) struct Asked {
    pub(crate) user_agent: String,
    pub(crate) count: u64,
    verb: String,
    resource: String,
}

impl TestCluster {
    /// Starts a real control plane.
    pub(crate) async fn real() -> Self {
        let world = World::start().await.unwrap_or_else(|error| panic!("{error}"));
        let kubeconfig = Kubeconfig::read_from(world.operator_kubeconfig()).unwrap();
        let (admin, config) = (world.admin(), config(kubeconfig).await);
        Self::prepare(Cluster::Real(world.into()), admin, config).await
    }

    /// Starts the simulated API server; its operator also connects by a kubeconfig.
    pub(crate) async fn simulated() -> Self {
        let server = ApiServer::start(Clock::default(), 1).unwrap();
        let admin = Client::try_from(server.config(User::Admin)).unwrap();
        let kubeconfig = Kubeconfig::from_yaml(&server.kubeconfig(User::Operator)).unwrap();
        Self::prepare(Cluster::Simulated(server), admin, config(kubeconfig).await).await
    }

    async fn prepare(cluster: Cluster, admin: Client, operator: Config) -> Self {
        apply_yaml(&admin, WEB).await.unwrap();
        let client = client::client(operator).unwrap();
        let secrets = Api::namespaced(admin.clone(), "web");
        let ingresses = Api::namespaced(admin.clone(), "web");
        Self { cluster, admin, client, secrets, ingresses }
    }

    pub(crate) fn tls_secrets(&self) -> KubeTlsSecrets {
        KubeTlsSecrets::new(self.client.clone())
    }

    pub(crate) async fn make(&self, name: &str, kind: &str, data: Value) -> Secret {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "data": data});
        let secret: Secret = serde_json::from_value(secret).unwrap();
        self.secrets.create(&kube::api::PostParams::default(), &secret).await.unwrap()
    }

    pub(crate) async fn shop(&self) -> IngressRef {
        let uid = self.ingresses.get("shop").await.unwrap().metadata.uid.unwrap();
        IngressRef { key: IngressKey::new("web", "shop"), uid: uid.into() }
    }

    /// Whether this is a real control plane, which holds the operator to its rights.
    pub(crate) fn is_real(&self) -> bool {
        matches!(self.cluster, Cluster::Real(_))
    }

    /// Creates a namespace for one scenario, apart from the objects of the others.
    pub(crate) async fn namespace(&self, name: &str) {
        let namespace = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}");
        apply_yaml(&self.admin, &namespace).await.unwrap();
    }

    /// Makes the API server forget its watch history; a real API server is restarted.
    pub(crate) async fn forget_history(&self) {
        match &self.cluster {
            Cluster::Real(world) => world.restart_apiserver().await.unwrap(),
            Cluster::Simulated(server) => server.forget_history(),
        }
    }

    /// All requests of the operator.
    pub(crate) fn audit(&self) -> Vec<Asked> {
        let ours = User::Operator.name();
        match &self.cluster {
            Cluster::Real(world) => {
                let entries = world.audit().into_iter().filter(|entry| entry.user == ours);
                entries
                    .map(|entry| Asked {
                        user_agent: entry.user_agent,
                        count: 1,
                        verb: entry.verb,
                        resource: entry.resource,
                    })
                    .collect()
            }
            Cluster::Simulated(server) => {
                let entries = server.audit().into_iter().filter(|entry| entry.user.name() == ours);
                entries
                    .map(|entry| Asked {
                        user_agent: entry.user_agent,
                        count: entry.count,
                        verb: entry.verb.to_owned(),
                        resource: entry.resource,
                    })
                    .collect()
            }
        }
    }

    /// Number of the operator's requests for this resource, by verb.
    pub(crate) fn verbs(&self, resource: &str) -> BTreeMap<String, u64> {
        let mut verbs = BTreeMap::new();
        for asked in self.audit().into_iter().filter(|asked| asked.resource == resource) {
            *verbs.entry(asked.verb).or_default() += asked.count;
        }
        verbs
    }
}

async fn config(kubeconfig: Kubeconfig) -> Config {
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

/// Status of a refused request; panics if the request succeeded.
pub(crate) fn refused<T: Debug>(answer: Result<T, kube::Error>) -> Status {
    match answer {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("it was not refused: {other:?}"),
    }
}

/// Code and reason of a refusal.
pub(crate) fn refusal<T: Debug>(answer: Result<T, kube::Error>) -> (u16, String) {
    let status = refused(answer);
    (status.code, status.reason)
}

/// Fields named in a refusal's causes.
pub(crate) fn complaints(status: &Status) -> Vec<&str> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.map(|cause| &*cause.field).collect()
}
