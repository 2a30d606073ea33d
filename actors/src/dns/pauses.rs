//! Pauses of DNS accounts that have just failed.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::domain::limits;
use crate::domain::time::Timestamp;
use crate::ports::PortError;

/// End of the pause of each version of an account that did not answer, or said that it is busy, and
/// its text. An account whose provider stalls would hold the slot of each job in turn.
#[derive(Debug, Default)]
pub(crate) struct AccountPauses(RefCell<HashMap<String, (Timestamp, String)>>);

impl AccountPauses {
    /// The error of the account's last write, if the account has a pause at `now`, with the time
    /// until its end.
    pub(crate) fn error(&self, account: &str, now: Timestamp) -> Option<PortError> {
        let pauses = self.0.borrow();
        let (until, detail) = pauses.get(account).filter(|(until, _)| now < *until)?;
        Some(PortError::transient_until(detail, Some(until.since(now))))
    }

    /// Records how the account answered a write.
    pub(crate) fn answered(&self, account: &str, answer: &Result<(), PortError>, now: Timestamp) {
        let mut pauses = self.0.borrow_mut();
        let Err(PortError::Transient { detail, retry_after }) = answer else {
            pauses.remove(account);
            return;
        };
        pauses.retain(|_, (until, _)| now < *until);
        let pause = retry_after.unwrap_or_default().max(limits::DNS_ACCOUNT_PAUSE);
        let until = now + pause.min(limits::TXT_RETRY.1);
        pauses.insert(account.to_owned(), (until, detail.clone()));
    }
}
