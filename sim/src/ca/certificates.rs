//! Issued certificates and their renewal windows (RFC 9773).

use std::collections::HashMap;
use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64URL, Engine};
use jiff::{SignedDuration, Timestamp};

use super::accounts::AccountId;
use super::ids::{OrderId, Serial};
use super::names::{Names, SetId};
use super::orders::span;
use super::problem::Problem;
use super::profiles::suggested;

/// Time after which a certificate for the same exact set counts as new instead of a renewal.
const RENEWAL: SignedDuration = SignedDuration::from_hours(120 * 24);
/// Renewal window of a revoked certificate: start before now, and length. The window has ended
/// already.
const REVOKED: (SignedDuration, SignedDuration) =
    (SignedDuration::from_mins(60), SignedDuration::from_mins(30));

/// Renewal window of a certificate (RFC 9773 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Earliest time to renew.
    pub start: Timestamp,
    /// Time to renew before.
    pub end: Timestamp,
    /// Page that explains the window to people.
    pub explanation_url: Option<String>,
}

/// An issued certificate, for tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Names, sorted.
    pub names: Vec<String>,
    /// Number of the account that placed the order, from 1.
    pub account: u64,
    /// Profile of the order.
    pub profile: &'static str,
    /// `notBefore` of the certificate.
    pub not_before: Timestamp,
    /// `notAfter` of the certificate.
    pub not_after: Timestamp,
    /// Time of issuance, later than `not_before`.
    pub at: Timestamp,
    /// Serial number of the certificate that the order replaces.
    pub replaces: Option<String>,
    /// Time of revocation; an announced one is in the future.
    pub revoked_at: Option<Timestamp>,
}

/// State of a certificate at the CA.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) account: AccountId,
    pub(super) names: Names,
    pub(super) profile: &'static str,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) at: Timestamp,
    pub(super) replaces: Option<Serial>,
    /// Time of revocation; an announced one is in the future.
    pub(super) revoked_at: Option<Timestamp>,
    /// DER, for as long as the order is remembered.
    pub(super) leaf: Option<Vec<u8>>,
    /// Order that replaces this certificate.
    pub(super) replaced_by: Option<OrderId>,
    /// Renewal window that overrides the one computed from the lifetime.
    pub(super) window: Option<Window>,
}

impl Record {
    fn is_revoked(&self, now: Timestamp) -> bool {
        self.revoked_at.is_some_and(|at| at <= now)
    }
}

/// All certificates.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    records: HashMap<Serial, Record>,
    /// Serial numbers in order of issuance.
    serials: Vec<Serial>,
    /// Time of the last issuance of each exact set.
    sets: HashMap<SetId, Timestamp>,
    /// Renewal window of all certificates without one of their own.
    pub(super) window: Option<Window>,
}

impl Certificates {
    pub(super) fn add(&mut self, serial: Serial, set: SetId, record: Record) {
        self.sets.insert(set, record.at);
        self.serials.push(serial);
        self.records.insert(serial, record);
    }

    /// Number of certificates.
    pub(super) fn count(&self) -> u64 {
        self.serials.len() as u64
    }

    pub(super) fn get(&self, serial: Serial) -> Result<&Record, Problem> {
        let unknown = || Problem::not_found("Requested certificate was not found");
        self.records.get(&serial).ok_or_else(unknown)
    }

    pub(super) fn get_mut(&mut self, serial: Serial) -> Option<&mut Record> {
        self.records.get_mut(&serial)
    }

    /// Whether a new certificate for `set` counts as a renewal.
    pub(super) fn is_renewal(&self, set: SetId, now: Timestamp) -> bool {
        self.sets.get(&set).is_some_and(|at| now.duration_since(*at) < RENEWAL)
    }

    /// Revokes a certificate; a second revocation fails (RFC 8555 §7.6).
    pub(super) fn revoke(&mut self, serial: Serial, now: Timestamp) -> Result<(), Problem> {
        let unknown = || Problem::not_found("No such certificate");
        let record = self.records.get_mut(&serial).ok_or_else(unknown)?;
        if record.is_revoked(now) {
            let detail = "Unable to revoke :: Certificate already revoked";
            return Err(Problem::new(400, "alreadyRevoked", detail));
        }
        record.revoked_at = Some(now);
        Ok(())
    }

    /// Announces the revocation of all certificates that are valid now. Returns their number.
    pub(super) fn revoke_all(&mut self, after: Duration, page: &str, now: Timestamp) -> usize {
        let (start, at) = (now - REVOKED.0, now + span(after));
        let window =
            Window { start, end: start + REVOKED.1, explanation_url: Some(page.to_owned()) };
        let valid = |record: &&mut Record| record.revoked_at.is_none() && now < record.not_after;
        let all = self.records.values_mut().filter(valid);
        all.map(|record| (record.revoked_at, record.window) = (Some(at), Some(window.clone())))
            .count()
    }

    pub(super) fn renewal_window(&self, serial: Serial, now: Timestamp) -> Result<Window, Problem> {
        let record = self.get(serial)?;
        if let Some(window) = record.window.as_ref().or(self.window.as_ref()) {
            return Ok(window.clone());
        }
        if record.is_revoked(now) {
            let start = now - REVOKED.0;
            return Ok(Window { start, end: start + REVOKED.1, explanation_url: None });
        }
        let life =
            record.not_after.duration_since(record.not_before) + SignedDuration::from_secs(1);
        let (start, end) = suggested(Duration::try_from(life).unwrap_or_default());
        let at = |offset: Duration| {
            record.not_before + SignedDuration::try_from(offset).unwrap_or_default()
        };
        Ok(Window { start: at(start), end: at(end), explanation_url: None })
    }

    pub(super) fn issued(&self) -> Vec<Issued> {
        let issued = |serial: &Serial| {
            let record = self.records.get(serial)?;
            Some(Issued {
                serial: serial.to_string(),
                names: record.names.iter().map(ToString::to_string).collect(),
                account: record.account,
                profile: record.profile,
                not_before: record.not_before,
                not_after: record.not_after,
                at: record.at,
                replaces: record.replaces.map(|serial| serial.to_string()),
                revoked_at: record.revoked_at,
            })
        };
        self.serials.iter().filter_map(issued).collect()
    }
}

/// Parses a certificate id: key identifier of the issuer and serial number (RFC 9773 §4.1).
pub(super) fn parse_id(id: &str, issuer: &[u8]) -> Result<Serial, Problem> {
    let bad = |what: &str| {
        Problem::malformed(format!("While parsing ARI CertID an error occurred :: {what}"))
    };
    let (key, serial) = id.split_once('.').ok_or_else(|| bad("Invalid path"))?;
    let decoded = |text: &str, what: &str| {
        let wrong = |_| bad(&format!("{what} was not base64url-encoded or contained padding"));
        BASE64URL.decode(text).map_err(wrong)
    };
    if decoded(key, "Authority Key Identifier")? != issuer {
        let detail = "path contained an Authority Key Identifier that did not match a known issuer";
        return Err(Problem::not_found(detail));
    }
    let unknown = || Problem::not_found("Requested certificate was not found");
    Serial::of_octets(&decoded(serial, "serial number")?).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(not_after: Timestamp) -> (Certificates, Serial) {
        let (mut certificates, serial) = (Certificates::default(), Serial::new(u128::MAX));
        let names: Names = [Box::from("a.example.com")].into();
        let start = Timestamp::UNIX_EPOCH;
        let record = Record {
            account: 1,
            names: names.clone(),
            profile: "classic",
            not_before: start,
            not_after,
            at: start,
            replaces: None,
            revoked_at: None,
            leaf: None,
            replaced_by: None,
            window: None,
        };
        certificates.add(serial, SetId::of(&names), record);
        (certificates, serial)
    }

    #[test]
    fn a_serial_number_is_positive_and_survives_both_of_its_forms() {
        let serial = Serial::new(u128::MAX);
        assert_eq!(serial.octets()[0], 0x2c);
        assert_eq!(Serial::parse(&serial.to_string()), Some(serial));
        assert_eq!(Serial::of_octets(&serial.octets()), Some(serial));
        assert_eq!(Serial::of_octets(&[1, 2]), None);
    }

    #[test]
    fn the_window_follows_from_the_life_unless_one_was_set() {
        let days = |days: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * days);
        let (mut certificates, serial) = one(days(90) - SignedDuration::from_secs(1));
        let window = certificates.renewal_window(serial, days(1)).unwrap();
        assert!(window.start < days(60) && days(60) < window.end);
        let set = Window { start: days(1), end: days(2), explanation_url: Some("x".into()) };
        certificates.window = Some(set.clone());
        assert_eq!(certificates.renewal_window(serial, days(1)), Ok(set.clone()));
        let own = Window { end: days(3), ..set };
        certificates.get_mut(serial).unwrap().window = Some(own.clone());
        assert_eq!(certificates.renewal_window(serial, days(1)), Ok(own));
    }

    #[test]
    fn a_revoked_certificate_is_overdue_and_cannot_be_revoked_again() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24);
        let (mut certificates, serial) = one(now + SignedDuration::from_hours(24));
        certificates.revoke(serial, now).unwrap();
        assert_eq!(certificates.revoke(serial, now).unwrap_err().kind, "alreadyRevoked");
        assert!(certificates.renewal_window(serial, now).unwrap().end < now);
    }

    #[test]
    fn an_announced_revocation_moves_the_windows_into_the_past_and_comes_when_it_was_said() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24);
        let (mut certificates, serial) = one(now + SignedDuration::from_hours(240));
        let day = Duration::from_hours(24);
        assert_eq!(certificates.revoke_all(day, "https://ca.example/incident", now), 1);
        assert_eq!(certificates.revoke_all(day, "https://ca.example/again", now), 0);
        let window = certificates.renewal_window(serial, now).unwrap();
        assert!(window.end < now, "{window:?}");
        assert_eq!(window.explanation_url.as_deref(), Some("https://ca.example/incident"));
        let at = certificates.issued()[0].revoked_at.unwrap();
        assert_eq!(at, now + SignedDuration::from_hours(24));
        assert_eq!(certificates.revoke(serial, at).unwrap_err().kind, "alreadyRevoked");
        assert_eq!(certificates.revoke(serial, now), Ok(()), "by hand, before that");
    }

    #[test]
    fn ids_of_other_issuers_and_nonsense_are_refused() {
        let serial = Serial::new(7);
        let id = format!("{}.{}", BASE64URL.encode("key"), BASE64URL.encode(serial.octets()));
        assert_eq!(parse_id(&id, b"key"), Ok(serial));
        assert_eq!(parse_id(&id, b"other").unwrap_err().status, 404);
        assert_eq!(parse_id("hello", b"key").unwrap_err().status, 400);
        assert_eq!(parse_id("a2V5.!", b"key").unwrap_err().status, 400);
    }
}
