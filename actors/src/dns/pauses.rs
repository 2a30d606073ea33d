//! Pauses of DNS accounts that have just failed.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::domain::limits;
use crate::domain::time::Timestamp;
use crate::ports::PortError;

/// End of the pause of each account that did not answer, or said that it is busy. An account whose
/// provider stalls would hold the slot of each job in turn.
#[derive(Debug, Default)]
pub(crate) struct AccountPauses(RefCell<HashMap<String, Timestamp>>);

impl AccountPauses {
    /// End of the account's pause, if it has one at `now`.
    pub(crate) fn until(&self, account: &str, now: Timestamp) -> Option<Timestamp> {
        self.0.borrow().get(account).copied().filter(|until| now < *until)
    }

    /// Records how the account answered a write.
    pub(crate) fn answered(&self, account: &str, answer: &Result<(), PortError>, now: Timestamp) {
        let mut pauses = self.0.borrow_mut();
        let Err(PortError::Transient { retry_after, .. }) = answer else {
            pauses.remove(account);
            return;
        };
        pauses.retain(|_, until| now < *until);
        let pause = retry_after.unwrap_or_default().max(limits::DNS_ACCOUNT_PAUSE);
        pauses.insert(account.to_owned(), now + pause.min(limits::TXT_RETRY.1));
    }
}
