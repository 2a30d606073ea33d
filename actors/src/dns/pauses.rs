//! Pauses of DNS accounts that have just failed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use crate::domain::dns::txt::{RecordName, TxtRecord};
use crate::domain::limits;
use crate::domain::time::Timestamp;
use crate::ports::PortError;

/// Writes that have a pause: those with a version of an account, or those in one zone of it.
type Paused = (String, Option<RecordName>);

/// End of the pause of each account that did not answer, or said that it is busy, with its text.
/// An account whose provider stalls would hold the slot of each job in turn. An error that comes at
/// once is about its zone alone: others in the account may be those of other tenants.
#[derive(Debug, Default)]
pub(crate) struct AccountPauses(RefCell<HashMap<Paused, (Timestamp, String)>>);

impl AccountPauses {
    /// The error of the last write with this version of the account or in the record's zone, if
    /// there is a pause at `now`, with the time until its end.
    pub(crate) fn error(
        &self,
        version: &str,
        txt: &TxtRecord,
        now: Timestamp,
    ) -> Option<PortError> {
        let pauses = self.0.borrow();
        let ends = [None, Some(txt.zone.clone())].map(|zone| pauses.get(&(version.into(), zone)));
        let paused = ends.into_iter().flatten().filter(|(until, _)| now < *until);
        let (until, detail) = paused.max_by_key(|(until, _)| *until)?;
        Some(PortError::transient_until(detail, Some(until.since(now))))
    }

    /// Records how the account answered a write that took this long.
    pub(crate) fn answered(
        &self,
        version: &str,
        txt: &TxtRecord,
        answer: &Result<(), PortError>,
        (took, now): (Duration, Timestamp),
    ) {
        let mut pauses = self.0.borrow_mut();
        let (version, zone) = (version.to_owned(), Some(txt.zone.clone()));
        let Err(PortError::Transient { detail, retry_after }) = answer else {
            pauses.remove(&(version.clone(), None));
            pauses.remove(&(version, zone));
            return;
        };
        pauses.retain(|_, (until, _)| now < *until);
        let pause = retry_after.unwrap_or_default().max(limits::DNS_ACCOUNT_PAUSE);
        let until = now + pause.min(limits::TXT_RETRY.1);
        let is_of_all = retry_after.is_some() || took >= limits::DNS_SLOW_WRITE;
        pauses.insert((version, zone.filter(|_| !is_of_all)), (until, detail.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::DnsName;

    fn txt(zone: &str) -> TxtRecord {
        let domain = DnsName::parse(zone).unwrap();
        TxtRecord {
            account: "bind".to_owned(),
            provider: None,
            zone: RecordName::parse(zone).unwrap(),
            name: RecordName::of_challenge(&domain).unwrap(),
            value: "value".to_owned(),
            domain,
        }
    }

    /// Zones of two that have a pause after such an answer for the first.
    fn paused_after(answer: &PortError, took: Duration) -> [bool; 2] {
        let (pauses, now) = (AccountPauses::default(), Timestamp::from_millis(0));
        let zones = [txt("a.example.com"), txt("b.example.com")];
        pauses.answered("bind 1", &zones[0], &Err(answer.clone()), (took, now));
        let is_paused = |txt: &TxtRecord| pauses.error("bind 1", txt, now).is_some();
        assert!(zones.iter().all(|txt| pauses.error("bind 2", txt, now).is_none()), "a new Secret");
        let paused = [is_paused(&zones[0]), is_paused(&zones[1])];
        let later = now + limits::DNS_ACCOUNT_PAUSE;
        assert!(zones.iter().all(|txt| pauses.error("bind 1", txt, later).is_none()));
        pauses.answered("bind 1", &zones[0], &Ok(()), (took, now));
        assert!(!is_paused(&zones[0]), "a success ends the pause");
        paused
    }

    #[test]
    fn a_failure_that_comes_at_once_pauses_its_zone_and_a_slow_or_busy_account_pauses_as_a_whole() {
        let (fast, slow) = (Duration::from_millis(5), limits::DNS_SLOW_WRITE);
        let failed = PortError::transient("SERVFAIL");
        assert_eq!(paused_after(&failed, fast), [true, false]);
        assert_eq!(paused_after(&failed, slow), [true, true]);
        let busy = PortError::transient_until("429", Some(Duration::from_secs(30)));
        assert_eq!(paused_after(&busy, fast), [true, true]);
        let refused = PortError::permanent(crate::domain::failure::FailureClass::Dns, "no");
        assert_eq!(paused_after(&refused, slow), [false, false]);
    }
}
