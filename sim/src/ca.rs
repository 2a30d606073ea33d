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
//! - `issuing`: keys and signatures. `validation`: HTTP-01.
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

use core::{Core, Settings};
use ids::Serial;
use issuing::Signing;
use nonces::Nonces;
use serving::{Manners, Shell, locked};
use validation::Validator;

/// Configuration of a CA.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Options {
    /// Port on 127.0.0.1; 0 means any free port.
    pub port: u16,
    /// Port contacted in place of port 80 of every host.
    pub validation_port: u16,
    /// Rate limits.
    pub limits: Limits,
    /// External account that new accounts must be bound to (RFC 8555 §7.3.4): id and MAC key.
    pub eab: Option<(String, Vec<u8>)>,
    /// Lifetime of certificates, overriding their profile.
    pub life: Option<Duration>,
    /// Time between the client's response to a challenge and the validation request.
    pub validation_delay: Duration,
    /// Whether the CA validates within the client's request, and answers with the result; otherwise
    /// in the background.
    pub validate_within_request: bool,
    /// Time limit for each validation request to a host.
    pub validation_patience: Duration,
    /// Time between the CSR and the certificate, on the simulated clock.
    pub processing_delay: Duration,
    /// `Retry-After` of pending or processing resources, in seconds.
    pub retry_after: Option<u64>,
    /// Whether `Retry-After` of rate limits is a date instead of seconds.
    pub retry_after_as_date: bool,
    /// `Retry-After` of renewal information.
    pub poll_renewal_info: Duration,
    /// Whether later orders reuse a valid authorization, as at Let's Encrypt.
    pub reuse_authorizations: bool,
    /// Whether a new order identical to an open order of the account returns that order, as at
    /// Let's Encrypt.
    pub reuse_orders: bool,
    /// Number of orders above which finished orders are forgotten; their certificates can no longer
    /// be downloaded then.
    pub orders_kept: usize,
    /// Seed of tokens, serial numbers, nonces and faults.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            validation_port: 80,
            limits: Limits::unlimited(),
            eab: None,
            life: None,
            validation_delay: Duration::ZERO,
            validate_within_request: false,
            validation_patience: Duration::from_secs(10),
            processing_delay: Duration::ZERO,
            retry_after: None,
            retry_after_as_date: false,
            poll_renewal_info: Duration::from_hours(6),
            reuse_authorizations: true,
            reuse_orders: true,
            orders_kept: 50_000,
            seed: 0,
        }
    }
}

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
        let port = options.port;
        let Options { validation_port, validation_patience, .. } = options;
        let validator = Validator::new(zone, validation_port, validation_patience)?;
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
        let validator = Validator::in_process(zone, hosts, options.validation_patience);
        let signing = Signing::new(Some(options.seed.to_be_bytes().to_vec()))?;
        Ok(Self { shell: Self::shell(options, clock, validator, signing), serving: None })
    }

    fn shell(options: Options, clock: Clock, validator: Validator, signing: Signing) -> Arc<Shell> {
        let seed = options.seed;
        let manners = Manners {
            slow: Duration::ZERO,
            broken_alternates: false,
            retry_after: options.retry_after,
            retry_after_as_date: options.retry_after_as_date,
            poll_renewal_info: options.poll_renewal_info,
            validation_delay: options.validation_delay,
            within_request: options.validate_within_request,
        };
        let settings = Settings {
            limits: options.limits,
            external_account: options.eab,
            life: options.life,
            processing: options.processing_delay,
            reuse_authorizations: options.reuse_authorizations,
            reuse_orders: options.reuse_orders,
            orders_kept: options.orders_kept,
            seed,
        };
        Arc::new(Shell {
            core: Mutex::new(Core::new(settings, signing)),
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
