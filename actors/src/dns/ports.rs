//! The ports of challenges that are answered in DNS.

use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::domain::dns::account::DnsAccounts;
use crate::domain::dns::txt::{ChallengeTarget, TxtRecord};
use crate::domain::failure::FailureClass;
use crate::domain::name::DnsName;
use crate::ports::{ChallengeDns, DnsRecords, PortError, TxtError};

/// The ports of challenges that are answered in DNS.
#[derive(Clone)]
pub struct DnsPorts {
    /// The accounts as they are by now.
    pub accounts: watch::Receiver<Arc<DnsAccounts>>,
    /// Records at the providers of these accounts.
    pub records: Rc<dyn DnsRecords>,
    /// DNS as the CA sees it.
    pub lookups: Rc<dyn ChallengeDns>,
}

impl DnsPorts {
    /// Ports without accounts, which write nothing and find nothing.
    #[must_use]
    pub fn none() -> Self {
        let (_, accounts) = watch::channel(Arc::default());
        Self { accounts, records: Rc::new(NoDns), lookups: Rc::new(NoDns) }
    }
}

/// No provider, and no resolver.
struct NoDns;

const NOTHING: &str = "there is no DNS provider";

#[async_trait(?Send)]
impl DnsRecords for NoDns {
    async fn add(&self, _: &TxtRecord) -> Result<(), TxtError> {
        Err(PortError::permanent(FailureClass::Dns, NOTHING).into())
    }

    async fn remove(&self, _: &TxtRecord) -> Result<(), TxtError> {
        Err(PortError::permanent(FailureClass::Dns, NOTHING).into())
    }
}

#[async_trait(?Send)]
impl ChallengeDns for NoDns {
    async fn target(&self, _: &DnsName) -> Result<ChallengeTarget, String> {
        Err(NOTHING.to_owned())
    }

    async fn has(&self, _: &TxtRecord) -> Result<bool, String> {
        Err(NOTHING.to_owned())
    }

    async fn persist_records(&self, _: &DnsName) -> Result<Vec<String>, String> {
        Err(NOTHING.to_owned())
    }
}
