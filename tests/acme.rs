//! The ACME adapter against a real CA: each request as it is, each refusal in the CA's own words.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ingress_acme::acme::{Acme, AcmeOptions, thumbprint};
use ingress_acme::keys::Pki;
use ingress_acme::probe::HttpProbe;
use ingress_acme::solver::{Thumbprints, serve};
use ingress_acme_actors::domain::certificate::{KeyAlgorithm, PrivateKey};
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::issuance::{OrderStatus, OrderView, Reach};
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::ports::{AccountStore, Authority, Keys, PortError, Probe, StoredAccount};
use ingress_acme_control_plane::{
    Operator, OperatorOptions, World, apply_yaml, eventually, retry_when_wedged, solver_route,
};

const SOON: Duration = Duration::from_secs(30);

/// An account store that forgets with the test.
#[derive(Default)]
struct Memory(RefCell<Option<StoredAccount>>);

#[async_trait(?Send)]
impl AccountStore for Memory {
    async fn load(&self) -> Result<Option<StoredAccount>, PortError> {
        Ok(self.0.borrow().clone())
    }

    async fn create(&self, key: &PrivateKey) -> Result<StoredAccount, PortError> {
        let new = || StoredAccount { key: key.clone(), url: None, directory: String::new() };
        Ok(self.0.borrow_mut().get_or_insert_with(new).clone())
    }

    async fn set_url(&self, url: &str) -> Result<(), PortError> {
        self.0.borrow_mut().as_mut().unwrap().url = Some(url.to_owned());
        Ok(())
    }
}

/// What the request hook was told: endpoint and status.
type Requests = Arc<Mutex<Vec<(&'static str, u16)>>>;

fn acme(world: &World, store: &Rc<Memory>) -> (Acme, Requests) {
    // The store does not know the directory of a world when it is made.
    if let Some(stored) = store.0.borrow_mut().as_mut() {
        stored.directory = world.acme_directory();
    }
    let requests = Requests::default();
    let seen = Arc::clone(&requests);
    let options = AcmeOptions {
        directory: world.acme_directory(),
        extra_roots: Some(fs::read_to_string(world.acme_ca_file()).unwrap()),
        contacts: vec!["mailto:ops@example.com".to_owned()],
        hook: Arc::new(move |endpoint, status, _| seen.lock().unwrap().push((endpoint, status))),
    };
    (Acme::new(options, Rc::clone(store) as Rc<dyn AccountStore>).unwrap(), requests)
}

/// Requests that went well: the CA refuses some good nonces, to see that they are sent again.
fn count(requests: &Requests, endpoint: &str) -> usize {
    let good = |(asked, status): &&(&str, u16)| *asked == endpoint && *status < 400;
    requests.lock().unwrap().iter().filter(good).count()
}

fn names(hosts: &[&str]) -> BTreeSet<DnsName> {
    hosts.iter().map(|host| DnsName::parse(host).unwrap()).collect()
}

/// Routes both hosts to a solver of ours with this thumbprint; it answers as long as the operator lives.
async fn route(world: &World, thumbprint: String) -> (Operator, HttpProbe) {
    // It ends at once; what counts is that its solver's address is registered.
    let operator = world.spawn_operator(OperatorOptions::new("true")).unwrap();
    let thumbprints = Thumbprints::default();
    thumbprints.add(thumbprint);
    let address = operator.solver_address();
    let (server, _) = serve(address, thumbprints.clone(), Arc::new(|| {})).unwrap();
    tokio::spawn(server);
    apply_yaml(&world.admin(), &solver_route(&["a.example.com", "b.example.com"])).await.unwrap();
    let probe =
        HttpProbe::new(Some(world.nameserver()), world.gateway_port(), thumbprints).unwrap();
    for host in ["a.example.com", "b.example.com"] {
        let host = DnsName::parse(host).unwrap();
        eventually(SOON, "the route to the solver", async || {
            (probe.probe(&host).await == Reach::Reached).then_some(())
        })
        .await;
    }
    (operator, probe)
}

/// Looks at the order until it is no longer `Pending` or `Processing`.
async fn settled(acme: &Acme, url: &str) -> OrderView {
    eventually(SOON, "the order to get on", async || {
        let order = acme.refresh(url).await.unwrap();
        let waits = matches!(order.status, OrderStatus::Pending | OrderStatus::Processing);
        (!waits).then_some(order)
    })
    .await
}

#[tokio::test]
async fn a_certificate_is_issued_also_by_an_instance_that_takes_over() {
    retry_when_wedged(3, async |world: &World| {
        let store = Rc::new(Memory::default());
        let (first, requests) = acme(world, &store);
        let prepared = first.prepare().await.unwrap();
        let key = store.0.borrow().clone().unwrap().key;
        assert_eq!(Ok(&prepared), thumbprint(&key).as_ref());
        assert_eq!(requests.lock().unwrap().len(), 0, "the CA is not asked");
        let _way = route(world, prepared).await;

        let hosts = names(&["a.example.com", "b.example.com"]);
        let opened = first.open_order(&hosts, None).await.unwrap();
        assert_eq!(opened.status, OrderStatus::Pending);
        let asked: BTreeSet<_> = opened.authorizations.iter().map(|a| a.name.clone()).collect();
        assert_eq!(asked, hosts);
        assert!(opened.authorizations.iter().all(|authorization| !authorization.accepted));
        let shown = first.refresh(&opened.url).await.unwrap();
        assert!(shown.authorizations.iter().all(|authorization| !authorization.accepted));
        let accepted = first.accept(&opened.url).await.unwrap();
        assert_eq!(accepted.authorizations.len(), 2);
        assert!(accepted.authorizations.iter().all(|authorization| authorization.accepted));
        assert_eq!(settled(&first, &opened.url).await.status, OrderStatus::Ready);
        assert_eq!((count(&requests, "challenge"), count(&requests, "directory")), (2, 1));

        // A CSR for other names is refused, and the order lives on.
        let private = Pki.generate(KeyAlgorithm::EcdsaP256).await.unwrap();
        let other = Pki.request(&names(&["a.example.com"]), &private).unwrap();
        let refused = first.finalize(&opened.url, &other).await;
        assert!(matches!(refused, Err(PortError::Lasting(_))), "{refused:?}");

        // Another process finds the order by its URL, and finalizes; the first then sends its CSR in vain.
        let (second, _) = acme(world, &store);
        let csr = Pki.request(&hosts, &private).unwrap();
        second.finalize(&opened.url, &csr).await.unwrap();
        assert_eq!(settled(&second, &opened.url).await.status, OrderStatus::Valid);
        let again = first.finalize(&opened.url, &csr).await.unwrap();
        assert_eq!(again.status, OrderStatus::Valid);
        let chain = second.download(&opened.url).await.unwrap();
        let leaf = Pki.inspect(&chain, &private).unwrap();
        assert!(leaf.key_matches);
        assert_eq!(leaf.names, hosts.iter().map(ToString::to_string).collect());
        assert_eq!((world.orders_created(), world.certificates_issued()), (1, 1));
        assert_eq!(count(&requests, "other"), 1, "only the contacts have no endpoint of their own");
    })
    .await;
}

#[tokio::test]
async fn a_host_that_leads_elsewhere_is_named_in_the_cas_words() {
    retry_when_wedged(3, async |world: &World| {
        let (acme, _) = acme(world, &Rc::new(Memory::default()));
        let order = acme.open_order(&names(&["c.example.com"]), None).await.unwrap();
        acme.accept(&order.url).await.unwrap();
        let OrderStatus::Invalid(failure) = settled(&acme, &order.url).await.status else {
            panic!("it cannot be valid")
        };
        assert_eq!(failure.class, FailureClass::Authorization);
        assert!(failure.detail.contains("c.example.com: "), "{}", failure.detail);
        assert!(failure.detail.contains("404"), "{}", failure.detail);
        // Told again to validate, it says the same.
        let told = acme.accept(&order.url).await.unwrap();
        assert!(matches!(told.status, OrderStatus::Invalid(_)), "{told:?}");
    })
    .await;
}

#[tokio::test]
async fn refusals_are_told_and_what_the_ca_does_not_know_is_gone() {
    retry_when_wedged(3, async |world: &World| {
        let (acme, requests) = acme(world, &Rc::new(Memory::default()));
        let hosts = names(&["a.example.com"]);
        let refused = |error: Result<OrderView, PortError>| match error {
            Err(PortError::Lasting(failure)) => (failure.class, failure.detail),
            other => panic!("{other:?}"),
        };
        let (class, said) = refused(acme.open_order(&hosts, Some("gold")).await);
        assert_eq!(class, FailureClass::Rejected);
        assert!(said.contains("no profile `gold`, it offers default"), "{said}");
        let order = acme.open_order(&hosts, Some("default")).await.unwrap();
        let (class, said) = refused(acme.open_order(&BTreeSet::new(), None).await);
        assert_eq!(class, FailureClass::Rejected);
        assert!(said.starts_with("the CA did not open the order: "), "{said}");
        assert!(said.contains("(malformed)"), "{said}");
        let csr = Pki.request(&hosts, &Pki.generate(KeyAlgorithm::EcdsaP256).await.unwrap());
        let early = acme.finalize(&order.url, &csr.unwrap()).await.unwrap();
        assert_eq!(early.status, OrderStatus::Pending);

        let (base, _) = order.url.rsplit_once('/').unwrap();
        let unknown = format!("{base}/nobody");
        assert_eq!(acme.refresh(&unknown).await.unwrap().status, OrderStatus::Gone);
        assert_eq!(acme.accept(&unknown).await.unwrap().status, OrderStatus::Gone);
        assert_eq!(acme.finalize(&unknown, &[]).await.unwrap().status, OrderStatus::Gone);
        assert!(acme.download(&unknown).await.is_err());
        assert_eq!(count(&requests, "new_account"), 1);
    })
    .await;
}

#[tokio::test]
async fn one_key_has_one_account_whatever_is_lost() {
    retry_when_wedged(3, async |world: &World| {
        let store = Rc::new(Memory::default());
        let (first, requests) = acme(world, &store);
        let hosts = names(&["a.example.com"]);
        let order = first.open_order(&hosts, None).await.unwrap();
        let registered = store.0.borrow().clone().unwrap();
        assert!(requests.lock().unwrap().contains(&("new_account", 201)));

        // The answer to the registration was lost: the CA tells it once more.
        store.0.borrow_mut().as_mut().unwrap().url = None;
        let (second, requests) = acme(world, &store);
        assert_eq!(second.refresh(&order.url).await.unwrap().status, OrderStatus::Pending);
        assert_eq!(store.0.borrow().as_ref().unwrap().url, registered.url);
        assert!(requests.lock().unwrap().contains(&("new_account", 200)));

        // With its URL nothing is registered.
        let (third, requests) = acme(world, &store);
        assert_eq!(third.refresh(&order.url).await.unwrap().status, OrderStatus::Pending);
        assert_eq!(count(&requests, "new_account"), 0);

        // The CA has lost everything: the same key is registered anew, and the order is gone.
        world.restart_ca().await.unwrap();
        assert_eq!(third.refresh(&order.url).await.unwrap().status, OrderStatus::Gone);
        assert_eq!(count(&requests, "new_account"), 1);
        assert_eq!(store.0.borrow().as_ref().unwrap().key, registered.key);
        let other = third.open_order(&hosts, None).await.unwrap();
        assert_eq!(other.status, OrderStatus::Pending);
    })
    .await;
}
