//! The simulated Kubernetes API server: what the operator uses of the real one, over plain HTTP on loopback.
//!
//! It knows Namespaces, Secrets, Services, Ingresses, Events (events.k8s.io) and Leases: lists with pages, watches,
//! writes with conflicts of versions and of field managers, server-side apply, owner garbage collection. A hundred
//! thousand Ingresses with their Secrets fit.
//!
//! # What it is not
//! - There is **no RBAC**: both users may do everything. Rights are tested on the real server.
//! - Objects are not parsed by their schema: unknown fields stay, and only what the operator can run into is
//!   validated. A strategic merge patch is taken as a merge patch; JSON patches are refused.
//! - Later pages of a list show the objects as they are by then, not as they were at the first page.
//!
//! # Layout
//! - `store`: all objects and every decision about them, without I/O. `object`, `history`, `selector`, `fields`,
//!   `ownership`, `defaults`, `validation`: what it is made of.
//! - `http`: the thin shell: requests, watches, faults. `audit`: counts of requests.

mod audit;
mod defaults;
mod fields;
mod history;
mod http;
mod object;
mod ownership;
mod refusal;
mod resource;
mod selector;
mod store;
mod validation;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde_json::{Value, json};

pub use audit::Audited;
pub use refusal::Refusal;

use crate::SimError;
use crate::clock::Clock;
use crate::faults::Faults;
use crate::serving::Serving;
use http::State;
use resource::Resource;

/// Where objects go that name no namespace.
const DEFAULT_NAMESPACE: &str = "default";
/// Namespaces that are there from the start.
const NAMESPACES: [&str; 2] = [DEFAULT_NAMESPACE, "ingress-acme"];
/// Field manager of what is loaded.
const LOADER: &str = "kubectl";

/// Who asks; known by a bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum User {
    /// Tests and harnesses: no fault ever meets them.
    Admin,
    /// The operator.
    Operator,
}

impl User {
    /// The bearer token.
    pub fn token(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
        }
    }

    /// The name as audit logs have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "system:serviceaccount:ingress-acme:ingress-acme",
        }
    }
}

/// A running API server; dropped, it no longer answers.
#[derive(Debug)]
pub struct ApiServer {
    state: Arc<State>,
    serving: Serving,
}

impl ApiServer {
    /// On a free port of loopback, with the namespaces `default` and `ingress-acme`. `seed` decides on uids and on
    /// faults.
    pub fn start(clock: Clock, seed: u64) -> Result<Self, SimError> {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into(), clock, seed)
    }

    /// On this address.
    ///
    /// # Panics
    /// Never: a new server takes its first namespaces.
    pub fn start_on(address: SocketAddr, clock: Clock, seed: u64) -> Result<Self, SimError> {
        let state = Arc::new(State::new(clock, seed));
        let collected = Arc::clone(&state);
        let collect = || http::collect(collected);
        let serving =
            Serving::start("API server", address, None, http::configure(&state), collect)?;
        let server = Self { state, serving };
        for name in NAMESPACES {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            server.load(namespace).expect("a new server has no such namespace yet");
        }
        Ok(server)
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.serving.address())
    }

    /// For a client in this process.
    ///
    /// # Panics
    /// Never: the address is a URL.
    pub fn config(&self, user: User) -> kube::Config {
        let url = self.url().parse().expect("an address of loopback is a URL");
        let mut config = kube::Config::new(url);
        let token = json!({"token": user.token()});
        config.auth_info = serde_json::from_value(token).expect("kube reads its own field");
        config
    }

    /// For another process: the text of a kubeconfig file, in JSON, which is YAML too.
    pub fn kubeconfig(&self, user: User) -> String {
        let name = user.token();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": self.url()}}],
            "users": [{"name": name, "user": {"token": user.token()}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        });
        config.to_string()
    }

    /// What goes wrong with the operator's requests.
    pub fn faults(&self) -> &Faults {
        self.state.faults()
    }

    /// All requests so far, counted.
    pub fn audit(&self) -> Vec<Audited> {
        self.state.audit().all()
    }

    /// Creates an object directly; not counted, and met by no fault.
    pub fn load(&self, object: Value) -> Result<Value, Refusal> {
        let unknown = || Refusal::bad_request("this server knows no such kind of object");
        let resource = Resource::of(&object).ok_or_else(unknown)?;
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or(DEFAULT_NAMESPACE);
        let namespace = if resource.is_namespaced() { namespace } else { "" }.to_owned();
        let created = self.state.write(LOADER, false, |store, by, random| {
            store.create(resource, &namespace, object, by, random)
        });
        created.map(|object| object.value())
    }

    /// Forgets all changes so far: a watch or list that is to go on from before gets 410.
    pub fn forget_history(&self) {
        self.state.write(LOADER, false, |store, _, _| store.forget_history());
    }

    /// Ends all watches that are open.
    pub fn cut_watches(&self) {
        self.state.signal(|signals| signals.cuts += 1);
    }

    /// Held watches deliver nothing; released, they deliver everything that happened meanwhile.
    pub fn hold_watches(&self, held: bool) {
        self.state.signal(|signals| signals.held = held);
    }

    /// Frozen, it accepts the operator's requests and answers nothing, not even on watches; thawed, it goes on with
    /// those that still wait.
    pub fn freeze(&self, frozen: bool) {
        self.state.signal(|signals| signals.frozen = frozen);
    }
}
