//! Writes of TXT records by jobs and by the cleaner, within the pauses of the accounts.

use tokio::time::timeout;

use crate::context::OperatorContext;
use crate::domain::dns::txt::{TxtRecord, TxtWrite};
use crate::domain::limits;
use crate::ports::{Pauses, PortError, TxtError};

impl OperatorContext {
    /// Writes a record, whether the account has a pause or not.
    pub(crate) async fn write_txt(
        &self,
        write: TxtWrite,
        txt: &TxtRecord,
    ) -> Result<(), PortError> {
        let (version, begun) = (self.version_of_account(&txt.account), self.clock.now());
        let writing = match write {
            TxtWrite::Add => self.dns.records.add(txt),
            TxtWrite::Remove => self.dns.records.remove(txt),
        };
        let limit = limits::DNS_CALL;
        let written = if let Ok(written) = timeout(limit, writing).await {
            written
        } else {
            let detail = format!("the DNS provider did not answer within {limit:?}");
            Err(TxtError { error: PortError::transient(detail), pauses: Pauses::Account })
        };
        self.dns_pauses.answered(&version, txt, &written, (begun, self.clock.now()));
        let written = written.map_err(|error| error.error);
        self.metrics.dns_write(write.verb(), &written);
        written
    }
}
