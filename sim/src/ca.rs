//! Simulated ACME CA (RFC 8555, RFC 9773) with the limits and problem texts of Let's Encrypt.
//!
//! Names are validated over HTTP, and real certificates are signed under a root of the CA's own.
//! Where Let's Encrypt's server and Pebble differ, the CA behaves like Let's Encrypt. All state is
//! in memory and is lost when the CA is dropped.
//!
//! # Layout
//! - [`Ca`]: a running CA and the controls for tests.
//! - `core`: decisions. `accounts`, `orders`, `certificates`, `limits`, `names`, `profiles`: the
//!   state behind the decisions.
//! - [`Options`]: the behaviours, each with a switch. [`Options::year_2029`]: all that are to come.
//! - `issuing`: keys and signatures. `validation`: HTTP-01 from several networks, and CAA records.
//! - `serving`: HTTP. `jws`, `nonces`, `target`: authentication and request paths. `documents`,
//!   `problem`: answers.

mod accounts;
mod certificates;
mod core;
mod counts;
mod documents;
mod ids;
mod issuing;
mod jws;
mod limits;
mod names;
mod nonces;
mod options;
mod orders;
mod problem;
mod profiles;
mod serving;
mod target;
mod validation;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::SimError;
use crate::clock::Clock;
use crate::dns::Zone;
use crate::exchange::InProcess;
use crate::faults::Faults;
use crate::pki::RootCa;
use crate::serving::Serving;

pub use certificates::{Issued, Window};
pub use counts::Counts;
pub use documents::CAA_IDENTITY;
pub use limits::{AccountLimits, Limits, Load, Rate, Refused};
pub use options::Options;

use core::Core;
use ids::Serial;
use issuing::Signing;
use nonces::Nonces;
use serving::{Shell, locked};
use validation::{Networks, Validator};

/// A running CA. Dropping the value stops the server.
pub struct Ca {
    shell: Arc<Shell>,
    /// The socket; `None` for a CA within the process.
    serving: Option<Serving>,
}

/// Host of a CA without a socket.
const IN_PROCESS: &str = "ca.example";

impl Ca {
    /// Starts a CA on 127.0.0.1 with a TLS certificate from `root_ca`; hosts are resolved with
    /// `zone`.
    pub fn start(
        options: Options,
        clock: Clock,
        zone: Zone,
        root_ca: &RootCa,
    ) -> Result<Self, SimError> {
        let Options { port, validation_port, validation_patience, .. } = options;
        let networks = Networks::new(options.remote_networks);
        let validator = Validator::new(zone, validation_port, validation_patience, networks)?;
        let shell = Self::shell(options, clock, validator, Signing::new(None)?);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let tls = Some(root_ca.server("simulated ACME CA")?);
        let configure = serving::configure(&shell);
        let serving = Serving::start("ACME CA", address, tls, configure, || async {})?;
        Ok(Self { shell, serving: Some(serving) })
    }

    /// Starts a CA without a socket, which validates at `hosts`, a gateway of the same process.
    pub(crate) fn in_process(
        options: Options,
        clock: Clock,
        zone: Zone,
        hosts: InProcess,
    ) -> Result<Self, SimError> {
        let networks = Networks::new(options.remote_networks);
        let validator = Validator::in_process(zone, hosts, options.validation_patience, networks);
        let signing = Signing::new(Some(options.seed.to_be_bytes().to_vec()))?;
        Ok(Self { shell: Self::shell(options, clock, validator, signing), serving: None })
    }

    fn shell(options: Options, clock: Clock, validator: Validator, signing: Signing) -> Arc<Shell> {
        let (seed, manners) = (options.seed, options.manners());
        Arc::new(Shell {
            core: Mutex::new(Core::new(options.settings(), signing)),
            nonces: Mutex::new(Nonces::new(seed)),
            manners: Mutex::new(manners),
            requests: Mutex::default(),
            frozen: watch::Sender::new(false),
            faults: Faults::seeded(seed),
            clock,
            validator,
            validating: Mutex::default(),
        })
    }

    /// Transport of requests from this process.
    pub fn transport(&self) -> InProcess {
        let shell = Arc::clone(&self.shell);
        Arc::new(move |request| {
            let shell = Arc::clone(&shell);
            Box::pin(async move { serving::respond(&shell, &request).await })
        })
    }

    /// Address of the server.
    ///
    /// # Panics
    /// If the CA has no socket.
    pub fn address(&self) -> SocketAddr {
        self.serving.as_ref().expect("a CA of a `World` has a socket").address()
    }

    /// URL of the directory (RFC 8555 §7.1.1).
    pub fn directory_url(&self) -> String {
        let address = self.serving.as_ref().map(|serving| serving.address().to_string());
        format!("https://{}/directory", address.as_deref().unwrap_or(IN_PROCESS))
    }

    /// Sets the lifetime of new certificates, overriding their profile; `None` follows the profile.
    pub fn set_life(&self, life: Option<Duration>) {
        locked(&self.shell.core).set_life(life);
    }

    /// Root of the issued certificates, PEM.
    pub fn root_pem(&self) -> String {
        locked(&self.shell.core).signing.root_pem.clone()
    }

    /// Root of the alternate chains, PEM.
    pub fn other_root_pem(&self) -> String {
        locked(&self.shell.core).signing.other_root_pem.clone()
    }

    /// Counts of requests, orders, validations and certificates so far.
    pub fn counts(&self) -> Counts {
        let requests = locked(&self.shell.requests).clone();
        let core = locked(&self.shell.core);
        let limited = requests.iter().filter(|((_, status), _)| matches!(status, 429 | 503));
        let (validations_passed, validations_failed) = core.validations;
        Counts {
            orders: core.orders.opened(),
            certificates: core.certificates.count(),
            validations_passed,
            validations_failed,
            rate_limited: limited.map(|(_, count)| count).sum(),
            requests,
        }
    }

    /// All issued certificates, oldest first.
    pub fn issued(&self) -> Vec<Issued> {
        locked(&self.shell.core).certificates.issued()
    }

    /// Replaces the rate limits; tokens already spent stay spent.
    pub fn set_limits(&self, limits: Limits) {
        locked(&self.shell.core).meter.limits = limits;
    }

    /// Unpauses the names of an account (numbered from 1), as its user would at the page the
    /// refusal links to.
    pub fn unpause(&self, account: u64) {
        locked(&self.shell.core).meter.unpause(account);
    }

    /// Sets the renewal window of all certificates without a window of their own; `None` restores
    /// the window computed from the lifetime.
    pub fn set_window(&self, window: Option<Window>) {
        locked(&self.shell.core).certificates.window = window;
    }

    /// Sets the renewal window of one certificate, by serial number. Returns whether the
    /// certificate exists.
    pub fn set_window_of(&self, serial: &str, window: Option<Window>) -> bool {
        let mut core = locked(&self.shell.core);
        let record = Serial::parse(serial).and_then(|serial| core.certificates.get_mut(serial));
        record.map(|record| record.window = window).is_some()
    }

    /// Revokes a certificate on the CA's own initiative. Returns false if unknown or already
    /// revoked.
    pub fn revoke(&self, serial: &str) -> bool {
        let now = self.shell.clock.now();
        let mut core = locked(&self.shell.core);
        Serial::parse(serial).is_some_and(|serial| core.certificates.revoke(serial, now).is_ok())
    }

    /// Announces that all certificates of now will be revoked `after` this time, as after an
    /// incident: until then, their renewal windows are in the past and name this page (RFC 9773
    /// §4.2). Returns their number.
    pub fn revoke_all(&self, after: Duration, explanation_url: &str) -> usize {
        let now = self.shell.clock.now();
        locked(&self.shell.core).certificates.revoke_all(after, explanation_url, now)
    }

    /// Lets a remote network (numbered from 1) get no answer from `host`, or with `None` from any
    /// host: a firewall or geo-blocking drops its packets, until [`Ca::unblock_network`].
    pub fn block_network(&self, network: usize, host: Option<&str>) {
        self.shell.validator.networks.set_blocked(network, host, true);
    }

    /// Undoes [`Ca::block_network`] with the same arguments.
    pub fn unblock_network(&self, network: usize, host: Option<&str>) {
        self.shell.validator.networks.set_blocked(network, host, false);
    }

    /// Sets whether orders with `name`, or a name below, are refused (rejectedIdentifier).
    pub fn forbid(&self, name: &str, forbidden: bool) {
        set(&mut locked(&self.shell.core).policy.forbidden, name, forbidden);
    }

    /// Sets whether a CAA record (RFC 8659) of `name` forbids issuance.
    pub fn set_caa(&self, name: &str, forbids: bool) {
        set(&mut locked(&self.shell.core).policy.caa, name, forbids);
    }

    /// Freezes or thaws the CA. A frozen CA accepts connections but answers no requests; pending
    /// requests are answered after the thaw.
    pub fn freeze(&self, frozen: bool) {
        self.shell.frozen.send_replace(frozen);
    }

    /// Delays every answer by `by`.
    pub fn slow(&self, by: Duration) {
        locked(&self.shell.manners).slow = by;
    }

    /// Sets whether the alternate chain of each certificate (RFC 8555 §7.4.2) is linked but fails
    /// to download.
    pub fn break_alternates(&self, broken: bool) {
        locked(&self.shell.manners).broken_alternates = broken;
    }

    /// Sets the time between the client's response to a challenge and the validation request.
    pub fn set_validation_delay(&self, delay: Duration) {
        locked(&self.shell.manners).validation_delay = delay;
    }

    /// Sets the share of valid nonces that are refused, from 0 to 1.
    pub fn set_bad_nonces(&self, share: f64) {
        locked(&self.shell.nonces).refused = share;
    }

    /// Random faults of the server.
    pub fn faults(&self) -> &Faults {
        &self.shell.faults
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        // Frozen requests would keep the server's thread from ending.
        self.freeze(false);
    }
}

fn set(names: &mut std::collections::BTreeSet<String>, name: &str, is_in: bool) {
    let name = name.to_ascii_lowercase();
    if is_in {
        names.insert(name);
    } else {
        names.remove(&name);
    }
}
