//! The operator's ACME adapter against both CAs, through the gateway: its requests one by one, and
//! refusals in the CA's own words.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ingress_acme::acme::{Acme, AcmeOptions, Wire, thumbprint};
use ingress_acme::pki::Pki;
use ingress_acme_actors::domain::certificate::CertId;
use ingress_acme_actors::domain::certificate::{KeyAlgorithm, PrivateKey};
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::issuance::{Methods, OrderStatus, OrderView};
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::ports::{
    AccountStore, CertificateAuthority, ExternalAccount, Keys, PortError, Replaces, StoredAccount,
};
use ingress_acme_control_plane::{Options, World, eventually, retry_when_wedged_with};

use crate::test_ca::{self, HOSTS, SOON, TestCa};

/// Runs a test on both CAs, in the same surroundings.
pub(crate) async fn on_both(test: impl AsyncFn(&TestCa<'_>)) {
    on_both_with(&test_ca::options(), test).await;
}

/// Like [`on_both`], in worlds with other options.
pub(crate) async fn on_both_with(options: &Options, test: impl AsyncFn(&TestCa<'_>)) {
    retry_when_wedged_with(3, options, async |world: &World| {
        for test_ca in [TestCa::pebble(world), TestCa::simulated_in(world)] {
            println!("on {}", test_ca.name());
            test(&test_ca).await;
        }
    })
    .await;
}

/// An account store in memory, for one test.
#[derive(Default)]
pub(crate) struct Memory(
    pub(crate) RefCell<Option<StoredAccount>>,
    pub(crate) Option<ExternalAccount>,
);

impl Memory {
    /// The stored account.
    pub(crate) fn account(&self) -> StoredAccount {
        self.0.borrow().clone().unwrap()
    }
}

#[async_trait(?Send)]
impl AccountStore for Memory {
    async fn load(&self) -> Result<Option<StoredAccount>, PortError> {
        Ok(self.0.borrow().clone())
    }

    async fn create(
        &self,
        key: &PrivateKey,
        next: Option<&PrivateKey>,
    ) -> Result<StoredAccount, PortError> {
        let made = || StoredAccount { next: next.cloned(), ..stored(key) };
        Ok(self.0.borrow_mut().get_or_insert_with(made).clone())
    }

    async fn replace(&self, account: &StoredAccount) -> Result<Option<StoredAccount>, PortError> {
        let mut kept = self.0.borrow_mut();
        let version = kept.as_ref().unwrap().version.clone();
        if version != account.version {
            return Ok(None);
        }
        let version = (version.parse::<u64>().unwrap() + 1).to_string();
        *kept = Some(StoredAccount { version, ..account.clone() });
        Ok(kept.clone())
    }

    async fn external_account(&self) -> Result<Option<ExternalAccount>, PortError> {
        Ok(self.1.clone())
    }
}

/// An account without registration.
fn stored(key: &PrivateKey) -> StoredAccount {
    StoredAccount {
        key: key.clone(),
        next: None,
        former: None,
        retired: Vec::new(),
        url: None,
        directory: String::new(),
        version: "1".to_owned(),
    }
}

/// Calls of the request hook: endpoint and status.
pub(crate) type Requests = Arc<Mutex<Vec<(&'static str, u16)>>>;

pub(crate) fn acme(test_ca: &TestCa<'_>, store: &Rc<Memory>) -> (Acme, Requests) {
    acme_with(test_ca, store, |_| {})
}

/// Builds an adapter with changed options.
pub(crate) fn acme_with(
    test_ca: &TestCa<'_>,
    store: &Rc<Memory>,
    change: impl FnOnce(&mut AcmeOptions),
) -> (Acme, Requests) {
    // The store is created without the directory.
    if let Some(stored) = store.0.borrow_mut().as_mut() {
        stored.directory = test_ca.directory();
    }
    acme_over(test_ca, Rc::clone(store) as Rc<dyn AccountStore>, change)
}

/// Builds an adapter over any store.
pub(crate) fn acme_over(
    test_ca: &TestCa<'_>,
    store: Rc<dyn AccountStore>,
    change: impl FnOnce(&mut AcmeOptions),
) -> (Acme, Requests) {
    let requests = Requests::default();
    let seen = Arc::clone(&requests);
    let mut options = AcmeOptions {
        directory: test_ca.directory(),
        extra_roots: Some(test_ca.trust()),
        preferred_chain: None,
        contacts: vec!["mailto:ops@example.com".to_owned()],
        wire: Wire::Tls,
        hook: Arc::new(move |endpoint, status, _| seen.lock().unwrap().push((endpoint, status))),
        answering: Rc::new(test_ca.answering()),
    };
    change(&mut options);
    (Acme::new(options, store).unwrap(), requests)
}

/// Number of successful requests to an endpoint. Refusals do not count, because the CA rejects some
/// good nonces to test the retries.
pub(crate) fn count(requests: &Requests, endpoint: &str) -> usize {
    let good = |(asked, status): &&(&str, u16)| *asked == endpoint && *status < 400;
    requests.lock().unwrap().iter().filter(good).count()
}

pub(crate) fn names(hosts: &[&str]) -> BTreeSet<DnsName> {
    hosts.iter().map(|host| DnsName::parse_certified(host).unwrap()).collect()
}

/// Polls the order until the status is neither `Pending` nor `Processing`.
pub(crate) async fn settled(acme: &Acme, url: &str) -> OrderView {
    eventually(SOON, "the order to get on", async || {
        let order = acme.refresh(url).await.unwrap();
        let waits = matches!(order.status, OrderStatus::Pending | OrderStatus::Processing);
        (!waits).then_some(order)
    })
    .await
}

#[tokio::test]
async fn a_certificate_is_issued_also_by_an_instance_that_takes_over() {
    on_both(async |test_ca: &TestCa<'_>| {
        let store = Rc::new(Memory::default());
        let (first, requests) = acme(test_ca, &store);
        let prepared = first.prepare().await.unwrap();
        let key = store.0.borrow().clone().unwrap().key;
        assert_eq!(Ok(&prepared), thumbprint(&key).as_ref());
        assert_eq!(requests.lock().unwrap().len(), 0, "the CA is not asked");
        test_ca.answer(prepared).await;

        let hosts = names(&HOSTS);
        let opened = first.open_order(&hosts, None, None).await.unwrap();
        assert_eq!(opened.status, OrderStatus::Pending);
        let asked: BTreeSet<_> = opened.authorizations.iter().map(|a| a.name.clone()).collect();
        assert_eq!(asked, hosts);
        assert!(opened.authorizations.iter().all(|authorization| !authorization.accepted));
        let shown = first.refresh(&opened.url).await.unwrap();
        assert!(shown.authorizations.iter().all(|authorization| !authorization.accepted));
        let accepted = first.accept(&opened.url, &Methods::new()).await.unwrap();
        assert_eq!(accepted.authorizations.len(), 2);
        assert!(accepted.authorizations.iter().all(|authorization| authorization.accepted));
        assert_eq!(settled(&first, &opened.url).await.status, OrderStatus::Ready);
        // The directory is fetched for the registration, and for the account.
        assert_eq!((count(&requests, "challenge"), count(&requests, "directory")), (2, 2));

        // A CSR for other names is refused, and the order stays open.
        let private = Pki::default().generate(KeyAlgorithm::EcdsaP256).await.unwrap();
        let other = Pki::default().request(&names(&["a.example.com"]), &private).unwrap();
        let refused = first.finalize(&opened.url, &other).await;
        assert!(matches!(refused, Err(PortError::Permanent(_))), "{refused:?}");

        // Another process finds the order by its URL and finalizes; then the first sends its CSR in
        // vain.
        let (second, _) = acme(test_ca, &store);
        let csr = Pki::default().request(&hosts, &private).unwrap();
        second.finalize(&opened.url, &csr).await.unwrap();
        assert_eq!(settled(&second, &opened.url).await.status, OrderStatus::Valid);
        let again = first.finalize(&opened.url, &csr).await.unwrap();
        assert_eq!(again.status, OrderStatus::Valid);
        let chain = second.download(&opened.url).await.unwrap();
        let leaf = Pki::default().inspect(&chain, &private).unwrap();
        assert!(leaf.key_matches);
        assert_eq!(leaf.names, hosts.iter().map(ToString::to_string).collect());
        assert_eq!(test_ca.counts(), (1, 1));
        assert_eq!(count(&requests, "other"), 0, "each request has an endpoint of its own");
    })
    .await;
}

/// Issues a certificate for these hosts and returns its ID.
async fn issue(acme: &Acme, hosts: &BTreeSet<DnsName>, replaces: Option<&CertId>) -> CertId {
    let replaces = replaces.map(|id| Replaces { id, or_without: true });
    // Pebble knows whose certificate it is a moment after it has shown the certificate.
    let order =
        eventually(SOON, "an order", async || acme.open_order(hosts, None, replaces).await.ok())
            .await;
    let private = Pki::default().generate(KeyAlgorithm::EcdsaP256).await.unwrap();
    let chain = finished(acme, &order.url, hosts, &private).await;
    Pki::default().inspect(&chain, &private).unwrap().id.unwrap()
}

/// Completes an open order and returns the chain.
pub(crate) async fn finished(
    acme: &Acme,
    order: &str,
    hosts: &BTreeSet<DnsName>,
    private: &PrivateKey,
) -> String {
    acme.accept(order, &Methods::new()).await.unwrap();
    assert_eq!(settled(acme, order).await.status, OrderStatus::Ready);
    acme.finalize(order, &Pki::default().request(hosts, private).unwrap()).await.unwrap();
    assert_eq!(settled(acme, order).await.status, OrderStatus::Valid);
    acme.download(order).await.unwrap()
}

/// Issues a certificate for these hosts; returns its chain and key.
pub(crate) async fn issued(
    acme: &Acme,
    hosts: &BTreeSet<DnsName>,
    algorithm: KeyAlgorithm,
) -> (String, PrivateKey) {
    let private = Pki::default().generate(algorithm).await.unwrap();
    let order = acme.open_order(hosts, None, None).await.unwrap();
    let chain = finished(acme, &order.url, hosts, &private).await;
    (chain, private)
}

#[tokio::test]
async fn a_renewal_is_suggested_and_replaces_and_what_cannot_be_replaced_is_renewed_all_the_same() {
    on_both(async |test_ca: &TestCa<'_>| {
        let (acme, _) = acme(test_ca, &Rc::new(Memory::default()));
        test_ca.answer(acme.prepare().await.unwrap()).await;
        let hosts = names(&["a.example.com"]);
        let first = issue(&acme, &hosts, None).await;
        let (window, again) = acme.renewal_info(&first).await.unwrap().unwrap();
        assert!(window.start < window.end && window.explanation.is_none());
        assert!(again.is_some());
        let second = issue(&acme, &hosts, Some(&first)).await;
        assert_ne!(first, second);
        // `first` is already replaced, and the CA has no record of the other certificate.
        let only = Some(Replaces { id: &first, or_without: false });
        eventually(SOON, "a refusal", async || {
            let refused = acme.open_order(&hosts, None, only).await;
            matches!(refused, Err(PortError::Permanent(_))).then_some(())
        })
        .await;
        for refused in [first, CertId::new("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")] {
            issue(&acme, &hosts, Some(&refused)).await;
        }
        assert_eq!(test_ca.counts().1, 4);
    })
    .await;
}

/// The Secret of the account was lost, or the TLS Secrets were moved to another cluster: `replaces`
/// would name a certificate of another account (RFC 9773 §5), which Pebble refuses by 403.
#[tokio::test]
async fn a_certificate_of_a_lost_account_is_renewed_by_the_next_account() {
    on_both(async |test_ca: &TestCa<'_>| {
        let hosts = names(&["a.example.com"]);
        let (lost, _) = acme(test_ca, &Rc::new(Memory::default()));
        test_ca.answer(lost.prepare().await.unwrap()).await;
        let first = issue(&lost, &hosts, None).await;
        let (next, requests) = acme(test_ca, &Rc::new(Memory::default()));
        test_ca.answer(next.prepare().await.unwrap()).await;
        let only = Some(Replaces { id: &first, or_without: false });
        eventually(SOON, "a refusal", async || {
            let refused = next.open_order(&hosts, None, only).await;
            matches!(refused, Err(PortError::Permanent(_))).then_some(())
        })
        .await;
        let second = issue(&next, &hosts, Some(&first)).await;
        assert_ne!(first, second);
        let requests = requests.lock().unwrap();
        // Pebble also refuses some nonces on purpose (400).
        let of_orders = |(endpoint, status): &&(&str, u16)| {
            *endpoint == "new_order" && matches!(status, 201 | 403)
        };
        let statuses: Vec<u16> =
            requests.iter().filter(of_orders).map(|(_, status)| *status).collect();
        assert_eq!(statuses, [403, 403, 201], "the last one without `replaces`");
    })
    .await;
}

#[tokio::test]
async fn a_new_account_is_bound_to_the_external_one_once_and_found_again_when_its_url_is_lost() {
    let hmac = b"0123456789abcdef0123456789abcdef".to_vec();
    let eab = Some(("kid-1".to_owned(), hmac.clone()));
    let test_ca = TestCa::simulated_with(|options| options.eab = eab);
    let external =
        |hmac: &[u8]| ExternalAccount { kid: "kid-1".to_owned(), hmac: hmac.to_vec().into() };
    let hosts = names(&["a.example.com"]);
    let refused = async |external: Option<ExternalAccount>| {
        let (acme, _) = acme(&test_ca, &Rc::new(Memory(RefCell::default(), external)));
        let Err(PortError::Permanent(failure)) = acme.open_order(&hosts, None, None).await else {
            panic!("it is not bound")
        };
        failure.detail
    };
    let unbound = refused(None).await;
    assert!(unbound.contains("--eab-secret"), "{unbound}");
    let wrong = refused(Some(external(b"wrong"))).await;
    assert!(wrong.contains("(unauthorized)"), "{wrong}");

    let store = Rc::new(Memory(RefCell::default(), Some(external(&hmac))));
    let (first, _) = acme(&test_ca, &store);
    first.open_order(&hosts, None, None).await.unwrap();
    let url = store.0.borrow_mut().as_mut().unwrap().url.take();
    assert!(url.is_some());
    let (second, requests) = acme(&test_ca, &store);
    second.open_order(&hosts, None, None).await.unwrap();
    assert_eq!(store.0.borrow().as_ref().unwrap().url, url);
    assert_eq!(count(&requests, "new_account"), 1, "it was found, not bound again");
}

#[tokio::test]
async fn a_host_that_leads_elsewhere_is_named_in_the_cas_words() {
    on_both(async |test_ca: &TestCa<'_>| {
        let (acme, _) = acme(test_ca, &Rc::new(Memory::default()));
        test_ca.answer(acme.prepare().await.unwrap()).await;
        let hosts = names(&["a.example.com", "c.example.com"]);
        let order = acme.open_order(&hosts, None, None).await.unwrap();
        acme.accept(&order.url, &Methods::new()).await.unwrap();
        let OrderStatus::Invalid(failure) = settled(&acme, &order.url).await.status else {
            panic!("it cannot be valid")
        };
        assert_eq!(failure.class, FailureClass::Authorization);
        assert_eq!(failure.names, names(&["c.example.com"]), "the other is not blamed");
        assert!(failure.detail.contains("c.example.com: "), "{}", failure.detail);
        assert!(failure.detail.contains("404"), "{}", failure.detail);
        // A repeated request for validation returns the same failure.
        let message = acme.accept(&order.url, &Methods::new()).await.unwrap();
        assert!(matches!(message.status, OrderStatus::Invalid(_)), "{message:?}");
    })
    .await;
}

#[tokio::test]
async fn refusals_are_reported_and_what_the_ca_does_not_know_is_gone() {
    on_both(async |test_ca: &TestCa<'_>| {
        let (acme, requests) = acme(test_ca, &Rc::new(Memory::default()));
        let hosts = names(&["a.example.com"]);
        let refused = |error: Result<OrderView, PortError>| match error {
            Err(PortError::Permanent(failure)) => (failure.class, failure.detail),
            other => panic!("{other:?}"),
        };
        let (class, said) = refused(acme.open_order(&hosts, Some("gold"), None).await);
        assert_eq!(class, FailureClass::Policy);
        let offered = test_ca.profiles().join(", ");
        assert!(said.contains(&format!("no profile `gold`, it offers {offered}")), "{said}");
        let order = acme.open_order(&hosts, Some(test_ca.profiles()[0]), None).await.unwrap();
        let (class, said) = refused(acme.open_order(&BTreeSet::new(), None, None).await);
        assert_eq!(class, FailureClass::Rejected);
        assert!(said.starts_with("the CA did not open the order: "), "{said}");
        assert!(said.contains("(malformed)"), "{said}");
        let csr = Pki::default()
            .request(&hosts, &Pki::default().generate(KeyAlgorithm::EcdsaP256).await.unwrap());
        let early = acme.finalize(&order.url, &csr.unwrap()).await.unwrap();
        assert_eq!(early.status, OrderStatus::Pending);

        let (base, _) = order.url.rsplit_once('/').unwrap();
        let unknown = format!("{base}/nobody");
        assert_eq!(acme.refresh(&unknown).await.unwrap().status, OrderStatus::Gone);
        assert_eq!(acme.accept(&unknown, &Methods::new()).await.unwrap().status, OrderStatus::Gone);
        assert_eq!(acme.finalize(&unknown, &[]).await.unwrap().status, OrderStatus::Gone);
        assert!(acme.download(&unknown).await.is_err());
        assert_eq!(count(&requests, "new_account"), 1);
    })
    .await;
}

#[tokio::test]
async fn one_key_has_one_account_whatever_is_lost() {
    on_both(async |test_ca: &TestCa<'_>| {
        let store = Rc::new(Memory::default());
        let (first, requests) = acme(test_ca, &store);
        let hosts = names(&["a.example.com"]);
        let order = first.open_order(&hosts, None, None).await.unwrap();
        let registered = store.0.borrow().clone().unwrap();
        assert!(requests.lock().unwrap().contains(&("new_account", 201)));

        // The answer to the registration was lost: the CA returns the same account again.
        store.0.borrow_mut().as_mut().unwrap().url = None;
        let (second, requests) = acme(test_ca, &store);
        assert_eq!(second.refresh(&order.url).await.unwrap().status, OrderStatus::Pending);
        assert_eq!(store.0.borrow().as_ref().unwrap().url, registered.url);
        assert!(requests.lock().unwrap().contains(&("new_account", 200)));

        // A stored URL makes a registration unnecessary.
        let (third, requests) = acme(test_ca, &store);
        assert_eq!(third.refresh(&order.url).await.unwrap().status, OrderStatus::Pending);
        assert_eq!(count(&requests, "new_account"), 0);

        // The CA has lost all data: the same key is registered again, and the order is gone.
        test_ca.restart().await;
        // A kept-alive connection may break during the first request.
        let seen =
            eventually(SOON, "the CA to be back", async || third.refresh(&order.url).await.ok());
        assert_eq!(seen.await.status, OrderStatus::Gone);
        assert_eq!(count(&requests, "new_account"), 1);
        assert_eq!(store.0.borrow().as_ref().unwrap().key, registered.key);
        let other = third.open_order(&hosts, None, None).await.unwrap();
        assert_eq!(other.status, OrderStatus::Pending);
    })
    .await;
}
