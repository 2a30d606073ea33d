//! Status of a certificate, computed without reading its Secret.

use std::fmt;

use serde::Serialize;

use crate::domain::time::Timestamp;
use crate::domain::validity::expiries::Validity;

/// Status of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateStatus {
    /// Valid.
    Valid,
    /// Valid, and a renewal is in progress or due.
    Renewing,
    /// Not valid, and an issuance is in progress.
    Pending,
    /// The last attempt failed.
    Failing,
    /// Expired, and no issuance is in progress.
    Expired,
    /// No certificate of ours was observed: the Secret belongs to others, or was not read yet.
    Unknown,
}

impl CertificateStatus {
    /// Computes the status from the last observed validity, whether the last attempt failed, and
    /// whether a job is at work.
    pub fn of(validity: Option<Validity>, failing: bool, at_work: bool, now: Timestamp) -> Self {
        let good = validity.is_some_and(|validity| now < validity.not_after);
        let due = validity.is_some_and(|validity| validity.renewal <= now);
        match (good, at_work) {
            _ if failing => Self::Failing,
            (true, true) => Self::Renewing,
            (true, false) if due => Self::Renewing,
            (true, false) => Self::Valid,
            (false, true) => Self::Pending,
            (false, false) if validity.is_some() => Self::Expired,
            (false, false) => Self::Unknown,
        }
    }

    /// Returns the status as one word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Renewing => "renewing",
            Self::Pending => "pending",
            Self::Failing => "failing",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for CertificateStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_certificate_stands_by_its_dates_and_by_what_is_going_on() {
        let validity = Some(Validity { not_after: at(90), renewal: at(60) });
        assert_eq!(CertificateStatus::of(validity, false, false, at(10)), CertificateStatus::Valid);
        assert_eq!(
            CertificateStatus::of(validity, false, true, at(10)),
            CertificateStatus::Renewing
        );
        assert_eq!(
            CertificateStatus::of(validity, false, false, at(60)),
            CertificateStatus::Renewing
        );
        assert_eq!(
            CertificateStatus::of(validity, true, false, at(60)),
            CertificateStatus::Failing
        );
        assert_eq!(
            CertificateStatus::of(validity, false, true, at(90)),
            CertificateStatus::Pending
        );
        assert_eq!(
            CertificateStatus::of(validity, false, false, at(90)),
            CertificateStatus::Expired
        );
        assert_eq!(CertificateStatus::of(None, false, false, at(90)), CertificateStatus::Unknown);
        assert_eq!(CertificateStatus::of(None, false, true, at(90)), CertificateStatus::Pending);
    }

    #[test]
    fn a_status_has_one_word_everywhere() {
        use CertificateStatus::{Expired, Failing, Pending, Renewing, Unknown, Valid};
        for status in [Valid, Renewing, Pending, Failing, Expired, Unknown] {
            assert_eq!(serde_json::to_value(status).unwrap(), status.label());
            assert_eq!(status.to_string(), format!("{status:?}").to_lowercase());
        }
    }
}
