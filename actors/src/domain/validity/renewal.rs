//! When a certificate is renewed: as its CA suggests (RFC 9773), else by its age.
//!
//! [`RenewalWindows`] is the scheduler of what the CA suggests, by Secret and certificate id: a new certificate drops what was
//! known of the one before. It is not journaled, for it can be asked again, and a moment within a window is derived
//! from the id, so that it is the same in every process.

use std::collections::HashMap;
use std::time::Duration;

use crate::domain::certificate::{CertId, CertificateView, SecretView};
use crate::domain::hash::stable_hash;
use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::domain::time::Timestamp;

/// What a CA suggests for one certificate (RFC 9773 §4.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RenewalWindow {
    /// Start of the window.
    pub start: Timestamp,
    /// End of the window.
    pub end: Timestamp,
    /// A page that explains it.
    pub explanation: Option<String>,
}

impl RenewalWindow {
    /// The moment within the window, uniform over certificates (RFC 9773 §4.2: "a random time").
    pub fn instant(&self, id: &CertId) -> Timestamp {
        let millionths = u32::try_from(stable_hash(id) % 1_000_000).unwrap_or(0);
        // A division first: a window of centuries times a million would not fit.
        self.start + self.end.since(self.start) / 1_000_000 * millionths
    }
}

/// When a certificate is to be renewed by its age alone: with a third of its life left (half for short-lived ones),
/// and earlier by up to a tenth of that, spread by serial number so that those issued together are not renewed together.
pub fn by_age(certificate: &CertificateView) -> Timestamp {
    let margin = margin(certificate);
    let thousandths = u32::try_from(stable_hash(&certificate.serial) % 1000).unwrap_or(0);
    certificate.not_after - margin - margin / 10 * thousandths / 1000
}

/// What is left of a certificate's life when it is to be renewed by its age.
fn margin(certificate: &CertificateView) -> Duration {
    let life = certificate.not_after.since(certificate.not_before);
    if life < limits::SHORT_LIVED { life / 2 } else { life / 3 }
}

/// What is known of the CA's desired certificates for one certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AriStatus<'a> {
    /// There is none, or it cannot be had.
    #[default]
    None,
    /// It was not asked yet.
    Unasked,
    /// This.
    Window(&'a RenewalWindow),
}

impl AriStatus<'_> {
    /// Whether an order that replaces the certificate is within its window or past it: Let's Encrypt then counts it in
    /// no limit.
    pub fn is_within_window(self, now: Timestamp) -> bool {
        matches!(self, Self::Window(window) if window.start <= now)
    }
}

/// When a certificate is to be renewed. A CA's renewal window goes before its age, but never so late that half of the time
/// for trying again would be gone. After a start there is a moment in which the CA was not asked yet: who is not late then
/// waits for its answer.
pub fn renewal(certificate: &CertificateView, ari: AriStatus<'_>) -> Timestamp {
    let left = |before_end: Duration| certificate.not_after - before_end;
    match (ari, &certificate.id) {
        (AriStatus::Window(window), Some(id)) => {
            window.instant(id).min(left(margin(certificate) / 2))
        }
        (AriStatus::Unasked, _) => left(margin(certificate) / 4 * 3),
        _ => by_age(certificate),
    }
}

/// What the CA suggests for the certificates that were seen, and when it is asked again.
#[derive(Debug, Default)]
pub struct RenewalWindows {
    by_secret: HashMap<SecretKey, PolledCertificate>,
    /// The CA suggests nothing at all.
    unsupported: bool,
}

#[derive(Debug)]
struct PolledCertificate {
    id: CertId,
    not_after: Timestamp,
    window: Option<Box<RenewalWindow>>,
    ask_at: Timestamp,
    failures: u32,
}

impl PolledCertificate {
    /// After a start all wait since about the same time.
    fn turn(&self) -> (i64, Timestamp) {
        (self.ask_at.as_secs() / 60, self.not_after)
    }
}

impl RenewalWindows {
    /// A Secret was seen. Only certificates of ours that `directory` has issued are asked about.
    pub fn seen(
        &mut self,
        secret: &SecretKey,
        found: Option<&SecretView>,
        directory: &str,
        now: Timestamp,
    ) {
        let leaf = found.and_then(|found| found.issued_by(directory));
        let leaf = leaf.and_then(|leaf| Some((leaf.id.clone()?, leaf.not_after)));
        let Some((id, not_after)) = leaf else { return self.forget(secret) };
        if self.by_secret.get(secret).is_none_or(|known| known.id != id) {
            let known = PolledCertificate { id, not_after, window: None, ask_at: now, failures: 0 };
            self.by_secret.insert(secret.clone(), known);
        }
    }

    /// No Ingress wants the Secret any more, or it holds nothing to ask about.
    pub fn forget(&mut self, secret: &SecretKey) {
        self.by_secret.remove(secret);
    }

    /// What is known for this certificate.
    pub fn of(&self, secret: &SecretKey, id: Option<&CertId>) -> AriStatus<'_> {
        let known = self.by_secret.get(secret).filter(|known| Some(&known.id) == id);
        match known {
            Some(PolledCertificate { window: Some(window), .. }) => AriStatus::Window(window),
            Some(PolledCertificate { failures: 0, .. }) if !self.unsupported => AriStatus::Unasked,
            _ => AriStatus::None,
        }
    }

    /// The CA suggests nothing at all.
    pub fn are_unsupported(&mut self) {
        self.unsupported = true;
    }

    /// At most so many that are to be asked about now: those that wait longest, to the minute, and of them those that end
    /// first. Until it is answered, each counts as asked.
    pub fn due(&mut self, count: usize, now: Timestamp) -> Vec<(SecretKey, CertId)> {
        let due = self.by_secret.iter_mut().filter(|(_, known)| known.ask_at <= now);
        let mut due: Vec<_> = due.collect();
        if due.len() > count {
            due.select_nth_unstable_by_key(count, |(_, known)| known.turn());
            due.truncate(count);
        }
        due.sort_unstable_by_key(|(_, known)| known.turn());
        let asked = due.into_iter().map(|(secret, known)| {
            known.ask_at = now + limits::ARI_RETRY_MAX;
            (secret.clone(), known.id.clone())
        });
        asked.collect()
    }

    /// The CA has answered, and names a time until it wants to be asked again.
    pub fn answered(
        &mut self,
        secret: &SecretKey,
        id: &CertId,
        window: RenewalWindow,
        again: Option<Duration>,
        now: Timestamp,
    ) {
        let Some(known) = self.by_secret.get_mut(secret).filter(|known| known.id == *id) else {
            return;
        };
        let pause = again.unwrap_or(limits::ARI_POLL);
        known.ask_at = now + pause.clamp(limits::ARI_POLL_MIN, limits::ARI_POLL_MAX);
        (known.window, known.failures) = (Some(Box::new(window)), 0);
    }

    /// The CA did not answer, or does not know the certificate. What it suggested before stays.
    pub fn unanswered(
        &mut self,
        secret: &SecretKey,
        id: &CertId,
        again: Option<Duration>,
        now: Timestamp,
    ) {
        let Some(known) = self.by_secret.get_mut(secret).filter(|known| known.id == *id) else {
            return;
        };
        let doubled = limits::ARI_POLL_MIN * 2_u32.saturating_pow(known.failures.min(16));
        let pause = again.unwrap_or_default().max(doubled.min(limits::ARI_RETRY_MAX));
        known.ask_at = now + pause.min(limits::ARI_POLL_MAX);
        known.failures = known.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests;
