//! Options of a world.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ingress_acme_sim::ca;

/// Usual lifetime of Let's Encrypt's certificates.
const NINETY_DAYS: Duration = Duration::from_hours(90 * 24);

/// Settings of a [`World`](super::World).
#[derive(Clone, Debug)]
pub struct Options {
    /// The operator's manifest; by default `deploy/install.yaml` of the workspace. Its RBAC rules
    /// are the operator's only rights.
    pub manifest: PathBuf,
    /// Percentage of good nonces that the CA refuses; `None` keeps Pebble's own default, which is
    /// above zero.
    pub nonce_reject_percent: Option<u8>,
    /// `Retry-After` of pending orders and authorizations, in seconds.
    pub retry_after_seconds: u32,
    /// Certificate profiles by name, with the lifetime of their certificates. Pebble picks one at
    /// random for an order without a profile.
    pub profiles: Vec<(String, Duration)>,
    /// External accounts for the mandatory binding of new accounts (RFC 8555 §7.3.4): key
    /// identifiers with MAC keys in base64url. With an empty list, Pebble requires no binding.
    pub external_accounts: Vec<(String, String)>,
    /// Further environment of Pebble, such as `PEBBLE_AUTHZREUSE`.
    pub ca_env: Vec<(String, String)>,
    /// Time that the gateway takes to activate a new route.
    pub route_delay: Duration,
    /// Further flags of the API server, such as `--enable-admission-plugins=…`.
    pub apiserver_args: Vec<String>,
    /// Simulated CA for the operators, for loads that Pebble does not withstand. The world sets its
    /// validation port.
    pub simulated_ca: Option<ca::Options>,
    /// Address of a real ingress controller that the test starts itself
    /// ([`World::start_traefik`](crate::World::start_traefik)): all names resolve to this address,
    /// the CA validates through its port 80, and the world has no gateway. Only in a network
    /// namespace ([`in_own_network`](crate::in_own_network)).
    pub controller: Option<Ipv4Addr>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            manifest: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/install.yaml"),
            nonce_reject_percent: None,
            retry_after_seconds: 1,
            profiles: vec![("default".into(), NINETY_DAYS)],
            external_accounts: Vec::new(),
            ca_env: Vec::new(),
            route_delay: Duration::ZERO,
            apiserver_args: Vec::new(),
            simulated_ca: None,
            controller: None,
        }
    }
}
