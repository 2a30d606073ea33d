//! ACME client (RFC 8555): implements the port [`CertificateAuthority`] on top of instant-acme.
//!
//! Each port call sends a few requests under one deadline. The account is registered on first use;
//! the account key, and so the thumbprint in challenge responses, exists before. No call waits for
//! the CA to make progress on an order: the caller polls.
//!
//! # Layout
//! - `account`: the account, its key and its store; `registration`: its registration and look-up.
//! - `account_sync`: follows account key changes by other processes; `rollover`: changes the key.
//! - `fallback_account`, `shared_key`: one account key for several CAs; `shared_rollover`: changes
//!   that key at one CA after the other.
//! - `directory_look`: the directory alone, for `doctor`.
//! - `jws`: signed requests that instant-acme does not support; `revocation`: one of these
//!   requests.
//! - `new_order`: new orders and ARI renewal windows.
//! - `chains`: selection among alternate chains; `link_header`: their URLs.
//! - `orders`: conversion of orders to views, challenges, and the cache of open orders;
//!   `issuer_names`: a field of DNS-PERSIST-01.
//! - `rate_limit`: scope and pace of a refusal.
//! - `problem`: ACME problem documents as failures.
//! - `call`: record of one port call; `call_error`: errors inside the call.
//! - `deviations`: answers of CAs that deviate from RFC 8555, made readable.
//! - `transport`, `retry_after`: HTTP; `proxy`: the proxy of the environment.

mod account;
mod account_sync;
mod call;
mod call_error;
mod chains;
mod deviations;
mod directory_look;
pub mod fallback_account;
mod issuer_names;
mod jws;
mod link_header;
mod new_order;
mod orders;
mod problem;
pub mod proxy;
mod rate_limit;
mod registration;
mod retry_after;
mod revocation;
mod rollover;
pub mod shared_key;
pub mod shared_rollover;
mod transport;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use instant_acme::OrderStatus as Status;
use tokio::sync::Mutex;
use tokio::time::Instant;

use ingress_acme_actors::domain::caa::Issuer;
use ingress_acme_actors::domain::certificate::CertId;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::issuance::{Methods, OrderStatus, OrderView};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::validity::renewal::RenewalWindow;
use ingress_acme_actors::ports::{AccountStore, CertificateAuthority, PortError, Replaces};

pub use account::{ThumbprintHook, thumbprint};
pub use directory_look::DirectoryLook;
pub use rate_limit::rate_limit;
pub use retry_after::sent_at;
pub use revocation::{Revoked, RevokedBy};
pub use rollover::RolledOver;
pub(crate) use transport::body_within;
pub use transport::{InProcess, RequestHook, TrustError, Wire};

use account::{AccountState, Accounts};
use call::Call;
use call_error::{CallError, unless_gone};
use orders::{OpenOrder, Orders, accepted, gone};
use transport::Transport;

/// Options of one CA.
pub struct AcmeOptions {
    /// URL of the ACME directory (RFC 8555 §7.1.1).
    pub directory: String,
    /// Additional root certificates for TLS connections to the CA, PEM.
    pub extra_roots: Option<String>,
    /// Common name of the preferred root: selects among the chains that the CA offers.
    pub preferred_chain: Option<String>,
    /// Contact URLs of the account, such as `mailto:ops@example.com`; sent at registration.
    pub contacts: Vec<String>,
    /// Way of the requests to the CA.
    pub wire: Wire,
    /// Called after every request.
    pub hook: RequestHook,
    /// Called with the thumbprint of the account key: at startup and after each key change.
    pub answering: ThumbprintHook,
}

/// One CA and our account there.
pub struct Acme {
    accounts: Accounts,
    orders: RefCell<Orders>,
    preferred_chain: Option<String>,
}

impl Acme {
    /// Creates the client without sending any request.
    pub fn new(options: AcmeOptions, store: Rc<dyn AccountStore>) -> Result<Self, TrustError> {
        #[rustfmt::skip] // one line per half a dozen of options
        let AcmeOptions {
            directory, extra_roots, preferred_chain, contacts, wire, hook, answering,
        } = options;
        let transport = Transport::new(&directory, extra_roots.as_deref(), wire, hook)?;
        let known = Mutex::new(AccountState::default());
        let accounts = Accounts { directory, contacts, transport, store, answering, known };
        Ok(Self { accounts, orders: RefCell::default(), preferred_chain })
    }

    /// Loads the account key, or generates and stores one, and returns its thumbprint. Sends no
    /// request to the CA, so that replicas that are not leading can answer challenges.
    pub async fn prepare(&self) -> Result<String, PortError> {
        self.accounts.prepare().await
    }

    /// Fetches the directory and the account, and returns them in terms of CAA records.
    pub async fn fetch_issuer(&self) -> Result<Issuer, PortError> {
        self.call("the CA did not return the account", async || {
            let account = Some(self.accounts.account().await?.id().to_owned());
            Ok(Issuer { domains: self.accounts.transport.caa_identities(), account })
        })
        .await
    }

    /// Runs one port call under its deadline. Retries once if the CA has lost our account, or if
    /// the account key has changed.
    async fn call<T>(
        &self,
        doing: &'static str,
        work: impl AsyncFn() -> Result<T, CallError>,
    ) -> Result<T, PortError> {
        self.within(doing, async || {
            let (began, mut recovered) = (Instant::now(), false);
            loop {
                let error = match work().await {
                    Ok(done) => return Ok(done),
                    Err(error) => error,
                };
                let kind = error.kind().to_owned();
                let port_error = error.into_port_error(doing);
                if recovered || !self.recovered(&kind, began).await {
                    return Err(self.while_it_settles(&kind, port_error).await.into());
                }
                recovered = true;
            }
        })
        .await
    }

    /// Runs `work` under the deadline of one port call.
    async fn within<T>(
        &self,
        doing: &'static str,
        work: impl AsyncFnOnce() -> Result<T, CallError>,
    ) -> Result<T, PortError> {
        let call = Call::default();
        let in_time = call.run(tokio::time::timeout(limits::CA_CALL, async {
            work().await.map_err(|error| error.into_port_error(doing))
        }));
        let late = || format!("{doing}: not done within {} s", limits::CA_CALL.as_secs());
        in_time.await.unwrap_or_else(|_| Err(PortError::transient(late())))
    }

    /// Returns the order from the cache, else from the CA; `None` if the CA does not know the
    /// order. An order of another account counts as unknown too: the CA answers 403 forever.
    async fn order(&self, url: &str) -> Result<Option<OpenOrder>, CallError> {
        if let Some(order) = self.orders.borrow_mut().take(url) {
            return Ok(Some(order));
        }
        let account = self.accounts.account().await?;
        Call::set_endpoint("order");
        match account.order(url.to_owned()).await {
            Ok(order) => Ok(Some(OpenOrder::new(order))),
            Err(error) => unless_gone(error).map(|()| None),
        }
    }

    /// Fetches the current state of an order from the CA.
    async fn look(&self, url: &str) -> Result<OrderView, CallError> {
        let remembered = self.orders.borrow_mut().take(url);
        let order = match remembered {
            None => self.order(url).await?,
            Some(mut open) => {
                Call::set_endpoint("order");
                match open.order.refresh().await.map(drop) {
                    Ok(()) => Some(open),
                    Err(error) => unless_gone(error).map(|()| None)?,
                }
            }
        };
        match order {
            Some(order) => self.show(order).await,
            None => Ok(gone(url)),
        }
    }

    /// Converts an order to a view, and caches the order unless the order is invalid or gone.
    async fn show(&self, mut order: OpenOrder) -> Result<OrderView, CallError> {
        let view = order.view().await?;
        if !matches!(view.status, OrderStatus::Invalid(_) | OrderStatus::Gone) {
            self.orders.borrow_mut().put(order);
        }
        Ok(view)
    }
}

#[async_trait(?Send)]
impl CertificateAuthority for Acme {
    async fn account(&self) -> Result<String, PortError> {
        self.call("the CA did not register the account", async || {
            Ok(self.accounts.account().await?.id().to_owned())
        })
        .await
    }

    /// Opens the order without fetching its authorizations, so that the order URL is journaled as
    /// early as possible.
    async fn open_order(
        &self,
        names: &BTreeSet<DnsName>,
        profile: Option<&str>,
        replaces: Option<Replaces<'_>>,
    ) -> Result<OrderView, PortError> {
        self.call("the CA did not open the order", async || {
            Call::set_ordered_names(names);
            let account = self.accounts.account().await?;
            if let Some(profile) = profile {
                self.check_profile(&account, profile).await?;
            }
            let id = replaces.map(|replaces| replaces.id);
            let or_without = replaces.is_some_and(|replaces| replaces.or_without);
            match self.order_for(&account, names, profile, id).await {
                Err(error) if or_without && error.is_about_replacing() => {
                    tracing::debug!(
                        ?id,
                        "the CA accepts no order with `replaces`; the order is sent without it"
                    );
                    self.order_for(&account, names, profile, None).await
                }
                opened => opened,
            }
        })
        .await
    }

    fn issuer(&self) -> Issuer {
        let account = self.accounts.known.try_lock().ok();
        let account = account.and_then(|known| Some(known.account.as_ref()?.id().to_owned()));
        Issuer { domains: self.accounts.transport.caa_identities(), account }
    }

    async fn renewal_info(
        &self,
        id: &CertId,
    ) -> Result<Option<(RenewalWindow, Option<Duration>)>, PortError> {
        self.call("the CA returned no renewal window", async || self.suggested(id).await).await
    }

    async fn refresh(&self, url: &str) -> Result<OrderView, PortError> {
        self.call("the CA did not return the order", async || self.look(url).await).await
    }

    /// Reads the authorizations. Neither an order that was opened a moment ago nor authorizations
    /// that were read already are fetched again: what has happened to them since is told when a
    /// challenge is accepted.
    async fn offers(&self, url: &str) -> Result<OrderView, PortError> {
        self.call("the CA did not return the order", async || {
            let untouched = self.orders.borrow_mut().take_untouched(url);
            match untouched {
                Some(order) => self.show(order).await,
                None => self.look(url).await,
            }
        })
        .await
    }

    /// Accepts the challenges. Fetches the order again only if the CA has validated within these
    /// requests: otherwise the order is almost certainly still pending.
    async fn accept(&self, url: &str, methods: &Methods) -> Result<OrderView, PortError> {
        let doing = "the CA did not accept the request to validate";
        self.call(doing, async || {
            let Some(mut order) = self.order(url).await? else { return Ok(gone(url)) };
            if order.order.state().status != Status::Pending {
                return self.show(order).await;
            }
            match order.accept(methods).await {
                Ok(true) => {
                    self.orders.borrow_mut().put(order);
                    return self.look(url).await;
                }
                Ok(false) => {}
                Err(error) if error.is_refusal() => {
                    let port_error = error.into_port_error(doing);
                    let view = self.look(url).await?;
                    let waits = view.authorizations.iter().any(|waiting| !waiting.accepted);
                    return if waits { Err(port_error.into()) } else { Ok(view) };
                }
                Err(error) => return Err(error),
            }
            let names = order.accepted.as_ref();
            let authorizations = names.map_or_else(Vec::new, accepted);
            self.orders.borrow_mut().put(order);
            let (url, status) = (url.to_owned(), OrderStatus::Pending);
            let retry_after = Call::last_retry_after();
            Ok(OrderView { url, status, authorizations, retry_after, replaces: false })
        })
        .await
    }

    /// Sends the CSR. If the CA refuses, fetches the order: an earlier attempt may have succeeded
    /// with the response lost.
    async fn finalize(&self, url: &str, csr: &[u8]) -> Result<OrderView, PortError> {
        let doing = "the CA did not accept the CSR";
        self.call(doing, async || {
            let Some(mut order) = self.order(url).await? else { return Ok(gone(url)) };
            Call::set_endpoint("finalize");
            match order.order.finalize_csr(csr).await.map_err(CallError::Acme) {
                Ok(()) => self.show(order).await,
                // A success means that the CSR was accepted, with an answer that is no order.
                Err(error) if error.is_refusal() || Call::has_succeeded("finalize") => {
                    let port_error = error.into_port_error(doing);
                    let view = self.look(url).await?;
                    let same = view.status == OrderStatus::Ready;
                    if same { Err(port_error.into()) } else { Ok(view) }
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn download(&self, url: &str) -> Result<String, PortError> {
        self.call("the CA did not return the certificate", async || {
            let began = Instant::now();
            let lost = || PortError::permanent(FailureClass::AcmeServer, "the CA lost the order");
            let Some(mut order) = self.order(url).await? else { return Err(lost().into()) };
            Call::set_endpoint("certificate");
            let chain = order.order.certificate().await?;
            let chain = chain.ok_or_else(|| PortError::transient("the CA is still issuing"))?;
            crate::pki::check_size(&chain).map_err(|why| {
                let what = format!("the CA's chain is not used: {why}");
                PortError::permanent(FailureClass::BadCertificate, what)
            })?;
            Ok(self.preferred(chain, began).await)
        })
        .await
    }
}
