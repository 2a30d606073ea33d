//! Writes of TXT records with the accounts that are loaded.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use ingress_acme_actors::domain::dns::account_secret::LABEL;
use ingress_acme_actors::domain::dns::txt::TxtRecord;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::hash::stable_hash;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::{DnsRecords, PortError};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use super::credentials::Redaction;
use super::error::ProviderError;

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
    /// Title of its provider, in texts.
    pub(super) provider: &'static str,
    /// `None` for an account that writes nothing.
    pub(super) writer: Option<Box<dyn Writer>>,
    pub(super) redaction: Redaction,
    pub(super) lanes: Arc<Lanes>,
}

/// Locks of one account. A record name always takes the same one: many providers replace all
/// values of a name, so that two writes at once would lose a value.
pub(super) struct Lanes([Mutex<()>; limits::DNS_WRITES_AT_ONCE]);

impl Default for Lanes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl Lanes {
    fn of(&self, name: &str) -> &Mutex<()> {
        let count = limits::DNS_WRITES_AT_ONCE as u64;
        &self.0[usize::try_from(stable_hash(name) % count).unwrap_or_default()]
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
    pub(super) watch: JoinHandle<()>,
}

impl Drop for DnsProviders {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// A write of a record.
#[derive(Clone, Copy)]
enum Write {
    Add,
    Remove,
}

impl Write {
    fn verb(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
        }
    }

    async fn run(self, writer: &dyn Writer, record: &TxtRecord) -> Result<(), ProviderError> {
        match self {
            Self::Add => writer.add(record).await,
            Self::Remove => writer.remove(record).await,
        }
    }
}

impl DnsProviders {
    async fn write(&self, write: Write, record: &TxtRecord) -> Result<(), PortError> {
        let account = self.loaded.borrow().writing.get(&record.account).cloned();
        let account = account.ok_or_else(|| gone(write, record))?;
        account.write(write, record).await
    }
}

impl Account {
    async fn write(&self, write: Write, record: &TxtRecord) -> Result<(), PortError> {
        let Some(writer) = &self.writer else { return Err(writes_nothing(write, record)) };
        let _alone = self.lanes.of(record.name.as_str()).lock().await;
        let done = write.run(writer.as_ref(), record).await;
        let error = |error: ProviderError| {
            error.into_port_error((write.verb(), self.provider), record, &self.redaction)
        };
        done.map_err(error)
    }
}

fn gone(write: Write, record: &TxtRecord) -> PortError {
    let (TxtRecord { account, name, .. }, verb) = (record, write.verb());
    let detail = format!(
        "cannot {verb} the TXT record {name}: there is no DNS account {account} now; the log says why a Secret with the \
         label {LABEL} cannot be used"
    );
    PortError::permanent(FailureClass::Dns, detail)
}

fn writes_nothing(write: Write, record: &TxtRecord) -> PortError {
    let (TxtRecord { account, name, .. }, verb) = (record, write.verb());
    let detail = format!(
        "cannot {verb} the TXT record {name}: the DNS account {account} grants its zones for dns-persist-01 alone, and \
         writes nothing"
    );
    PortError::permanent(FailureClass::Dns, detail)
}

#[async_trait(?Send)]
impl DnsRecords for DnsProviders {
    async fn add(&self, record: &TxtRecord) -> Result<(), PortError> {
        self.write(Write::Add, record).await
    }

    async fn remove(&self, record: &TxtRecord) -> Result<(), PortError> {
        self.write(Write::Remove, record).await
    }
}
