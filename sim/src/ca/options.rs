//! Options of the simulated CA: one switch for each behaviour, and the CA of the years to come.

use std::time::Duration;

use super::core::Settings;
use super::documents::AuthorizationForm;
use super::limits::Limits;
use super::orders::Reuse;
use super::serving::Manners;

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
    /// Lifetimes of certificates by profile, overriding `life`.
    pub lives: Vec<(&'static str, Duration)>,
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
    /// Time for which a valid authorization is reused, overriding that of each profile.
    pub authorization_reuse: Option<Duration>,
    /// Number of remote networks that validate beside the CA's own one (MPIC, CA/B Forum Baseline
    /// Requirements §3.2.2.9).
    pub remote_networks: usize,
    /// Whether an authorization is `processing` from the client's response to the result, a status
    /// that RFC 8555 §7.1.6 does not have.
    pub processing_authorizations: bool,
    /// Whether an authorization offers several challenge types that the CA does not validate, and
    /// `http-01` at a place chosen by the seed.
    pub unknown_challenges: bool,
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
            lives: Vec::new(),
            validation_delay: Duration::ZERO,
            validate_within_request: false,
            validation_patience: Duration::from_secs(10),
            processing_delay: Duration::ZERO,
            retry_after: None,
            retry_after_as_date: false,
            poll_renewal_info: Duration::from_hours(6),
            reuse_authorizations: true,
            authorization_reuse: None,
            remote_networks: 0,
            processing_authorizations: false,
            unknown_challenges: false,
            reuse_orders: true,
            orders_kept: 50_000,
            seed: 0,
        }
    }
}

const DAY: Duration = Duration::from_hours(24);

impl Options {
    /// The CA of the years to come: all announced changes at once, each with its source. Rate
    /// limits are as in the default.
    pub fn year_2029() -> Self {
        Self {
            // Let's Encrypt, "Decreasing Certificate Lifetimes to 45 Days": the default profile
            // from 2028-02-16, with authorizations of 7 hours.
            life: Some(45 * DAY),
            authorization_reuse: Some(Duration::from_hours(7)),
            // Let's Encrypt, "Profiles": about six days.
            lives: vec![("shortlived", 6 * DAY)],
            // Baseline Requirements §3.2.2.9: five remote networks from 2026-12-15.
            remote_networks: 5,
            // RFC 8555 §7.4: `finalize` may answer `processing`, with Retry-After.
            processing_delay: Duration::from_secs(1),
            retry_after: Some(1),
            // No CA has announced these; clients must expect them (RFC 8555 §7.5, §9.7.8).
            processing_authorizations: true,
            unknown_challenges: true,
            ..Self::default()
        }
    }

    pub(super) fn manners(&self) -> Manners {
        Manners {
            slow: Duration::ZERO,
            broken_alternates: false,
            retry_after: self.retry_after,
            retry_after_as_date: self.retry_after_as_date,
            poll_renewal_info: self.poll_renewal_info,
            validation_delay: self.validation_delay,
            within_request: self.validate_within_request,
            authorizations: AuthorizationForm {
                processing: self.processing_authorizations,
                unknown_challenges: self.unknown_challenges,
                seed: self.seed,
            },
        }
    }

    pub(super) fn settings(self) -> Settings {
        let reuse = match (self.reuse_authorizations, self.authorization_reuse) {
            (false, _) => Reuse::Never,
            (true, None) => Reuse::ByProfile,
            (true, Some(time)) => Reuse::For(time),
        };
        Settings {
            limits: self.limits,
            external_account: self.eab,
            life: self.life,
            lives: self.lives,
            processing: self.processing_delay,
            reuse,
            reuse_orders: self.reuse_orders,
            orders_kept: self.orders_kept,
            seed: self.seed,
        }
    }
}
