//! The ACME CA (RFC 8555, RFC 9773): plays Let's Encrypt, with its limits and its words.
//!
//! It validates over HTTP and signs real certificates, of a root of its own. Where Let's Encrypt's server and
//! Pebble differ, it is like the former. It keeps everything in memory and forgets it when it is dropped.
//!
//! # Layout
//! - [`Ca`]: a running CA, and what a test may do to it.
//! - `core`: what it decides; `accounts`, `orders`, `certificates`, `limits`, `names`, `profiles`: about what.
//! - `issuing`: keys and signatures. `validation`: HTTP-01.
//! - `serving`: HTTP; `jws`, `nonces`, `target`: who asks for what. `documents`, `problem`: what is answered.

mod accounts;
mod certificates;
mod core;
mod counts;
mod documents;
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
use crate::faults::Faults;
use crate::pki::RootCa;
use crate::serving::Serving;

pub use certificates::{Issued, Window};
pub use counts::Counts;
pub use limits::{Limits, Load, Rate, Ration, Refused};

use certificates::Serial;
use core::{Core, Settings};
use issuing::Signing;
use nonces::Nonces;
use serving::{Manners, Shell, locked};
use validation::Validator;

/// How to set up a CA.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens on 127.0.0.1; 0 is any free port.
    pub port: u16,
    /// Stands for port 80 of every host.
    pub validation_port: u16,
    /// Its rate limits.
    pub limits: Limits,
    /// The external account that new accounts must be bound to (RFC 8555 §7.3.4): its id and MAC key.
    pub eab: Option<(String, Vec<u8>)>,
    /// How long certificates are valid, whatever their profile says.
    pub life: Option<Duration>,
    /// From the client's word that it is ready until the host is asked.
    pub validation_delay: Duration,
    /// How long a host may take to answer.
    pub validation_patience: Duration,
    /// From the CSR until the certificate is there; the world's time.
    pub processing_delay: Duration,
    /// `Retry-After` of what is pending or processing, in seconds.
    pub retry_after: Option<u64>,
    /// Whether `Retry-After` of limits is a date instead of seconds.
    pub retry_after_as_date: bool,
    /// `Retry-After` of renewal information.
    pub poll_renewal_info: Duration,
    /// Whether a validation that passed counts for later orders too, as at Let's Encrypt.
    pub reuse_authorizations: bool,
    /// Whether a new order that is the same as an open one of the account is that one, as at Let's Encrypt.
    pub reuse_orders: bool,
    /// So many orders are remembered after they are over; certificates can be downloaded as long.
    pub orders_kept: usize,
    /// Decides on tokens, serial numbers, nonces and faults.
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

/// A running CA; dropped, it no longer answers.
pub struct Ca {
    shell: Arc<Shell>,
    serving: Serving,
}

impl Ca {
    /// Listens on 127.0.0.1 with a certificate of `root_ca`, and resolves hosts by `zone`.
    pub fn start(
        options: Options,
        clock: Clock,
        zone: Zone,
        root_ca: &RootCa,
    ) -> Result<Self, SimError> {
        let (port, seed) = (options.port, options.seed);
        let Options { validation_port, validation_patience, .. } = options;
        let manners = Manners {
            slow: Duration::ZERO,
            broken_alternates: false,
            retry_after: options.retry_after,
            retry_after_as_date: options.retry_after_as_date,
            poll_renewal_info: options.poll_renewal_info,
            validation_delay: options.validation_delay,
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
        let shell = Arc::new(Shell {
            core: Mutex::new(Core::new(settings, Signing::new()?)),
            nonces: Mutex::new(Nonces::new(seed)),
            manners: Mutex::new(manners),
            requests: Mutex::default(),
            frozen: watch::Sender::new(false),
            faults: Faults::seeded(seed),
            clock,
            validator: Validator::new(zone, validation_port, validation_patience)?,
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let tls = Some(root_ca.server("simulated ACME CA")?);
        let configure = serving::configure(&shell);
        let serving = Serving::start("ACME CA", address, tls, configure, || async {})?;
        Ok(Self { shell, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.serving.address()
    }

    /// Its directory (RFC 8555 §7.1.1).
    pub fn directory_url(&self) -> String {
        format!("https://{}/directory", self.address())
    }

    /// The root of the certificates it issues, PEM.
    pub fn root_pem(&self) -> String {
        locked(&self.shell.core).signing.root_pem.clone()
    }

    /// The root of the alternate chains, PEM.
    pub fn other_root_pem(&self) -> String {
        locked(&self.shell.core).signing.other_root_pem.clone()
    }

    /// What it has done.
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

    /// All certificates it has issued, the oldest first.
    pub fn issued(&self) -> Vec<Issued> {
        locked(&self.shell.core).certificates.issued()
    }

    /// From now on with these limits; what was spent stays spent.
    pub fn set_limits(&self, limits: Limits) {
        locked(&self.shell.core).meter.limits = limits;
    }

    /// The user of an account (by number, from 1) has unpaused its names at the page the refusal names.
    pub fn unpause(&self, account: u64) {
        locked(&self.shell.core).meter.unpause(account);
    }

    /// The renewal window of all certificates that have none of their own; `None` is the one by their life.
    pub fn set_window(&self, window: Option<Window>) {
        locked(&self.shell.core).certificates.window = window;
    }

    /// The renewal window of one certificate, by its serial number; whether there is that certificate.
    pub fn set_window_of(&self, serial: &str, window: Option<Window>) -> bool {
        let mut core = locked(&self.shell.core);
        let record = Serial::parse(serial).and_then(|serial| core.certificates.get_mut(serial));
        record.map(|record| record.window = window).is_some()
    }

    /// Revokes a certificate, as the CA itself may; false when it is unknown or was revoked before.
    pub fn revoke(&self, serial: &str) -> bool {
        let now = self.shell.clock.now();
        let mut core = locked(&self.shell.core);
        Serial::parse(serial).is_some_and(|serial| core.certificates.revoke(serial, now).is_ok())
    }

    /// From now on orders with this name, or one under it, are refused (rejectedIdentifier), or no more.
    pub fn forbid(&self, name: &str, forbidden: bool) {
        set(&mut locked(&self.shell.core).policy.forbidden, name, forbidden);
    }

    /// From now on a CAA record (RFC 8659) of this name keeps the CA from issuing for it, or no more.
    pub fn set_caa(&self, name: &str, forbids: bool) {
        set(&mut locked(&self.shell.core).policy.caa, name, forbids);
    }

    /// From now on it accepts connections and answers nothing, or it answers again, also what was asked meanwhile.
    pub fn freeze(&self, frozen: bool) {
        self.shell.frozen.send_replace(frozen);
    }

    /// From now on each answer is late by this.
    pub fn slow(&self, by: Duration) {
        locked(&self.shell.manners).slow = by;
    }

    /// From now on the alternate chain of each certificate (RFC 8555 §7.4.2) is named and cannot be had, or it can again.
    pub fn break_alternates(&self, broken: bool) {
        locked(&self.shell.manners).broken_alternates = broken;
    }

    /// From now on this long passes between the client's word and the validation.
    pub fn set_validation_delay(&self, delay: Duration) {
        locked(&self.shell.manners).validation_delay = delay;
    }

    /// From now on this share of good nonces, from 0 to 1, is refused.
    pub fn set_bad_nonces(&self, share: f64) {
        locked(&self.shell.nonces).refused = share;
    }

    /// What goes wrong by chance.
    pub fn faults(&self) -> &Faults {
        &self.shell.faults
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        // Requests that wait for an answer would keep the server's thread.
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
