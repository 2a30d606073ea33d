//! Simulated Kubernetes API server: the features the operator uses, over plain HTTP on loopback.
//!
//! The server supports Namespaces, Secrets, Services, Ingresses, Events (events.k8s.io) and Leases,
//! with paged lists, watches, conflicts of versions and of field managers, server-side apply and
//! garbage collection by owner. A hundred thousand Ingresses with their Secrets fit in memory.
//!
//! # Limitations
//! - There is **no RBAC**: both users may do everything. Permissions are tested on a real server.
//! - Objects are not checked against a schema: unknown fields are kept, and only errors that the
//!   operator can cause are detected. A strategic merge patch is handled as a merge patch; JSON
//!   patches are refused.
//! - Later pages of a list show the current objects, not those at the time of the first page.
//! - Events in the core group, which kubectl reads, can only be got and listed. Watches send
//!   objects, never tables: `kubectl get --watch` prints name and age of later changes.
//!
//! # Layout
//! - `store`: all objects and every decision about them, without I/O. `object`, `history`,
//!   `selector`, `fields`, `ownership`, `defaults`, `validation`: parts of the store.
//! - `http`: the thin HTTP layer: requests, watches, faults. `audit`: counts of requests.

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
use crate::exchange::InProcess;
use crate::faults::Faults;
use crate::serving::Serving;
use http::State;
use resource::Resource;

/// Namespace of objects that name none.
const DEFAULT_NAMESPACE: &str = "default";
/// Namespaces that exist from the start.
const NAMESPACES: [&str; 2] = [DEFAULT_NAMESPACE, "ingress-acme"];
/// Field manager of loaded objects.
const LOADER: &str = "kubectl";

/// User of a request, identified by a bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum User {
    /// Tests and harnesses; exempt from faults.
    Admin,
    /// The operator.
    Operator,
}

impl User {
    /// Returns the bearer token.
    pub fn token(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
        }
    }

    /// Returns the user name as in audit logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "system:serviceaccount:ingress-acme:ingress-acme",
        }
    }
}

/// A running API server. Dropping the value stops the server.
#[derive(Debug)]
pub struct ApiServer {
    state: Arc<State>,
    /// The socket; `None` for a server within the process.
    serving: Option<Serving>,
}

impl ApiServer {
    /// Starts a server on a free port of loopback, with the namespaces `default` and
    /// `ingress-acme`. `seed` determines uids and faults.
    pub fn start(clock: Clock, seed: u64) -> Result<Self, SimError> {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into(), clock, seed)
    }

    /// Starts a server on this address.
    ///
    /// # Panics
    /// Never: a new server accepts its first namespaces.
    pub fn start_on(address: SocketAddr, clock: Clock, seed: u64) -> Result<Self, SimError> {
        let state = Arc::new(State::new(clock, seed));
        let collected = Arc::clone(&state);
        let collect = || http::collect(collected);
        let serving =
            Serving::start("API server", address, None, http::configure(&state), collect)?;
        Ok(Self::with(state, Some(serving)))
    }

    /// Starts a server without a socket. Its garbage is collected by a task of this runtime.
    pub(crate) fn in_process(clock: Clock, seed: u64) -> Self {
        let state = Arc::new(State::new(clock, seed));
        tokio::spawn(http::collect(Arc::clone(&state)));
        Self::with(state, None)
    }

    fn with(state: Arc<State>, serving: Option<Serving>) -> Self {
        let server = Self { state, serving };
        for name in NAMESPACES {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            server.load(namespace).expect("a new server has no such namespace yet");
        }
        server
    }

    /// Transport of requests from this process.
    pub fn transport(&self) -> InProcess {
        let state = Arc::clone(&self.state);
        Arc::new(move |request| {
            let state = Arc::clone(&state);
            Box::pin(async move { http::respond(&state, &request, false).await })
        })
    }

    /// URL of the server.
    ///
    /// # Panics
    /// If the server has no socket.
    pub fn url(&self) -> String {
        let serving = self.serving.as_ref().expect("a server of a `World` has a socket");
        format!("http://{}", serving.address())
    }

    /// Returns a configuration for a client in this process.
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

    /// Returns a kubeconfig for another process, in JSON, which is also YAML. The server's URL
    /// names the token too, for kubectl.
    pub fn kubeconfig(&self, user: User) -> String {
        let name = user.token();
        let server = format!("{}{}{name}", self.url(), http::TOKEN_PATH);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": server}}],
            "users": [{"name": name, "user": {"token": user.token()}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        });
        config.to_string()
    }

    /// Random faults of the operator's requests.
    pub fn faults(&self) -> &Faults {
        self.state.faults()
    }

    /// Returns the counts of all requests so far.
    pub fn audit(&self) -> Vec<Audited> {
        self.state.audit().all()
    }

    /// Creates an object directly, without being counted and without faults.
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

    /// Deletes an object, like a cluster administrator; one that is gone is deleted.
    pub fn unload(&self, object: &Value) {
        let Some(resource) = Resource::of(object) else { return };
        let field = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
        let key = object::Key::new(field("namespace"), field("name"));
        // Fails only if it is gone.
        _ = self.state.write(LOADER, false, |store, by, _| {
            store.delete(resource, &key, &Value::Null, by).map(drop)
        });
    }

    /// Forgets all changes so far; watches and lists continued from an earlier revision get 410.
    pub fn forget_history(&self) {
        self.state.write(LOADER, false, |store, _, _| store.forget_history());
    }

    /// Ends all open watches.
    pub fn cut_watches(&self) {
        self.state.signal(|signals| signals.cuts += 1);
    }

    /// Holds or releases watches. Held watches deliver no events; released watches deliver all
    /// events since.
    pub fn hold_watches(&self, held: bool) {
        self.state.signal(|signals| signals.held = held);
    }

    /// Takes a right from the operator, or gives it back: requests with this verb and resource, as
    /// in audit logs, are answered with 403. A watch that is open goes on.
    pub fn forbid(&self, verb: &str, resource: &str, forbidden: bool) {
        self.state.forbid(verb, resource, forbidden);
    }

    /// Freezes or thaws the server for the operator. While frozen, requests are accepted but not
    /// answered, and watches deliver no events; after the thaw, waiting requests are answered.
    pub fn freeze(&self, frozen: bool) {
        self.state.signal(|signals| signals.frozen = frozen);
    }
}
