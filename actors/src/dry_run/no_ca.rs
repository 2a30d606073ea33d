//! CAs of a dry run: they are never asked.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;

use crate::cas::{CaClient, CaSet};
use crate::domain::caa::Issuer;
use crate::domain::certificate::CertId;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::issuance::{Methods, OrderView};
use crate::domain::name::DnsName;
use crate::domain::validity::renewal::RenewalWindow;
use crate::ports::{CertificateAuthority, PortError, Replaces};

/// The answer of a port that would change something.
pub(super) fn refused<T>() -> Result<T, PortError> {
    let what = "this is a dry run, which writes nothing but Events";
    Err(PortError::Permanent(Failure::new(FailureClass::SecretWrite, what)))
}

/// Returns CAs that are never asked.
pub(crate) fn without_requests(set: &CaSet) -> CaSet {
    let clients = set.clients.iter().map(|(directory, client)| {
        let ca = Rc::new(NoCa(client.ca.clone()));
        (directory.clone(), CaClient { ca, ..client.clone() })
    });
    CaSet { cas: set.cas.clone(), clients: clients.collect() }
}

/// A CA that is never asked.
pub(super) struct NoCa(pub(super) Rc<dyn CertificateAuthority>);

#[async_trait(?Send)]
impl CertificateAuthority for NoCa {
    async fn account(&self) -> Result<String, PortError> {
        refused()
    }

    async fn open_order(
        &self,
        _: &BTreeSet<DnsName>,
        _: Option<&str>,
        _: Option<Replaces<'_>>,
    ) -> Result<OrderView, PortError> {
        refused()
    }

    /// Known without a request.
    fn issuer(&self) -> Issuer {
        self.0.issuer()
    }

    /// As if the CA had no renewal information, so that renewals follow age.
    async fn renewal_info(
        &self,
        _: &CertId,
    ) -> Result<Option<(RenewalWindow, Option<Duration>)>, PortError> {
        Ok(None)
    }

    async fn refresh(&self, _: &str) -> Result<OrderView, PortError> {
        refused()
    }

    async fn offers(&self, _: &str) -> Result<OrderView, PortError> {
        refused()
    }

    async fn accept(&self, _: &str, _: &Methods) -> Result<OrderView, PortError> {
        refused()
    }

    async fn finalize(&self, _: &str, _: &[u8]) -> Result<OrderView, PortError> {
        refused()
    }

    async fn download(&self, _: &str) -> Result<String, PortError> {
        refused()
    }
}
