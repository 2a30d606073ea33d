//! `revoke` and `rollover` as users call them, beside a running operator.

use std::path::Path;

use ingress_acme::commands::storm::Simulated;
use ingress_acme_sim::Options;
use ingress_acme_sim::ca::{Ca, Issued};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::commands::{command, output, text};
use crate::{OPERATOR, alone, eventually, plan, simulated, stormed};

/// Outcome of a command, with its whole output.
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) words: String,
}

/// A simulated cluster with an operator, a namespace `web` and an administrator.
pub(crate) struct Cluster {
    pub(crate) simulated: Simulated,
    client: Client,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let simulated = simulated(Options::default()).await;
        let client = simulated.target().unwrap().client;
        let web = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}});
        simulated.world().api().load(web).unwrap();
        Self { simulated, client }
    }

    /// Deletes the account's Secret while no operator runs, and starts another one.
    async fn lose_account(self) -> Self {
        let account = self.account().await.metadata.name.unwrap();
        let world = self.simulated.leave().await.unwrap();
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "ingress-acme");
        secrets.delete(&account, &DeleteParams::default()).await.unwrap();
        let simulated = Simulated::start_in(world, &[], Path::new(OPERATOR)).await.unwrap();
        Self { simulated, client: self.client }
    }

    /// Requests a new certificate for `web/NAME`, and waits for it.
    async fn renew(&self, name: &str) {
        let serial = self.serial(name).await;
        self.ask_for(name, "now").await;
        eventually("a new certificate", async || self.serial(name).await != serial).await;
    }

    /// Requests a new certificate for `web/NAME`.
    async fn ask_for(&self, name: &str, value: &str) {
        let ingresses: Api<Ingress> = Api::namespaced(self.client.clone(), "web");
        let asked = json!({"metadata": {"annotations": {"ingress-acme.dev/renew": value}}});
        ingresses.patch(name, &PatchParams::default(), &Patch::Merge(asked)).await.unwrap();
    }

    pub(crate) fn ca(&self) -> &Ca {
        self.simulated.world().ca()
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Adds the Ingress `web/NAME` and waits for its certificate.
    pub(crate) async fn add(&self, name: &str) {
        self.load(name);
        let secrets = self.secrets("web");
        eventually("its Secret", async || secrets.get_opt(name).await.unwrap().is_some()).await;
    }

    /// Adds the Ingress `web/NAME`.
    fn load(&self, name: &str) {
        let host = format!("{name}.example.com");
        let ingress = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"namespace": "web", "name": name},
            "spec": {"rules": [{"host": host}], "tls": [{"hosts": [host], "secretName": name}]},
        });
        self.simulated.world().api().load(ingress).unwrap();
    }

    /// Number of certificates of an account.
    fn of_account(&self, account: u64) -> usize {
        self.ca().issued().iter().filter(|issued| issued.account == account).count()
    }

    /// Serial number of the certificate in Secret `web/NAME`.
    async fn serial(&self, name: &str) -> String {
        let chain = self.secrets("web").get(name).await.unwrap().data.unwrap().remove("tls.crt");
        let chain = String::from_utf8(chain.unwrap().0).unwrap();
        ingress_acme::pki::inspect(&chain, None).unwrap().serial
    }

    /// The CA's record of a certificate.
    fn issued(&self, serial: &str) -> Issued {
        self.ca().issued().into_iter().find(|issued| issued.serial == serial).unwrap()
    }

    /// Runs a command as the administrator, without a terminal.
    pub(crate) async fn runs(&self, args: &[&str]) -> Said {
        let world = self.simulated.world();
        let mut command = command(args);
        command.env("KUBECONFIG", world.kubeconfig()).arg("--acme-ca-file").arg(world.root_file());
        let output = output(command).await;
        let words = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!words.contains("PRIVATE KEY"), "{words}");
        Said { success: output.status.success(), words }
    }

    pub(crate) async fn account(&self) -> Secret {
        let secrets = self.secrets("ingress-acme").list(&ListParams::default()).await.unwrap();
        let name = |secret: &Secret| secret.metadata.name.clone().unwrap();
        secrets.into_iter().find(|secret| name(secret).contains("-account-")).unwrap()
    }
}

pub(crate) fn field(secret: &Secret, name: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(name)?;
    Some(String::from_utf8(bytes.0.clone()).unwrap())
}

#[actix::test]
async fn a_certificate_is_revoked_when_the_user_says_so_and_followed_by_another() {
    let _alone = alone().await;
    let cluster = Cluster::start().await;
    cluster.add("shop").await;
    let serial = cluster.serial("shop").await;

    let asked = cluster.runs(&["revoke", "web/shop"]).await;
    assert!(!asked.success && asked.words.contains("--yes"), "{}", asked.words);
    for events in ["Secret web/shop", "shop.example.com", &serial, "the ACME account's key"] {
        assert!(asked.words.contains(events), "{events} in {}", asked.words);
    }
    assert_eq!(cluster.issued(&serial).revoked_at, None);

    let args = ["revoke", "web/shop", "--yes", "--reason", "superseded"];
    let done = cluster.runs(&args).await;
    assert!(done.success && done.words.contains("/shop renew requested"), "{}", done.words);
    assert!(cluster.issued(&serial).revoked_at.is_some());
    eventually("another certificate", async || cluster.serial("shop").await != serial).await;
    let next = cluster.serial("shop").await;
    assert_eq!(cluster.issued(&next).revoked_at, None);

    let nothing = cluster.runs(&["revoke", "web/nothing", "--yes"]).await;
    assert!(!nothing.success && nothing.words.contains("no Ingress web/nothing"));
    assert!(cluster.simulated.end().await.unwrap().success());
}

#[actix::test]
async fn the_certificates_own_key_revokes_it_where_that_is_meant_or_all_there_is() {
    let _alone = alone().await;
    let cluster = Cluster::start().await;
    cluster.add("leaked").await;
    cluster.add("other").await;
    let [leaked, other] = [cluster.serial("leaked").await, cluster.serial("other").await];

    let reason = ["--reason", "keyCompromise", "--yes", "--no-renew"];
    let args = [&["revoke", "web/leaked"], &reason[..]].concat();
    let done = cluster.runs(&args).await;
    assert!(done.success && done.words.contains("certificate's own key"), "{}", done.words);
    assert!(cluster.issued(&leaked).revoked_at.is_some());
    let again = cluster.runs(&args).await;
    assert!(again.success && again.words.contains("revoked before"), "{}", again.words);
    let ingresses: Api<Ingress> = Api::namespaced(cluster.client.clone(), "web");
    assert_eq!(ingresses.get("leaked").await.unwrap().metadata.annotations, None);

    let args = ["revoke", "web/other", "--yes", "--namespace", "elsewhere"];
    let done = cluster.runs(&args).await;
    assert!(done.success && done.words.contains("whatever the reason"), "{}", done.words);
    assert!(cluster.issued(&other).revoked_at.is_some());
    assert!(cluster.simulated.end().await.unwrap().success());
}

#[actix::test]
async fn the_account_gets_a_new_key_and_a_running_operator_goes_on() {
    let _alone = alone().await;
    let cluster = Cluster::start().await;
    cluster.add("before").await;
    let old = cluster.account().await;
    let directory = cluster.ca().directory_url();
    let args = ["rollover", "--namespace", "ingress-acme", "--acme-directory", &directory];

    let asked = cluster.runs(&args).await;
    assert!(!asked.success && asked.words.contains("--yes"), "{}", asked.words);
    assert_eq!(cluster.account().await, old);

    let args = [&args[..], &["--yes"]].concat();
    let done = cluster.runs(&args).await;
    assert!(done.success && done.words.contains("has a new key"), "{}", done.words);
    let new = cluster.account().await;
    assert_ne!(field(&new, "account.key"), field(&old, "account.key"));
    for other in ["account.key.next", "account.key.previous"] {
        assert_eq!(field(&new, other), None, "no other key is kept");
    }
    assert_eq!(field(&new, "account.url"), field(&old, "account.url"));

    cluster.add("after").await;
    let done = cluster.runs(&args).await;
    assert!(done.success, "{}", done.words);
    cluster.add("again").await;
    let issued = cluster.ca().issued();
    let accounts: Vec<u64> = issued.iter().map(|issued| issued.account).collect();
    assert_eq!((accounts, cluster.ca().counts().orders), (vec![1, 1, 1], 3));
    assert_eq!(cluster.ca().counts().validations_failed, 0);
    assert!(cluster.simulated.end().await.unwrap().success());
}

#[actix::test]
async fn a_rollover_in_the_middle_of_a_storm_costs_no_certificate_and_no_account() {
    let _alone = alone().await;
    let cluster = Cluster::start().await;
    let directory = cluster.ca().directory_url();
    let args = ["rollover", "--yes", "--namespace", "ingress-acme", "--acme-directory", &directory];
    let in_the_middle = async {
        eventually("the first of them", async || cluster.ca().counts().certificates > 0).await;
        cluster.runs(&args).await
    };
    let plan = plan(60, 0);
    let (figures, done) = tokio::join!(stormed(&cluster.simulated, &plan), in_the_middle);
    assert!(done.success, "{}", done.words);
    assert_eq!((figures.right, cluster.ca().counts().certificates), (60, 60));
    assert!(cluster.ca().issued().iter().all(|issued| issued.account == 1));
    assert!(cluster.simulated.end().await.unwrap().success());
}

/// Every renewal was refused by 403 until the certificates had expired, because `replaces` named a
/// certificate of the lost account (RFC 9773 §5).
#[actix::test]
async fn a_lost_account_is_followed_by_another_one_which_renews_all_certificates() {
    let _alone = alone().await;
    let cluster = Cluster::start().await;
    let names = ["one", "two", "three", "four", "five"];
    for name in names {
        cluster.add(name).await;
    }
    let cluster = cluster.lose_account().await;
    for name in names {
        cluster.renew(name).await;
    }
    let issued = cluster.ca().issued();
    let of_account = |account| issued.iter().filter(|issued| issued.account == account).count();
    assert_eq!((of_account(1), of_account(2)), (5, 5));
    assert_eq!(cluster.ca().counts().validations_failed, 0);
    assert!(cluster.simulated.end().await.unwrap().success());
}

/// Two hundred, because the CA refused each of them by itself: an order with `replaces`, and then
/// one without. The Secret says which account ordered its certificate, so the first is not sent.
#[actix::test]
async fn a_lost_account_costs_two_hundred_certificates_one_order_each() {
    let _alone = alone().await;
    let cluster = Cluster::start().await;
    let names: Vec<String> = (0..200).map(|number| format!("s{number}")).collect();
    for name in &names {
        cluster.load(name);
    }
    eventually("all certificates", async || cluster.of_account(1) == 200).await;
    let cluster = cluster.lose_account().await;
    let noted = cluster.secrets("web").get("s0").await.unwrap().metadata.annotations.unwrap();
    let before = cluster.ca().counts();
    for name in &names {
        cluster.ask_for(name, "first").await;
    }
    eventually("all renewals", async || cluster.of_account(2) >= 200).await;
    let now = cluster.ca().counts();
    let refused = now.requests.get(&("new-order", 403));
    assert_eq!((now.orders - before.orders, refused), (200, None), "{:?}", now.requests);
    let issued = cluster.ca().issued();
    let by_the_next = || issued.iter().filter(|issued| issued.account == 2);
    assert!(by_the_next().all(|issued| issued.replaces.is_none()), "they are not its certificates");

    // The second renewal replaces again, and the Secret names the new account.
    cluster.renew("s0").await;
    let last = cluster.ca().issued().pop().unwrap();
    assert!(last.account == 2 && last.replaces.is_some(), "{last:?}");
    let (account, name) = ("ingress-acme.dev/account", cluster.secrets("web"));
    let new = name.get("s0").await.unwrap().metadata.annotations.unwrap();
    assert!(noted.contains_key(account) && noted[account] != new[account], "{noted:?} {new:?}");
    assert_eq!(cluster.ca().counts().validations_failed, 0);
    assert!(cluster.simulated.end().await.unwrap().success());
}
