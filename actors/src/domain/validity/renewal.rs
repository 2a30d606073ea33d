//! Renewal times: from the CA's renewal information (ARI, RFC 9773), else from the age of the
//! certificate.
//!
//! `RenewalWindows` keeps the windows by Secret and certificate identifier: a new certificate
//! drops the window of the previous one. Windows are not journaled, because the CA can be asked
//! again. The moment within a window is derived from the identifier, so every process computes the
//! same one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::certificate::{CertId, CertificateView, SecretView};
use crate::domain::hash::stable_hash;
use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::domain::time::{Timestamp, doubled};

/// Renewal window of one certificate, from its CA (RFC 9773 §4.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RenewalWindow {
    /// Start of the window.
    pub start: Timestamp,
    /// End of the window.
    pub end: Timestamp,
    /// URL of a page that explains the window.
    pub explanation: Option<String>,
}

impl RenewalWindow {
    /// Renewal time within the window, uniformly distributed over certificates (RFC 9773 §4.2: "a
    /// random time").
    pub(crate) fn instant(&self, id: &CertId) -> Timestamp {
        let millionths = u32::try_from(stable_hash(id) % 1_000_000).unwrap_or(0);
        // Divides first: a window of centuries times a million would overflow.
        self.start + self.end.since(self.start) / 1_000_000 * millionths
    }
}

/// Renewal time by age alone: with a third of the lifetime left (half for short-lived
/// certificates), and up to a tenth of that earlier.
///
/// The exact time depends on the serial number, so that certificates issued together are not
/// renewed together.
pub(crate) fn by_age(certificate: &CertificateView) -> Timestamp {
    let margin = margin(certificate);
    let thousandths = u32::try_from(stable_hash(&certificate.serial) % 1000).unwrap_or(0);
    certificate.not_after - margin - margin / 10 * thousandths / 1000
}

/// Time between renewal and expiry, by age alone.
fn margin(certificate: &CertificateView) -> Duration {
    let life = certificate.not_after.since(certificate.not_before);
    if life < limits::SHORT_LIVED { life / 2 } else { life / 3 }
}

/// Renewal information of the CA about one certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AriStatus<'a> {
    /// No window: the CA has none, or the last request failed.
    #[default]
    None,
    /// The CA was not asked yet.
    Unasked,
    /// The CA's renewal window.
    Window(&'a RenewalWindow),
}

impl AriStatus<'_> {
    /// Whether `now` is in or after the window. Let's Encrypt counts a replacement order in no rate
    /// limit then.
    pub(crate) fn is_within_window(self, now: Timestamp) -> bool {
        matches!(self, Self::Window(window) if window.start <= now)
    }
}

/// Renewal time of a certificate. The CA's window wins over age, but leaves at least half of the
/// time between the renewal by age and the expiry.
///
/// Before the first answer of the CA after a start, the renewal by age is delayed by a quarter of
/// that time, so that a certificate that is not late waits for its window.
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

/// Renewal windows of all observed certificates, and the time of the next request for each.
#[derive(Debug, Default)]
pub(crate) struct RenewalWindows {
    by_secret: HashMap<SecretKey, PolledCertificate>,
    /// Directories of all CAs that were seen.
    directories: BTreeSet<Arc<str>>,
    /// Directories of the CAs that do not support renewal information.
    unsupported: BTreeSet<Arc<str>>,
}

#[derive(Debug)]
struct PolledCertificate {
    id: CertId,
    /// Directory of the CA.
    directory: Arc<str>,
    not_after: Timestamp,
    window: Option<Box<RenewalWindow>>,
    ask_at: Timestamp,
    failures: u32,
}

impl PolledCertificate {
    /// Order of requests: the longest wait first, in minutes, then the earliest expiry. Right after
    /// a start all certificates have waited about equally long.
    fn turn(&self) -> (i64, Timestamp) {
        (self.ask_at.as_secs() / 60, self.not_after)
    }
}

impl RenewalWindows {
    /// Directory of the CA that has issued the certificate in a Secret, as last observed.
    pub(crate) fn directory(&self, secret: &SecretKey) -> Option<&str> {
        self.by_secret.get(secret).map(|certificate| &*certificate.directory)
    }

    /// Stores an observation of a Secret. Only certificates of ours by a CA whose directory is
    /// known are kept.
    pub(crate) fn record(
        &mut self,
        secret: &SecretKey,
        found: Option<&SecretView>,
        is_known: impl Fn(&str) -> bool,
        now: Timestamp,
    ) {
        let directory = found.and_then(|found| found.directory.as_deref());
        let of_it = directory.filter(|directory| is_known(directory)).and_then(|directory| {
            let leaf = found?.issued_by(directory)?;
            Some((directory, leaf.id.clone()?, leaf.not_after))
        });
        let Some((directory, id, not_after)) = of_it else { return self.forget(secret) };
        if self.by_secret.get(secret).is_none_or(|known| known.id != id) {
            let (directory, window, failures) = (self.shared(directory), None, 0);
            let known =
                PolledCertificate { id, directory, not_after, window, ask_at: now, failures };
            self.by_secret.insert(secret.clone(), known);
        }
    }

    /// The URL of a directory, one text for all certificates.
    fn shared(&mut self, directory: &str) -> Arc<str> {
        if let Some(shared) = self.directories.get(directory) {
            return shared.clone();
        }
        let shared: Arc<str> = directory.into();
        self.directories.insert(shared.clone());
        shared
    }

    /// Drops a Secret that no Ingress uses any more, or that has no certificate to ask about.
    pub(crate) fn forget(&mut self, secret: &SecretKey) {
        self.by_secret.remove(secret);
    }

    /// Renewal information about the certificate `id` of `secret`.
    pub(crate) fn of(&self, secret: &SecretKey, id: Option<&CertId>) -> AriStatus<'_> {
        let known = self.by_secret.get(secret).filter(|known| Some(&known.id) == id);
        match known {
            Some(PolledCertificate { window: Some(window), .. }) => AriStatus::Window(window),
            Some(PolledCertificate { failures: 0, directory, .. })
                if !self.unsupported.contains(directory) =>
            {
                AriStatus::Unasked
            }
            _ => AriStatus::None,
        }
    }

    /// Records that the CA of `directory` does not support renewal information. Returns whether
    /// that is news.
    pub(crate) fn are_unsupported(&mut self, directory: &str) -> bool {
        let directory = self.shared(directory);
        self.unsupported.insert(directory)
    }

    /// Returns up to `count` certificates to ask about now, with their CAs, if these may be asked:
    /// those that have waited longest, to the minute, and among these the earliest to expire. Each
    /// one counts as asked for [`limits::ARI_RETRY_MAX`] or until its answer.
    pub(crate) fn due(
        &mut self,
        count: usize,
        may_ask: impl Fn(&str) -> bool,
        now: Timestamp,
    ) -> Vec<(SecretKey, CertId, Arc<str>)> {
        // After its expiry nobody asks about a certificate (RFC 9773 §4.3).
        self.by_secret.retain(|_, known| now < known.not_after);
        let askable: BTreeSet<&Arc<str>> = self
            .directories
            .iter()
            .filter(|one| !self.unsupported.contains(*one) && may_ask(one))
            .collect();
        let due = self.by_secret.iter_mut();
        let due =
            due.filter(|(_, known)| known.ask_at <= now && askable.contains(&known.directory));
        let mut due: Vec<_> = due.collect();
        if due.len() > count {
            due.select_nth_unstable_by_key(count, |(_, known)| known.turn());
            due.truncate(count);
        }
        due.sort_unstable_by_key(|(_, known)| known.turn());
        let asked = due.into_iter().map(|(secret, known)| {
            known.ask_at = now + limits::ARI_RETRY_MAX;
            (secret.clone(), known.id.clone(), known.directory.clone())
        });
        asked.collect()
    }

    /// Stores an answer. `again` is the CA's Retry-After, used within [`limits::ARI_POLL_MIN`] and
    /// [`limits::ARI_POLL_MAX`].
    pub(crate) fn answered(
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

    /// Records a failed request: the CA did not answer, or does not know the certificate. An
    /// earlier window stays.
    pub(crate) fn unanswered(
        &mut self,
        secret: &SecretKey,
        id: &CertId,
        again: Option<Duration>,
        now: Timestamp,
    ) {
        let Some(known) = self.by_secret.get_mut(secret).filter(|known| known.id == *id) else {
            return;
        };
        let doubled = doubled(limits::ARI_POLL_MIN, known.failures, limits::ARI_RETRY_MAX);
        let pause = again.unwrap_or_default().max(doubled);
        known.ask_at = now + pause.min(limits::ARI_POLL_MAX);
        known.failures = known.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests;
