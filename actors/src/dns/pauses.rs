//! Pauses of DNS accounts that have just failed.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::domain::dns::txt::{RecordName, TxtRecord};
use crate::domain::limits;
use crate::domain::time::Timestamp;
use crate::ports::{Pauses, PortError, TxtError};

/// Writes that have a pause: those with a version of an account, or those in one zone of it.
type Paused = (String, Option<RecordName>);

/// A pause, with the text of the error that began it.
#[derive(Clone, Debug)]
struct Pause {
    since: Timestamp,
    until: Timestamp,
    detail: String,
}

/// Pauses of accounts and of their zones. An account whose provider stalls would hold the slot of
/// each job in turn. An error that comes at once is about its zone alone: other zones of the
/// account may be those of other tenants.
#[derive(Debug, Default)]
pub(crate) struct AccountPauses(RefCell<HashMap<Paused, Pause>>);

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
        let both = [None, Some(txt.zone.clone())].map(|zone| pauses.get(&(version.into(), zone)));
        let pauses = both.into_iter().flatten().filter(|pause| now < pause.until);
        let Pause { until, detail, .. } = pauses.max_by_key(|pause| pause.until)?;
        Some(PortError::transient_until(detail, Some(until.since(now))))
    }

    /// Records the answer to a write that began and ended at these times. Only a write that began
    /// after a pause did ends that pause: others were on their way.
    pub(crate) fn answered(
        &self,
        version: &str,
        txt: &TxtRecord,
        answer: &Result<(), TxtError>,
        (begun, now): (Timestamp, Timestamp),
    ) {
        let mut pauses = self.0.borrow_mut();
        pauses.retain(|_, pause| now < pause.until);
        let (account, zone) =
            ((version.to_owned(), None), (version.to_owned(), Some(txt.zone.clone())));
        let Err(TxtError { error: PortError::Transient { detail, retry_after }, pauses: scope }) =
            answer
        else {
            for paused in [account, zone] {
                if pauses.get(&paused).is_some_and(|pause| pause.since <= begun) {
                    pauses.remove(&paused);
                }
            }
            return;
        };
        let paused = match scope {
            Pauses::Nothing => return,
            Pauses::Zone => zone,
            Pauses::Account => account,
        };
        let pause = retry_after.unwrap_or_default().max(limits::DNS_ACCOUNT_PAUSE);
        let until = now + pause.min(limits::TXT_RETRY.1);
        if pauses.get(&paused).is_none_or(|pause| pause.until < until) {
            pauses.insert(paused, Pause { since: now, until, detail: detail.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::failure::FailureClass;
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
    fn paused_after(answer: &TxtError) -> [bool; 2] {
        let (pauses, now) = (AccountPauses::default(), Timestamp::from_millis(0));
        let zones = [txt("a.example.com"), txt("b.example.com")];
        pauses.answered("bind 1", &zones[0], &Err(answer.clone()), (now, now));
        let is_paused = |txt: &TxtRecord| pauses.error("bind 1", txt, now).is_some();
        assert!(zones.iter().all(|txt| pauses.error("bind 2", txt, now).is_none()), "a new Secret");
        let paused = [is_paused(&zones[0]), is_paused(&zones[1])];
        let later = now + limits::DNS_ACCOUNT_PAUSE;
        assert!(zones.iter().all(|txt| pauses.error("bind 1", txt, later).is_none()));
        pauses.answered("bind 1", &zones[0], &Ok(()), (now, now));
        assert!(!is_paused(&zones[0]), "a success ends the pause");
        paused
    }

    #[test]
    fn a_passing_error_pauses_its_zone_and_a_slow_or_busy_account_pauses_as_a_whole() {
        let failed = PortError::transient("SERVFAIL");
        assert_eq!(paused_after(&failed.clone().into()), [true, false]);
        let slow = TxtError { error: failed.clone(), pauses: Pauses::Account };
        assert_eq!(paused_after(&slow), [true, true]);
        let queued = TxtError { error: failed, pauses: Pauses::Nothing };
        assert_eq!(paused_after(&queued), [false, false]);
        let busy = PortError::transient_until("429", Some(Duration::from_secs(30)));
        assert_eq!(paused_after(&busy.into()), [true, true]);
        let refused = PortError::permanent(FailureClass::Dns, "no");
        assert_eq!(paused_after(&refused.into()), [false, false]);
    }

    #[test]
    fn a_write_that_was_on_its_way_ends_no_pause_and_shortens_none() {
        let (pauses, begun) = (AccountPauses::default(), Timestamp::from_millis(0));
        let (zone, now) = (txt("a.example.com"), begun + Duration::from_secs(1));
        let busy = |seconds| {
            let busy = PortError::transient_until("429", Some(Duration::from_secs(seconds)));
            pauses.answered("bind 1", &zone, &Err(busy.into()), (begun, now));
        };
        busy(600);
        busy(120);
        pauses.answered("bind 1", &zone, &Ok(()), (begun, now));
        let later = now + Duration::from_secs(500);
        assert!(pauses.error("bind 1", &zone, later).is_some());
        pauses.answered("bind 1", &zone, &Ok(()), (now, later));
        assert!(pauses.error("bind 1", &zone, later).is_none());
    }
}
