//! The choice among a certificate's chains, against both CAs.

use std::rc::Rc;

use ingress_acme::acme::Acme;
use ingress_acme::pki::{Pki, issuers};
use ingress_acme_actors::domain::certificate::KeyAlgorithm;
use ingress_acme_actors::ports::Keys;
use ingress_acme_control_plane::Options;
use ingress_acme_sim::clock::Clock;
use ingress_acme_sim::trust::verify_chain;
use x509_parser::pem::Pem;

use crate::adapter::{Memory, Requests, acme_with, issued, names, on_both_with};
use crate::test_ca::{self, TestCa};

/// Options for three chains at Pebble.
fn options() -> Options {
    let ca_env = vec![("PEBBLE_ALTERNATE_ROOTS".to_owned(), "2".to_owned())];
    Options { ca_env, ..test_ca::options() }
}

/// Common name of a root certificate.
fn name_of(root: &str) -> String {
    let block = Pem::iter_from_buffer(root.as_bytes()).next().unwrap().unwrap();
    let root = block.parse_x509().unwrap();
    root.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned()
}

fn preferring(test_ca: &TestCa<'_>, store: &Rc<Memory>, name: &str) -> (Acme, Requests) {
    let name = name.to_owned();
    acme_with(test_ca, store, |options| options.preferred_chain = Some(name))
}

/// Number of requests for chains, failed ones included.
fn downloads(requests: &Requests) -> usize {
    requests.lock().unwrap().iter().filter(|(endpoint, _)| *endpoint == "certificate").count()
}

#[tokio::test]
async fn the_chain_of_the_preferred_issuer_is_taken_and_else_the_default() {
    on_both_with(&options(), async |test_ca: &TestCa<'_>| {
        let store = Rc::new(Memory::default());
        let (first, _) = acme_with(test_ca, &store, |_| {});
        test_ca.answer(first.prepare().await.unwrap()).await;
        let hosts = names(&["a.example.com"]);
        let (default, last) = (test_ca.roots().await, test_ca.alternate_root(2).await);
        for (wanted, root) in [(name_of(&last), &last), ("nobody".to_owned(), &default)] {
            let (acme, _) = preferring(test_ca, &store, &wanted);
            let (chain, key) = issued(&acme, &hosts, KeyAlgorithm::EcdsaP256).await;
            Pki::default().inspect(&chain, &key).unwrap();
            verify_chain(&chain, root, &["a.example.com"], Clock::default().now()).unwrap();
            assert_eq!(issuers(&chain).unwrap().last(), Some(&name_of(root)));
        }
    })
    .await;
}

#[tokio::test]
async fn alternates_are_asked_for_only_where_that_may_change_anything() {
    let test_ca = TestCa::simulated();
    let store = Rc::new(Memory::default());
    let (first, plain) = acme_with(&test_ca, &store, |_| {});
    test_ca.answer(first.prepare().await.unwrap()).await;
    let hosts = names(&["a.example.com"]);
    issued(&first, &hosts, KeyAlgorithm::EcdsaP256).await;
    let (second, same) = preferring(&test_ca, &store, &name_of(&test_ca.roots().await));
    issued(&second, &hosts, KeyAlgorithm::EcdsaP256).await;
    let (third, other) = preferring(&test_ca, &store, "nobody");
    issued(&third, &hosts, KeyAlgorithm::EcdsaP256).await;
    assert_eq!([plain, same, other].each_ref().map(downloads), [1, 1, 2]);
}

#[tokio::test]
async fn an_alternate_that_cannot_be_had_costs_no_certificate() {
    let test_ca = TestCa::simulated();
    let store = Rc::new(Memory::default());
    let (acme, requests) = preferring(&test_ca, &store, &name_of(&test_ca.alternate_root(1).await));
    test_ca.answer(acme.prepare().await.unwrap()).await;
    test_ca.sim().with(|ca| ca.break_alternates(true));
    let hosts = names(&["a.example.com"]);
    let (chain, _) = issued(&acme, &hosts, KeyAlgorithm::EcdsaP256).await;
    assert_eq!(issuers(&chain).unwrap().last(), Some(&name_of(&test_ca.roots().await)));
    assert!(requests.lock().unwrap().contains(&("certificate", 500)));
    test_ca.sim().with(|ca| ca.break_alternates(false));
    let (chain, _) = issued(&acme, &hosts, KeyAlgorithm::EcdsaP256).await;
    assert_eq!(issuers(&chain).unwrap().last(), Some(&name_of(&test_ca.alternate_root(1).await)));
}
