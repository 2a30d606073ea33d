//! Writes of TXT records with the accounts that are loaded.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use ingress_acme_actors::domain::dns::account_secret::LABEL;
use ingress_acme_actors::domain::dns::txt::{RecordName, TxtRecord, TxtWrite};
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::{DnsRecords, Pauses, PortError, TxtError};
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::credentials::Redaction;
use super::error::{Kind, ProviderError};

/// TTL of the records, in seconds: the CA asks the authoritative servers, and a resolver on the way
/// should not keep an answer.
pub(super) const TTL: u32 = 60;

/// Client of one account at its provider.
#[async_trait]
pub(super) trait Writer: Send + Sync {
    /// Adds the value beside others of the name.
    async fn add(&self, record: &TxtRecord) -> Result<(), ProviderError>;
    /// Removes the value, and no other one.
    async fn remove(&self, record: &TxtRecord) -> Result<(), ProviderError>;
}

/// An account that can write.
pub(super) struct Account {
    /// Value of the key `provider`.
    pub(super) provider: String,
    /// Title of its provider, in texts.
    pub(super) title: &'static str,
    /// `None` for an account that writes nothing.
    pub(super) writer: Option<Box<dyn Writer>>,
    pub(super) redaction: Redaction,
    /// Bounds the writes at once, whichever version of its Secret they were begun with.
    pub(super) writes: Arc<Semaphore>,
}

/// A semaphore for the writes of a new account.
pub(super) fn writes_at_once() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(limits::DNS_WRITES_AT_ONCE))
}

/// Locks of record names, of all accounts together: many providers replace all values of a name, so
/// that two writes at once would lose a value.
#[derive(Default)]
pub(super) struct NameLocks(RefCell<HashMap<RecordName, Weak<Mutex<()>>>>);

impl NameLocks {
    async fn lock(&self, name: &RecordName) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.borrow_mut();
            locks.retain(|_, lock| lock.strong_count() > 0);
            let lock = locks.get(name).and_then(Weak::upgrade).unwrap_or_default();
            locks.insert(name.clone(), Arc::downgrade(&lock));
            lock
        };
        lock.lock_owned().await
    }
}

/// Accounts as they are now.
#[derive(Default)]
pub(super) struct Loaded {
    /// By name.
    pub(super) writing: BTreeMap<String, Arc<Account>>,
}

/// The records of all accounts. Dropping this value ends the watch of the accounts.
pub(super) struct DnsProviders {
    pub(super) loaded: watch::Receiver<Arc<Loaded>>,
    pub(super) names: NameLocks,
    pub(super) watch: JoinHandle<()>,
}

impl Drop for DnsProviders {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

async fn run(
    write: TxtWrite,
    writer: &dyn Writer,
    record: &TxtRecord,
) -> Result<(), ProviderError> {
    match write {
        TxtWrite::Add => writer.add(record).await,
        TxtWrite::Remove => writer.remove(record).await,
    }
}

impl DnsProviders {
    async fn write(&self, write: TxtWrite, record: &TxtRecord) -> Result<(), TxtError> {
        let account = self.loaded.borrow().writing.get(&record.account).cloned();
        let account = account.ok_or_else(|| gone(write, record))?;
        if record.provider.as_ref().is_some_and(|of_then| *of_then != account.provider) {
            return Err(moved(write, record, account.title).into());
        }
        let Some(writer) = &account.writer else {
            return Err(writes_nothing(write, record).into());
        };
        let turn = async { (self.names.lock(&record.name).await, account.writes.acquire().await) };
        let Ok(_turn) = timeout(limits::DNS_TURN, turn).await else {
            return Err(no_turn(write, record));
        };
        let begun = Instant::now();
        let written = timeout(limits::DNS_WRITE, run(write, writer.as_ref(), record)).await;
        let late = |_| Err(ProviderError::new(Kind::Passing, "no answer in time"));
        let is_slow = begun.elapsed() >= limits::DNS_SLOW_WRITE;
        written.unwrap_or_else(late).map_err(|error| account.error(error, write, record, is_slow))
    }
}

impl Account {
    /// The error of a write, which was slow or not.
    fn error(
        &self,
        error: ProviderError,
        write: TxtWrite,
        record: &TxtRecord,
        slow: bool,
    ) -> TxtError {
        let is_of_all = slow || error.kind == Kind::Busy;
        let doing = (write.verb(), self.title);
        let error = TxtError::from(error.into_port_error(doing, record, &self.redaction));
        match error.pauses {
            Pauses::Zone if is_of_all => TxtError { pauses: Pauses::Account, ..error },
            _ => error,
        }
    }
}

/// The error of a write that others of the same name or account have kept from its turn. It pauses
/// nothing, for a tenant can have many at one name.
fn no_turn(write: TxtWrite, record: &TxtRecord) -> TxtError {
    let (TxtRecord { account, name, .. }, verb) = (record, write.verb());
    let detail = format!(
        "cannot {verb} the TXT record {name} yet: too many writes of this name, or with the DNS account {account}, come before"
    );
    TxtError { error: PortError::transient(detail), pauses: Pauses::Nothing }
}

fn gone(write: TxtWrite, record: &TxtRecord) -> PortError {
    let (TxtRecord { account, name, .. }, verb) = (record, write.verb());
    let detail = format!(
        "cannot {verb} the TXT record {name}: there is no DNS account {account} now; the log says why a Secret with the \
         label {LABEL} cannot be used"
    );
    PortError::permanent(FailureClass::Dns, detail)
}

/// The error where the account was at another provider when the record was chosen: at that of now
/// its removal would succeed, and the record would stay.
fn moved(write: TxtWrite, record: &TxtRecord, provider: &str) -> PortError {
    let (TxtRecord { account, name, value, .. }, verb) = (record, write.verb());
    let before = record.provider.as_deref().unwrap_or_default();
    let detail = format!(
        "cannot {verb} the TXT record {name} with the value {value}: the DNS account {account} was at provider `{before}` \
         then, and is at {provider} now; give the old credentials a Secret of another name next time, and remove the \
         record by hand"
    );
    PortError::permanent(FailureClass::Dns, detail)
}

fn writes_nothing(write: TxtWrite, record: &TxtRecord) -> PortError {
    let (TxtRecord { account, name, .. }, verb) = (record, write.verb());
    let detail = format!(
        "cannot {verb} the TXT record {name}: the DNS account {account} grants its zones for dns-persist-01 alone, and \
         writes nothing"
    );
    PortError::permanent(FailureClass::Dns, detail)
}

#[async_trait(?Send)]
impl DnsRecords for DnsProviders {
    async fn add(&self, record: &TxtRecord) -> Result<(), TxtError> {
        self.write(TxtWrite::Add, record).await
    }

    async fn remove(&self, record: &TxtRecord) -> Result<(), TxtError> {
        self.write(TxtWrite::Remove, record).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn two_writes_of_one_name_are_never_at_once_and_no_lock_is_kept() {
        let locks = NameLocks::default();
        let [one, other] = ["a.example.com", "b.example.com"].map(RecordName::parse);
        let (one, other) = (one.unwrap(), other.unwrap());
        let held = locks.lock(&one).await;
        assert!(locks.lock(&one).now_or_never().is_none());
        assert!(locks.lock(&other).now_or_never().is_some(), "another name waits for nobody");
        drop(held);
        let held = locks.lock(&one).now_or_never().expect("the first has ended");
        assert_eq!(locks.0.borrow().len(), 1);
        drop(held);
    }
}
