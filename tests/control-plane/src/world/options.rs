//! In what a world may differ from the default.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ingress_acme_sim::ca;

/// Let's Encrypt's usual lifetime.
const NINETY_DAYS: Duration = Duration::from_hours(90 * 24);

/// How to set up a [`World`](super::World).
#[derive(Clone, Debug)]
pub struct Options {
    /// The operator's manifest; by default `deploy/install.yaml` of the
    /// workspace. Its RBAC is all that the operator may do.
    pub manifest: PathBuf,
    /// Percentage of good nonces that the CA refuses; `None` leaves it at
    /// Pebble's own default, which is above zero.
    pub nonce_reject_percent: Option<u8>,
    /// `Retry-After` of pending orders and authorizations.
    pub retry_after_seconds: u32,
    /// Certificate profiles by name, with their certificates' lifetime. Pebble
    /// picks one at random for an order that names none.
    pub profiles: Vec<(String, Duration)>,
    /// External accounts that new accounts must be bound to (RFC 8555 §7.3.4), by key identifier with the MAC key in
    /// base64url; without any, Pebble asks for none.
    pub external_accounts: Vec<(String, String)>,
    /// Further environment of Pebble, such as `PEBBLE_AUTHZREUSE`.
    pub ca_env: Vec<(String, String)>,
    /// How long the gateway takes until a new route works.
    pub route_delay: Duration,
    /// Operators order of a simulated CA, which takes loads that Pebble does not; its validation port is set by the
    /// world.
    pub simulated_ca: Option<ca::Options>,
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
            simulated_ca: None,
        }
    }
}
