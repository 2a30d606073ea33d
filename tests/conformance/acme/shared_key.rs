//! The account key that several CAs share, through rollovers that were cut off, on simulated CAs.

use std::rc::Rc;

use async_trait::async_trait;
use ingress_acme::acme::fallback_account::FallbackAccount;
use ingress_acme::acme::shared_rollover::{AtCa, SharedRollover, is_unfinished};
use ingress_acme::acme::{Acme, AcmeOptions};
use ingress_acme_actors::domain::certificate::{KeyAlgorithm, PrivateKey};
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::ports::{
    AccountStore, CertificateAuthority, ExternalAccount, PortError, StoredAccount,
};
use ingress_acme_sim::faults::Chances;

use crate::adapter::{Memory, Requests, acme_over, count, issued, names};
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
