//! The account's key, rollover and external binding, against both CAs.

use std::cell::RefCell;
use std::rc::Rc;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64URL, Engine};
use ingress_acme::acme::{Acme, Revoked, RevokedBy, thumbprint};
use ingress_acme::pki::{Pki, leaf};
use ingress_acme_actors::domain::certificate::{KeyAlgorithm, PrivateKey};
use ingress_acme_actors::domain::issuance::OrderStatus;
use ingress_acme_actors::ports::{
    CertificateAuthority, ExternalAccount, Keys, PortError, StoredAccount,
};
use ingress_acme_control_plane::{Options, World, retry_when_wedged_with};
use ingress_acme_sim::faults::Chances;

use crate::adapter::{Memory, acme, acme_with, count, finished, issued, names, on_both};
use crate::test_ca::{self, TestCa};

const MAC_KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn pebble_registers_an_account_with_the_right_external_key_and_no_other() {
    let external_accounts = vec![("kid-1".to_owned(), BASE64URL.encode(MAC_KEY))];
    let options = Options { external_accounts, ..test_ca::options() };
    retry_when_wedged_with(3, &options, async |world: &World| {
        let test_ca = TestCa::pebble(world);
        let hosts = names(&["a.example.com"]);
        let asked = async |external: Option<(&str, &[u8])>| {
            let external = external.map(|(kid, hmac)| ExternalAccount {
                kid: kid.to_owned(),
                hmac: hmac.to_vec().into(),
            });
            let store = Rc::new(Memory(RefCell::default(), external));
            let (acme, _) = acme(&test_ca, &store);
            (acme.open_order(&hosts, None, None).await, store)
        };
        for (external, words) in [
            (None, "--eab-secret"),
            (Some(("kid-1", &b"wrong"[..])), "(unauthorized)"),
            (Some(("kid-2", MAC_KEY)), "(unauthorized)"),
        ] {
            let (refused, _) = asked(external).await;
            let Err(PortError::Permanent(failure)) = refused else { panic!("{refused:?}") };
            assert!(failure.detail.contains(words), "{}", failure.detail);
        }
        let (opened, store) = asked(Some(("kid-1", MAC_KEY))).await;
        assert_eq!(opened.unwrap().status, OrderStatus::Pending);
        // After a lost answer, the account is found again, without a second binding.
        let url = store.0.borrow_mut().as_mut().unwrap().url.take();
        assert!(url.is_some());
        let (again, requests) = acme(&test_ca, &store);
        again.open_order(&hosts, None, None).await.unwrap();
        assert_eq!((store.account().url, count(&requests, "new_account")), (url, 1));
    })
    .await;
}

/// Registers an account; returns its store, the adapter and the stored account.
async fn registered(test_ca: &TestCa<'_>) -> (Rc<Memory>, Acme, StoredAccount) {
    let store = Rc::new(Memory::default());
    let (acme, _) = acme(test_ca, &store);
    test_ca.answer(acme.prepare().await.unwrap()).await;
    acme.open_order(&names(&["a.example.com"]), None, None).await.unwrap();
    let account = store.account();
    (store, acme, account)
}

#[tokio::test]
async fn an_operator_goes_on_with_the_new_key_also_with_what_was_in_flight() {
    on_both(async |test_ca: &TestCa<'_>| {
        let (store, operator, before) = registered(test_ca).await;
        let hosts = names(&["b.example.com"]);
        let open = operator.open_order(&hosts, None, None).await.unwrap();

        let (command, requests) = acme(test_ca, &store);
        let done = command.roll_over().await.unwrap();
        assert_eq!(count(&requests, "key_change"), 1);
        let after = store.account();
        assert_eq!(Ok(&done.thumbprint), thumbprint(&after.key).as_ref());
        assert_eq!((Some(&done.url), &after.url), (before.url.as_ref(), &before.url));
        assert_ne!(after.key, before.key);
        assert_eq!(after.next, None);

        // The order was opened with the old key; its challenges are answered with the new key.
        let key = Pki::default().generate(KeyAlgorithm::EcdsaP256).await.unwrap();
        let chain = finished(&operator, &open.url, &hosts, &key).await;
        Pki::default().inspect(&chain, &key).unwrap();
        let revoked = operator.revoke(&leaf(&chain).unwrap(), 0, &RevokedBy::Account).await;
        assert_eq!(revoked, Ok(Revoked::Now));
        issued(&operator, &names(&["a.example.com"]), KeyAlgorithm::EcdsaP256).await;
        assert_eq!(store.account().url, before.url, "no other account was made");

        // The old key no longer works.
        let old = Rc::new(Memory(RefCell::new(Some(before)), None));
        let (thief, _) = acme(test_ca, &old);
        let refused = thief.open_order(&hosts, None, None).await;
        assert!(matches!(refused, Err(PortError::Permanent(_))), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn a_rollover_that_was_cut_off_is_finished_by_whoever_comes_next() {
    on_both(async |test_ca: &TestCa<'_>| {
        let (store, _, before) = registered(test_ca).await;
        let hosts = names(&["a.example.com"]);
        // Killed before the request to the CA: the stored next key becomes the account's key.
        let next = Pki::default().generate(KeyAlgorithm::EcdsaP256).await.unwrap();
        let begun = StoredAccount { next: Some(next.clone()), ..before.clone() };
        *store.0.borrow_mut() = Some(begun.clone());
        let (operator, requests) = acme(test_ca, &store);
        operator.open_order(&hosts, None, None).await.unwrap();
        assert_eq!(store.account(), begun, "the operator does not begin what was not begun");
        assert_eq!(count(&requests, "key_change"), 0);
        acme(test_ca, &store).0.roll_over().await.unwrap();
        let after = store.account();
        assert_eq!((&after.key, &after.next), (&next, &None));

        // Killed after the CA's agreement: the next rollover only stores the key,
        *store.0.borrow_mut() = Some(begun.clone());
        let (command, requests) = acme(test_ca, &store);
        assert_eq!(Some(command.roll_over().await.unwrap().url), before.url);
        assert_eq!((store.account().key, count(&requests, "key_change")), (next.clone(), 0));

        // as does an operator about to register, because no account URL is stored,
        *store.0.borrow_mut() = Some(StoredAccount { url: None, ..begun.clone() });
        let (operator, requests) = acme(test_ca, &store);
        operator.open_order(&hosts, None, None).await.unwrap();
        assert!(!requests.lock().unwrap().contains(&("new_account", 201)), "no second account");
        let after = store.account();
        assert_eq!((&after.key, &after.url), (&next, &before.url));

        // and as does an operator whose request is refused, within the same call.
        *store.0.borrow_mut() = Some(begun);
        let (operator, _) = acme(test_ca, &store);
        issued(&operator, &hosts, KeyAlgorithm::EcdsaP256).await;
        let after = store.account();
        assert_eq!((after.key, after.next, after.url), (next, None, before.url));
    })
    .await;
}

#[tokio::test]
async fn where_the_ca_knows_neither_key_nothing_is_changed() {
    let test_ca = TestCa::simulated();
    let (store, _, _) = registered(&test_ca).await;
    test_ca.restart().await;
    let (command, _) = acme(&test_ca, &store);
    let refused = command.roll_over().await;
    let Err(PortError::Permanent(failure)) = refused else { panic!("{refused:?}") };
    assert!(failure.detail.contains("no account of the key"), "{}", failure.detail);
    let stored = store.account();
    assert!(stored.next.is_some());
    // The operator registers its current key, and a rollover then uses the stored next key.
    let (operator, _) = acme(&test_ca, &store);
    operator.open_order(&names(&["a.example.com"]), None, None).await.unwrap();
    acme(&test_ca, &store).0.roll_over().await.unwrap();
    assert_eq!(Some(store.account().key), stored.next);
    let nobody = acme(&test_ca, &Rc::new(Memory::default())).0.roll_over().await;
    assert!(nobody.is_err(), "there is nothing to roll over");
}

#[tokio::test]
async fn a_next_key_that_is_another_accounts_changes_nothing() {
    on_both(async |test_ca: &TestCa<'_>| {
        let (_, _, other) = registered(test_ca).await;
        let (store, operator, before) = registered(test_ca).await;
        let taken = StoredAccount { next: Some(other.key), ..before.clone() };
        *store.0.borrow_mut() = Some(taken.clone());
        assert!(acme(test_ca, &store).0.roll_over().await.is_err());
        let after = store.account();
        assert_eq!((after.key, after.url), (before.key, before.url));
        operator.open_order(&names(&["b.example.com"]), None, None).await.unwrap();
        // A refused operator does not adopt that key either.
        let stranger = Pki::default().generate(KeyAlgorithm::EcdsaP256).await.unwrap();
        *store.0.borrow_mut() = Some(StoredAccount { key: stranger.clone(), ..taken });
        let (operator, _) = acme(test_ca, &store);
        let refused = operator.open_order(&names(&["b.example.com"]), None, None).await;
        assert!(refused.is_err() && store.account().key == stranger, "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn however_many_answers_are_lost_the_account_is_not() {
    let test_ca = TestCa::simulated();
    let (store, _, before) = registered(&test_ca).await;
    let flaky = Chances { unanswered: 0.2, dropped: 0.1, ..Chances::default() };
    for _ in 0..5 {
        let old = store.account().key;
        test_ca.sim().with(|ca| ca.faults().set(flaky));
        let mut tries = 0;
        while let Err(error) = acme(&test_ca, &store).0.roll_over().await {
            assert!(matches!(error, PortError::Transient { .. }), "{error}");
            tries += 1;
            assert!(tries < 500, "{error}");
        }
        test_ca.sim().with(|ca| ca.faults().set(Chances::default()));
        assert_ne!(store.account().key, old);
        let (operator, requests) = acme(&test_ca, &store);
        operator.open_order(&names(&["a.example.com"]), None, None).await.unwrap();
        assert_eq!((store.account().url, count(&requests, "new_account")), (before.url.clone(), 0));
    }
    assert!(test_ca.sim().with(|ca| ca.faults().met()) > 5);
}

#[tokio::test]
async fn a_next_key_that_nobody_can_read_is_in_nobodys_way() {
    let test_ca = TestCa::simulated();
    let (store, _, before) = registered(&test_ca).await;
    let damaged = Some(PrivateKey::from_pem("hello".to_owned()));
    *store.0.borrow_mut() = Some(StoredAccount { url: None, next: damaged, ..before.clone() });
    let (operator, _) = acme(&test_ca, &store);
    operator.open_order(&names(&["a.example.com"]), None, None).await.unwrap();
    assert_eq!(store.account().url, before.url);
    acme(&test_ca, &store).0.roll_over().await.unwrap();
    let after = store.account();
    assert_eq!((after.url, after.next), (before.url, None));
    assert_ne!(after.key, before.key);
}

#[tokio::test]
async fn a_replica_that_asks_nothing_of_the_ca_follows_too() {
    let test_ca = TestCa::simulated();
    let (store, _, before) = registered(&test_ca).await;
    let thumbprints = Rc::new(RefCell::new(Vec::new()));
    let hears = Rc::clone(&thumbprints);
    let (standby, requests) = acme_with(&test_ca, &store, |options| {
        options.answering = Rc::new(move |thumbprint| hears.borrow_mut().push(thumbprint));
    });
    let old = standby.prepare().await.unwrap();
    standby.follow().await.unwrap();
    assert_eq!(thumbprints.borrow().as_slice(), std::slice::from_ref(&old), "nothing has changed");
    let new = acme(&test_ca, &store).0.roll_over().await.unwrap().thumbprint;
    standby.follow().await.unwrap();
    assert_eq!(*thumbprints.borrow(), [old, new]);
    // A deleted Secret does not stop a replica that has the key.
    *store.0.borrow_mut() = None;
    standby.follow().await.unwrap();
    assert_eq!(requests.lock().unwrap().len(), 0, "the CA is not asked");
    assert_eq!(Ok(&thumbprints.borrow()[0]), thumbprint(&before.key).as_ref());
}
