//! The solver's Service in namespaces of users, with copies of its endpoints.
//!
//! An Ingress leads to Services of its own namespace only. So where a route to the solver is in a
//! user's namespace, there is a Service without a selector, and `EndpointSlices` with the addresses
//! of the operator's ready pods. Both go with the last route.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::solver_place::SOLVER_SERVICE;
use ingress_acme_actors::ports::PortError;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};

use super::PORT;
use crate::kubernetes::client::{
    FIELD_MANAGER, INSTALL_ANNOTATION, install_of, is_ours, our_label, port_error,
};

/// Label of an `EndpointSlice` with the name of its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label of an `EndpointSlice` with the program that writes it.
const MANAGER: &str = "endpointslice.kubernetes.io/managed-by";
/// Name of the port of the Service and of its endpoints.
const PORT_NAME: &str = "http";
/// Name of the `EndpointSlice` of each type of addresses.
const SLICES: [(&str, &str); 2] =
    [("IPv4", "ingress-acme-solver-ipv4"), ("IPv6", "ingress-acme-solver-ipv6")];

/// Addresses of the solver by type (`IPv4`, `IPv6`), and its port.
type Addresses = BTreeMap<String, (Vec<String>, i32)>;

/// The solver's Service in all namespaces of users that have a route.
pub(super) struct Services {
    client: Client,
    /// Namespace of the operator.
    own: String,
    /// `--install-id`.
    install: String,
    /// Addresses that each namespace has.
    copied: RefCell<BTreeMap<String, Addresses>>,
}

impl Services {
    pub(super) fn new(client: Client, own: &str, install: &str) -> Self {
        let (own, install) = (own.to_owned(), install.to_owned());
        Self { client, own, install, copied: RefCell::default() }
    }

    /// Whether this process has made the Service in the namespace.
    pub(super) fn has(&self, namespace: &str) -> bool {
        self.copied.borrow().contains_key(namespace)
    }

    /// Checks that the Service can be made, without a write.
    pub(super) async fn may(&self, namespace: &str) -> Result<(), PortError> {
        self.addresses().await?;
        self.create(namespace, true).await.map(drop)
    }

    /// Makes sure that the namespace has the Service. One request if this process has made it
    /// before and nobody has deleted it.
    pub(super) async fn ensure(&self, namespace: &str) -> Result<(), PortError> {
        let is_new = self.create(namespace, false).await?;
        if !is_new && self.has(namespace) {
            return Ok(());
        }
        let addresses = self.addresses().await?;
        self.copy(namespace, addresses).await
    }

    /// Removes the Service and its endpoints. A Service of others stays, with its endpoints.
    pub(super) async fn remove(&self, namespace: &str) -> Result<(), PortError> {
        self.copied.borrow_mut().remove(namespace);
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let doing = format!("delete Service {namespace}/{SOLVER_SERVICE}");
        let found = services.get_opt(SOLVER_SERVICE).await;
        let found = found.map_err(|error| in_namespace(error, &doing, namespace))?;
        if found.as_ref().is_some_and(|found| !self.is_of_this_install(found)) {
            return Ok(());
        }
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        for (_, name) in SLICES {
            let deleted = slices.delete(name, &DeleteParams::default()).await;
            gone(deleted.map(drop), &format!("delete EndpointSlice {namespace}/{name}"))?;
        }
        let Some(uid) = found.and_then(|found| found.metadata.uid) else { return Ok(()) };
        let this = Preconditions { uid: Some(uid), resource_version: None };
        let params = DeleteParams { preconditions: Some(this), ..DeleteParams::default() };
        gone(services.delete(SOLVER_SERVICE, &params).await.map(drop), &doing)
    }

    /// Copies the endpoints to all namespaces where they differ.
    pub(super) async fn follow(&self) -> Result<(), PortError> {
        if self.copied.borrow().is_empty() {
            return Ok(());
        }
        let addresses = self.addresses().await?;
        let outdated = |(_, has): &(&String, &Addresses)| **has != addresses;
        let outdated: Vec<String> =
            self.copied.borrow().iter().filter(outdated).map(|(name, _)| name.clone()).collect();
        let mut failed = Ok(());
        for namespace in outdated {
            // Each namespace has rights of its own.
            let copied = self.copy(&namespace, addresses.clone()).await;
            failed = failed.and(copied);
        }
        failed
    }

    /// Addresses of the ready pods behind the operator's own Service.
    async fn addresses(&self) -> Result<Addresses, PortError> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.own);
        let label = format!("{SERVICE_NAME}={SOLVER_SERVICE}");
        let list =
            api.list(&ListParams::default().labels(&label).limit(limits::ENDPOINT_SLICES)).await;
        let doing = "list the EndpointSlices of the solver";
        let list = list.map_err(|error| in_namespace(error, doing, &self.own))?;
        let found = addresses(&list.items);
        if found.is_empty() {
            return Err(PortError::transient(format!(
                "the EndpointSlices of Service {}/{SOLVER_SERVICE} have no ready pod yet",
                self.own
            )));
        }
        Ok(found)
    }

    /// Creates the Service, or tries to. Returns `false` if ours is there already.
    async fn create(&self, namespace: &str, dry_run: bool) -> Result<bool, PortError> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let doing = format!("create Service {namespace}/{SOLVER_SERVICE}");
        let params = PostParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()) };
        match api.create(&params, &service(&self.install)).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(in_namespace(error, &doing, namespace)),
        }
        let doing = format!("read Service {namespace}/{SOLVER_SERVICE}");
        let found = api.get_opt(SOLVER_SERVICE).await;
        match found.map_err(|error| in_namespace(error, &doing, namespace))? {
            Some(found) if self.is_of_this_install(&found) => Ok(false),
            Some(found) if is_ours(&found.metadata) => Err(of_another_install(&found, namespace)),
            None => Err(PortError::transient(format!("{doing}: it is gone"))),
            Some(_) => Err(PortError::permanent(
                FailureClass::Unreachable,
                format!(
                    "Service {namespace}/{SOLVER_SERVICE} is not of ingress-acme (it has no label \
                     app.kubernetes.io/managed-by: ingress-acme): rename it, or choose another place by the annotation \
                     ingress-acme.dev/solver-place"
                ),
            )),
        }
    }

    fn is_of_this_install(&self, found: &Service) -> bool {
        is_ours(&found.metadata) && install_of(&found.metadata) == Some(&self.install)
    }

    /// Writes the `EndpointSlices` of a namespace.
    async fn copy(&self, namespace: &str, addresses: Addresses) -> Result<(), PortError> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        for (address_type, name) in SLICES {
            let doing = format!("write EndpointSlice {namespace}/{name}");
            let Some((of_type, port)) = addresses.get(address_type) else {
                let deleted = api.delete(name, &DeleteParams::default()).await;
                gone(deleted.map(drop), &doing)?;
                continue;
            };
            let slice = slice(name, address_type, of_type, *port);
            let written = api.patch(name, &params, &Patch::Apply(slice)).await;
            written.map_err(|error| in_namespace(error, &doing, namespace))?;
        }
        self.copied.borrow_mut().insert(namespace.to_owned(), addresses);
        Ok(())
    }
}

fn of_another_install(found: &Service, namespace: &str) -> PortError {
    let install = cut(install_of(&found.metadata).unwrap_or("not named"), limits::SHOWN_MAX);
    PortError::permanent(
        FailureClass::Unreachable,
        format!(
            "Service {namespace}/{SOLVER_SERVICE} is of another install of ingress-acme ({install}), and a namespace has \
             routes of one install: let both keep their routes in their own namespaces (annotation \
             ingress-acme.dev/solver-place: shared), or let one install serve the namespace"
        ),
    )
}

/// Ready addresses in these slices, by type, sorted. Other types than IP addresses are left out.
fn addresses(slices: &[EndpointSlice]) -> Addresses {
    let mut found = Addresses::new();
    for slice in
        slices.iter().filter(|slice| SLICES.iter().any(|(one, _)| *one == slice.address_type))
    {
        let is_ready = |endpoint: &&Endpoint| {
            let conditions = endpoint.conditions.as_ref();
            conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
        };
        let ready = slice.endpoints.iter().flatten().filter(is_ready);
        let ready: Vec<String> = ready.flat_map(|endpoint| endpoint.addresses.clone()).collect();
        let mut ports = slice.ports.iter().flatten();
        let Some(port) = ports.find_map(|port| port.port) else { continue };
        if !ready.is_empty() {
            let of_type = found.entry(slice.address_type.clone()).or_insert((Vec::new(), port));
            of_type.0.extend(ready);
        }
    }
    for (addresses, _) in found.values_mut() {
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(limits::SOLVER_ENDPOINTS);
    }
    found
}

fn service(install: &str) -> Service {
    let port = ServicePort {
        name: Some(PORT_NAME.to_owned()),
        port: PORT,
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    };
    let spec = ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        ip_family_policy: Some("PreferDualStack".to_owned()),
        ports: Some(vec![port]),
        ..ServiceSpec::default()
    };
    let metadata = ObjectMeta {
        name: Some(SOLVER_SERVICE.to_owned()),
        labels: Some(our_label()),
        annotations: Some([(INSTALL_ANNOTATION.to_owned(), install.to_owned())].into()),
        ..ObjectMeta::default()
    };
    Service { metadata, spec: Some(spec), status: None }
}

fn slice(name: &str, address_type: &str, addresses: &[String], port: i32) -> EndpointSlice {
    let mut labels = our_label();
    labels.insert(SERVICE_NAME.to_owned(), SOLVER_SERVICE.to_owned());
    labels.insert(MANAGER.to_owned(), FIELD_MANAGER.to_owned());
    let endpoint =
        |address: &String| Endpoint { addresses: vec![address.clone()], ..Endpoint::default() };
    let port = EndpointPort {
        name: Some(PORT_NAME.to_owned()),
        port: Some(port),
        protocol: Some("TCP".to_owned()),
        ..EndpointPort::default()
    };
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        address_type: address_type.to_owned(),
        endpoints: Some(addresses.iter().map(endpoint).collect()),
        ports: Some(vec![port]),
    }
}

/// Converts an error of a request in a namespace where the operator has rights only if somebody
/// has given them there.
pub(super) fn in_namespace(error: kube::Error, doing: &str, namespace: &str) -> PortError {
    match error {
        kube::Error::Api(status) if status.code == 403 && status.message.contains("cannot") => {
            PortError::permanent(
                FailureClass::Unreachable,
                format!(
                    "could not {doing}: ingress-acme has no right to route challenges in namespace {namespace}. Apply \
                     deploy/solver-in-namespaces.yaml, and give it the right there: kubectl -n {namespace} create \
                     rolebinding ingress-acme-solver --clusterrole=ingress-acme-solver \
                     --serviceaccount=ingress-acme:ingress-acme"
                ),
            )
        }
        error => port_error(error, doing),
    }
}

/// The result of a deletion, where one that is gone is deleted.
pub(super) fn gone(deleted: Result<(), kube::Error>, doing: &str) -> Result<(), PortError> {
    match deleted {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => deleted.map_err(|error| port_error(error, doing)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(slices: serde_json::Value) -> Addresses {
        addresses(&serde_json::from_value::<Vec<EndpointSlice>>(slices).unwrap())
    }

    #[test]
    fn ready_addresses_of_both_families_are_copied_with_their_port() {
        let endpoint =
            |address: &str, ready| json!({"addresses": [address], "conditions": {"ready": ready}});
        let ports = json!([{"name": "http", "port": 8089}]);
        let of = |address_type: &str, endpoints: serde_json::Value| json!({"addressType": address_type, "endpoints": endpoints, "ports": ports});
        let slices = json!([
            of("IPv4", json!([endpoint("10.0.0.2", true), endpoint("10.0.0.3", false)])),
            of("IPv4", json!([endpoint("10.0.0.1", true), {"addresses": ["10.0.0.2"]}])),
            of("IPv6", json!([endpoint("fd00::1", true)])),
            of("FQDN", json!([endpoint("a.example.com", true)])),
            {"addressType": "IPv4", "endpoints": [endpoint("10.0.0.9", true)]},
        ]);
        let expected = [
            ("IPv4".to_owned(), (vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()], 8089)),
            ("IPv6".to_owned(), (vec!["fd00::1".to_owned()], 8089)),
        ];
        assert_eq!(found(slices), expected.into());
        assert_eq!(
            found(json!([of("IPv4", json!([endpoint("10.0.0.3", false)]))])),
            Addresses::new()
        );
    }

    #[test]
    fn more_pods_than_anybody_runs_are_cut() {
        let endpoints: Vec<_> = (0..5_000)
            .map(|n| json!({"addresses": [format!("10.0.{}.{}", n / 250, n % 250)]}))
            .collect();
        let slices =
            json!([{"addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 8089}]}]);
        assert_eq!(found(slices)["IPv4"].0.len(), limits::SOLVER_ENDPOINTS);
    }
}
