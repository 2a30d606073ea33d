//! The account key that several CAs share, through rollovers that were cut off, on simulated CAs.

use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use ingress_acme::acme::fallback_account::FallbackAccount;
use ingress_acme::acme::shared_key::SharedKey;
use ingress_acme::acme::shared_rollover::{AtCa, SharedRollover, is_unfinished};
use ingress_acme::acme::{Acme, AcmeOptions};
use ingress_acme_actors::domain::certificate::{KeyAlgorithm, PrivateKey};
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::ports::{
    AccountStore, CertificateAuthority, ExternalAccount, PortError, StoredAccount,
};
use ingress_acme_sim::faults::Chances;
use serde_json::{Value, json};

use crate::adapter::{Memory, Requests, acme_over, acme_with, count, issued, names};
use crate::deviating::{Bend, Passing, bent, is_directory};
use crate::test_ca::TestCa;

/// Two CAs and the stored key.
struct Cas {
    all: [TestCa<'static>; 2],
    key: Rc<Memory>,
}

/// Store of an external account whose Secret is gone.
struct Gone;

#[async_trait(?Send)]
impl AccountStore for Gone {
    async fn load(&self) -> Result<Option<StoredAccount>, PortError> {
        Ok(None)
    }

    async fn create(
        &self,
        _: &PrivateKey,
        _: Option<&PrivateKey>,
    ) -> Result<StoredAccount, PortError> {
        panic!("its key is the shared one")
    }

    async fn replace(&self, _: &StoredAccount) -> Result<Option<StoredAccount>, PortError> {
        panic!("its key is the shared one")
    }

    async fn external_account(&self) -> Result<Option<ExternalAccount>, PortError> {
        Err(PortError::permanent(FailureClass::Rejected, "there is no such Secret"))
    }
}

impl Cas {
    /// Two CAs that know accounts of the key, and the URLs of these.
    async fn registered() -> (Self, [String; 2]) {
        let cas = Self {
            all: [TestCa::simulated(), TestCa::simulated()],
            key: Rc::new(Memory::default()),
        };
        let urls = [cas.account(0).await, cas.account(1).await];
        (cas, urls)
    }

    /// A new process's client of one CA.
    fn client(&self, of: usize) -> (Acme, Requests) {
        self.client_with(of, Rc::new(Memory::default()), |_| {})
    }

    fn client_with(
        &self,
        of: usize,
        external: Rc<dyn AccountStore>,
        change: impl FnOnce(&mut AcmeOptions),
    ) -> (Acme, Requests) {
        let test_ca = &self.all[of];
        let account = FallbackAccount::of_shared(&test_ca.directory(), self.key.clone(), external);
        acme_over(test_ca, Rc::new(account), |options| {
            let all = self.all.each_ref().map(TestCa::answering);
            options.answering = Rc::new(move |new| all.iter().for_each(|set| set(new.clone())));
            change(options);
        })
    }

    /// A client of one CA whose answers are bent.
    fn bent(&self, of: usize, bend: impl Fn(&mut Passing) + Send + Sync + 'static) -> Acme {
        let wire = bent(&self.all[of], bend);
        self.client_with(of, Rc::new(Memory::default()), |options| options.wire = wire).0
    }

    async fn account(&self, of: usize) -> String {
        let (acme, _) = self.client(of);
        acme.prepare().await.unwrap();
        acme.account().await.unwrap()
    }

    /// A run of the command, to its end. Returns the number of CAs whose account has changed.
    async fn run(&self) -> usize {
        let mut run = SharedRollover::begin(self.key.clone()).await.unwrap();
        let mut changed = 0;
        for of in 0..self.all.len() {
            let at = run.at(&self.client(of).0).await.unwrap();
            changed += usize::from(matches!(at, AtCa::Changed));
        }
        run.end().await.unwrap();
        changed
    }

    /// Starts a rollover and cuts it off after a number of its steps: the next key is stored, the
    /// first CA has it, it is the stored key, and the same of the second CA.
    async fn cut_off(&self, after: usize) {
        let mut run = SharedRollover::begin(self.key.clone()).await.unwrap();
        for (of, step) in [(0, 1), (1, 3)] {
            let before = self.key.account();
            if after >= step {
                run.at(&self.client(of).0).await.unwrap();
            }
            if after == step && of == 0 {
                *self.key.0.borrow_mut() = Some(before);
            }
        }
    }
}

#[tokio::test]
async fn an_operator_goes_on_at_each_ca_after_a_rollover_of_the_shared_key_that_was_cut_off() {
    let hosts = names(&["a.example.com"]);
    for (after, order) in
        [(0, [0, 1]), (1, [0, 1]), (1, [1, 0]), (2, [0, 1]), (2, [1, 0]), (3, [1, 0])]
    {
        let (cas, urls) = Cas::registered().await;
        let old = cas.key.account().key;
        cas.cut_off(after).await;
        let clients = [cas.client(0), cas.client(1)];
        clients[order[0]].0.prepare().await.unwrap();
        for of in order.into_iter().chain([0, 1]) {
            // As each replica does once a minute.
            clients[of].0.follow().await.unwrap();
            issued(&clients[of].0, &hosts, KeyAlgorithm::EcdsaP256).await;
            assert_eq!(clients[of].0.account().await.unwrap(), urls[of], "{after} {order:?}");
        }
        assert_eq!(cas.key.account().key == old, after == 0, "only what was begun is finished");
        // The second run of the command has the same new key, and forgets the former one.
        let stored = cas.key.account();
        let new = stored.next.unwrap_or(stored.key);
        assert_eq!(cas.run().await, 2);
        let stored = cas.key.account();
        assert_eq!((&stored.key, is_unfinished(&stored)), (&new, false), "{after} {order:?}");
        assert_eq!([cas.account(0).await, cas.account(1).await], urls);
        // And the next rollover is a new one.
        cas.run().await;
        assert_ne!(cas.key.account().key, new);
        assert_eq!([cas.account(0).await, cas.account(1).await], urls);
    }
}

#[tokio::test]
async fn a_ca_that_is_down_holds_up_no_other_and_is_finished_by_a_second_run_or_the_operator() {
    let hosts = names(&["a.example.com"]);
    for by_operator in [false, true] {
        let (cas, urls) = Cas::registered().await;
        let old = cas.key.account().key;
        let down = Chances { dropped: 1.0, ..Chances::default() };
        cas.all[0].sim().with(|ca| ca.faults().set(down));
        let mut run = SharedRollover::begin(cas.key.clone()).await.unwrap();
        let at = run.at(&cas.client(0).0).await.unwrap();
        assert!(matches!(at, AtCa::Left(_)), "{at:?}");
        assert!(matches!(run.at(&cas.client(1).0).await, Ok(AtCa::Changed)));
        run.end().await.unwrap();
        let new = cas.key.account();
        assert_eq!((new.former.as_ref(), new.key == old), (Some(&old), false));

        cas.all[0].sim().with(|ca| ca.faults().set(Chances::default()));
        if by_operator {
            let (operator, _) = cas.client(0);
            operator.prepare().await.unwrap();
            issued(&operator, &hosts, KeyAlgorithm::EcdsaP256).await;
        }
        assert_eq!(cas.run().await, 2);
        let stored = cas.key.account();
        assert_eq!((stored.key, stored.former), (new.key, None));
        assert_eq!([cas.account(0).await, cas.account(1).await], urls);
    }
}

#[tokio::test]
async fn an_account_of_either_key_is_found_by_the_commands() {
    let (cas, urls) = Cas::registered().await;
    cas.cut_off(1).await;
    for with_former in [false, true] {
        if with_former {
            cas.cut_off(2).await;
        }
        for (of, url) in urls.iter().enumerate() {
            let known = cas.client(of).0.known_issuer().await.unwrap().unwrap();
            assert_eq!(known.account.as_ref(), Some(url));
        }
    }
}

/// An external account is for the registration; its Secret may be deleted after that.
#[tokio::test]
async fn an_account_is_found_again_without_its_external_account() {
    let (cas, urls) = Cas::registered().await;
    let (acme, requests) = cas.client_with(0, Rc::new(Gone), |_| {});
    acme.prepare().await.unwrap();
    assert_eq!(acme.account().await.unwrap(), urls[0]);
    assert_eq!(count(&requests, "new_account"), 1);
}

fn problem(kind: &str) -> Value {
    json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": "no"})
}

fn is_key_change(passing: &Passing) -> bool {
    passing.path.contains("key-change")
}

/// Leads key changes to a resource that does not make them, and answers them with a refusal.
fn refuse_key_change(passing: &mut Passing, kind: &str) {
    passing.edit(is_directory, |directory| {
        let url = directory["keyChange"].as_str().unwrap();
        directory["keyChange"] = format!("{url}/none").into();
    });
    // A key change is the only request whose payload is signed as a whole.
    if passing.asked.get("signature").is_some() {
        passing.refuse(403, &problem(kind));
    }
}

/// An account whose CA has not changed the key is lost with the former key.
#[tokio::test]
async fn a_ca_that_refuses_the_change_keeps_the_former_key_stored() {
    let no_key_change = |passing: &mut Passing| {
        passing.edit(is_directory, |directory| {
            directory.as_object_mut().unwrap().remove("keyChange");
        });
    };
    let refuses = |passing: &mut Passing| refuse_key_change(passing, "unauthorized");
    let is_busy = |passing: &mut Passing| refuse_key_change(passing, "rateLimited");
    let bends: [(Bend, bool); 3] = [(no_key_change, true), (refuses, true), (is_busy, false)];
    for (bend, is_refusal) in bends {
        let (cas, urls) = Cas::registered().await;
        let old = cas.key.account().key;
        let mut run = SharedRollover::begin(cas.key.clone()).await.unwrap();
        let at = run.at(&cas.bent(0, bend)).await.unwrap();
        assert_eq!(matches!(at, AtCa::Refused(_)), is_refusal, "{at:?}");
        assert!(is_refusal || matches!(at, AtCa::Left(_)), "{at:?}");
        assert!(matches!(run.at(&cas.client(1).0).await, Ok(AtCa::Changed)));
        run.end().await.unwrap();
        assert_eq!(cas.key.account().former, Some(old), "{at:?}");
        assert_eq!([cas.account(0).await, cas.account(1).await], urls);
        assert_eq!(cas.run().await, 2, "and a later run ends the rollover");
        assert!(!is_unfinished(&cas.key.account()));
    }
}

/// The file of the command may lack a CA of the operator's, or one that is put back later.
#[tokio::test]
async fn the_account_at_a_ca_that_no_rollover_asked_is_found_after_several() {
    let (cas, urls) = Cas::registered().await;
    for _ in 0..3 {
        let mut run = SharedRollover::begin(cas.key.clone()).await.unwrap();
        assert!(matches!(run.at(&cas.client(1).0).await, Ok(AtCa::Changed)));
        run.end().await.unwrap();
        assert!(!is_unfinished(&cas.key.account()));
    }
    let known = cas.client(0).0.known_issuer().await.unwrap().unwrap();
    assert_eq!(known.account.as_ref(), Some(&urls[0]));
    assert_eq!([cas.account(0).await, cas.account(1).await], urls);
    issued(&cas.client(0).0, &names(&["a.example.com"]), KeyAlgorithm::EcdsaP256).await;
}

#[tokio::test]
async fn the_former_key_of_a_later_run_is_left_to_that_run() {
    let (cas, _) = Cas::registered().await;
    let mut late = SharedRollover::begin(cas.key.clone()).await.unwrap();
    for of in [0, 1] {
        assert!(matches!(late.at(&cas.client(of).0).await, Ok(AtCa::Changed)));
    }
    cas.run().await;
    let first = cas.key.account().key;
    cas.cut_off(2).await;
    assert_eq!(cas.key.account().former.as_ref(), Some(&first));
    late.end().await.unwrap();
    assert_eq!(cas.key.account().former, Some(first));
}

/// Pebble answers 200 to some changes that it does not make, and not every server of a CA knows of
/// a change at once.
#[tokio::test]
async fn a_ca_that_has_agreed_is_asked_whether_the_account_has_the_new_key() {
    for (unknown, is_changed) in [(2, true), (u32::MAX, false)] {
        let (cas, _) = Cas::registered().await;
        let old = cas.key.account().key;
        let (agreed, asked) = (AtomicU32::new(0), AtomicU32::new(0));
        let acme = cas.bent(0, move |passing| {
            agreed.fetch_add(u32::from(is_key_change(passing)), Ordering::Relaxed);
            let is_look_up = passing.asked.get("onlyReturnExisting").is_some();
            let is_after = agreed.load(Ordering::Relaxed) > 0;
            if is_look_up && is_after && asked.fetch_add(1, Ordering::Relaxed) < unknown {
                passing.refuse(400, &problem("accountDoesNotExist"));
            }
        });
        let mut run = SharedRollover::begin(cas.key.clone()).await.unwrap();
        let at = run.at(&acme).await.unwrap();
        assert_eq!(matches!(at, AtCa::Changed), is_changed, "{at:?}");
        assert_eq!(matches!(at, AtCa::Left(_)), !is_changed, "{at:?}");
        assert_eq!(cas.key.account().key == old, !is_changed);
        run.end().await.unwrap();
    }
}

#[tokio::test]
async fn a_ca_that_offers_no_key_change_is_known_before_anything_is_begun() {
    let (cas, _) = Cas::registered().await;
    assert!(cas.client(0).0.changes_keys().await.unwrap());
    let none = cas.bent(0, |passing| {
        passing.edit(is_directory, |directory| directory["keyChange"] = Value::Null);
    });
    assert!(!none.changes_keys().await.unwrap());
}

/// From the flags to a file, a rollover, which may be cut off, and back to the flags.
#[tokio::test]
async fn an_operator_with_flags_again_has_its_account_after_a_rollover_of_the_shared_key() {
    let hosts = names(&["a.example.com"]);
    for steps in 0..=2 {
        let (test_ca, own) = (TestCa::simulated(), Rc::new(Memory::default()));
        let (flags, _) = acme_with(&test_ca, &own, |_| {});
        flags.prepare().await.unwrap();
        let url = flags.account().await.unwrap();
        let before = vec![own.clone() as Rc<dyn AccountStore>];
        let shared = Rc::new(SharedKey::new(Rc::new(Memory::default()), before));
        shared.load().await.unwrap();
        let external = Rc::new(Memory::default());
        let account = FallbackAccount::of_shared(&test_ca.directory(), shared.clone(), external);
        let (acme, _) = acme_over(&test_ca, Rc::new(account), |_| {});
        let mut run = SharedRollover::begin(shared.clone()).await.unwrap();
        if steps > 0 {
            assert!(matches!(run.at(&acme).await, Ok(AtCa::Changed)));
        }
        if steps > 1 {
            run.end().await.unwrap();
        }
        let (flags, _) = acme_with(&test_ca, &own, |_| {});
        flags.prepare().await.unwrap();
        issued(&flags, &hosts, KeyAlgorithm::EcdsaP256).await;
        assert_eq!(flags.account().await.unwrap(), url, "after {steps} steps");
    }
}
