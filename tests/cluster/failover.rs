//! Kills, takeovers and freezes on a real API server and a real CA: no state is lost, and no
//! certificate is issued twice.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ingress_acme_control_plane::{
    Operator, OperatorOptions, World, apply_yaml, eventually, retry_when_wedged,
};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::alone;
use crate::sites::{PATIENCE, Site, namespace, secret, verify};

/// Starts an operator whose identity in the Lease is its pod name; a restarted pod takes back its
/// own Lease at once.
async fn start(world: &World, pod: &str) -> Operator {
    let mut options = OperatorOptions::new(env!("CARGO_BIN_EXE_ingress-acme"));
    options.env.push(("POD_NAME".to_owned(), pod.to_owned()));
    world.start_operator(options).await.expect("the operator starts")
}

/// An account with all rights of the operator but the list of the journal's Secrets.
const BLIND: &str = r"
apiVersion: v1
kind: ServiceAccount
metadata: {name: blind, namespace: ingress-acme}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: blind, namespace: ingress-acme}
rules:
  - {apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [create, patch, delete]}
  - {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: blind, namespace: ingress-acme}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: blind}
subjects: [{kind: ServiceAccount, name: blind, namespace: ingress-acme}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: blind}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ingress-acme}
subjects: [{kind: ServiceAccount, name: blind, namespace: ingress-acme}]
";

/// Starts an operator that cannot read the journal.
async fn start_blind(world: &World) -> Operator {
    let client = world.admin();
    apply_yaml(&client, BLIND).await.expect("the account is made");
    let accounts: Api<ServiceAccount> = Api::namespaced(client, "ingress-acme");
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": []}})).unwrap();
    let asked = accounts.create_token_request("blind", &PostParams::default(), &request).await;
    let token = asked.expect("a token").status.expect("a status").token;
    let config = std::fs::read(world.operator_kubeconfig()).expect("a kubeconfig");
    let mut config: Value = serde_json::from_slice(&config).expect("JSON");
    config["users"][0]["user"]["token"] = json!(token);
    let file = world.operator_kubeconfig().with_file_name("blind.kubeconfig");
    std::fs::write(&file, config.to_string()).expect("a file");
    let mut options = OperatorOptions::new(env!("CARGO_BIN_EXE_ingress-acme"));
    options.env.push(("POD_NAME".to_owned(), "blind".to_owned()));
    options.env.push(("KUBECONFIG".to_owned(), file.display().to_string()));
    world.start_operator(options).await.expect("the operator starts")
}

async fn storm(client: &Client, sites: usize) {
    namespace(client, "web").await;
    for n in 0..sites {
        let (name, host) = (format!("s{n}"), format!("s{n}.example.com"));
        Site::new("web", &name, &[&host]).tls(&name, &[&host]).create(client).await;
    }
}

async fn there(client: &Client, sites: usize) -> usize {
    let mut there = 0;
    for n in 0..sites {
        there += usize::from(secret(client, "web", &format!("s{n}")).await.is_some());
    }
    there
}

async fn all_there(world: &World, client: &Client, sites: usize) {
    eventually(PATIENCE, &format!("{sites} certificates"), async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        (there(client, sites).await == sites).then_some(())
    })
    .await;
    for n in 0..sites {
        verify(world, &secret(client, "web", &format!("s{n}")).await.expect("it was there")).await;
    }
    assert_eq!(world.certificates_issued(), sites, "by the CA's own count");
}

/// A leader with at least 5 of 30 certificates done, and a standby.
async fn two_in_a_storm_of_thirty(world: &World, client: &Client) -> (Operator, Operator) {
    let first = start(world, "one").await;
    let second = start(world, "two").await;
    storm(client, 30).await;
    eventually(PATIENCE, "a few certificates", async || {
        (there(client, 30).await >= 5).then_some(())
    })
    .await;
    assert!(leads(&first).await && !leads(&second).await);
    (first, second)
}

async fn leads(operator: &Operator) -> bool {
    shows(operator, "leader 1").await
}

async fn shows(operator: &Operator, metric: &str) -> bool {
    let metrics = reqwest::get(format!("{}/metrics", operator.admin_url())).await;
    let Ok(metrics) = metrics else { return false };
    metrics.text().await.is_ok_and(|text| text.contains(&format!("\ningress_acme_{metric}")))
}

/// A pause of 2 to 5 seconds that differs between runs.
#[expect(clippy::disallowed_methods, reason = "the moment of a kill is to be a random one")]
fn random_pause() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(2_000 + u64::from(now.subsec_nanos()) % 3_000)
}

/// The process restarts in its own place when it loses the Lease, and SIGTERM comes only once.
#[actix::test]
async fn a_leader_that_loses_its_lease_while_it_drains_ends_all_the_same() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        let operator = start(world, "one").await;
        eventually(PATIENCE, "the lead", async || leads(&operator).await.then_some(())).await;
        world.pause_ca().expect("the CA stops");
        storm(&client, 1).await;
        eventually(PATIENCE, "work at the CA", async || {
            let started = r#"journal_records_total{event="issuance_started"} 1"#;
            shows(&operator, started).await.then_some(())
        })
        .await;
        let taken = async {
            tokio::time::sleep(Duration::from_secs(1)).await; // for the signal
            let leases: Api<Lease> = Api::namespaced(client.clone(), "ingress-acme");
            let other = Patch::Merge(json!({"spec": {"holderIdentity": "other"}}));
            leases.patch("ingress-acme", &PatchParams::default(), &other).await.expect("a Lease");
        };
        let (ended, ()) = tokio::join!(operator.terminate(), taken);
        world.resume_ca().expect("the CA goes on");
        assert_eq!(ended.expect("it ends"), 0);
    })
    .await;
}

#[actix::test]
async fn killed_ten_times_in_a_storm_of_sixty_there_are_sixty_certificates() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        let mut operator = start(world, "one").await;
        storm(&client, 60).await;
        for _ in 0..10 {
            tokio::time::sleep(random_pause()).await;
            operator.kill().await;
            operator = start(world, "one").await;
        }
        all_there(world, &client, 60).await;
        let orders = world.orders_created();
        figure!("10 kills: {} certificates of {orders} orders", world.certificates_issued());
        assert!(orders <= 60 + 10 * 4, "an order more only for a URL that was lost: {orders}");
        assert_eq!(operator.terminate().await.expect("it ends"), 0);
    })
    .await;
}

#[actix::test]
async fn another_replica_takes_over_from_a_leader_that_was_killed() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        let (first, second) = two_in_a_storm_of_thirty(world, &client).await;
        let killed = tokio::time::Instant::now();
        first.kill().await;
        eventually(PATIENCE, "a takeover", async || leads(&second).await.then_some(())).await;
        figure!("takeover after {:.1} s", killed.elapsed().as_secs_f64());
        all_there(world, &client, 30).await;
        assert_eq!(second.terminate().await.expect("it ends"), 0);
    })
    .await;
}

/// The other one runs on another node, has other rights, or is of a newer release.
#[actix::test]
async fn a_replica_that_cannot_read_the_journal_leaves_the_lease_to_one_that_can() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        let blind = start_blind(world).await;
        eventually(PATIENCE, "a failed takeover", async || {
            shows(&blind, "journal_unreadable_total 1").await.then_some(())
        })
        .await;
        assert!(!leads(&blind).await, "it does not say that it leads");
        let second = start(world, "two").await;
        eventually(PATIENCE, "a takeover", async || {
            assert!(!leads(&blind).await);
            leads(&second).await.then_some(())
        })
        .await;
        storm(&client, 3).await;
        all_there(world, &client, 3).await;
        assert!(blind.is_running() && leads(&second).await && !leads(&blind).await);
        for replica in [blind, second] {
            assert_eq!(replica.terminate().await.expect("it ends"), 0);
        }
    })
    .await;
}

#[actix::test]
async fn a_leader_that_slept_past_its_lease_wakes_up_as_a_standby() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        let (first, second) = two_in_a_storm_of_thirty(world, &client).await;
        first.signal("STOP").expect("it is frozen");
        eventually(PATIENCE, "a takeover", async || leads(&second).await.then_some(())).await;
        first.signal("CONT").expect("it is thawed");
        all_there(world, &client, 30).await;
        eventually(PATIENCE, "a standby", async || {
            let ready = reqwest::get(format!("{}/readyz", first.admin_url())).await.ok()?;
            (ready.status().is_success() && !leads(&first).await).then_some(())
        })
        .await;
        assert!(first.is_running() && leads(&second).await);
        let token = "a".repeat(43);
        for replica in [&first, &second] {
            let url =
                format!("http://{}/.well-known/acme-challenge/{token}", replica.solver_address());
            assert_eq!(
                reqwest::get(url).await.expect("an answer").status(),
                200,
                "both answer challenges"
            );
        }
        for replica in [first, second] {
            assert_eq!(replica.terminate().await.expect("it ends"), 0);
        }
    })
    .await;
}

/// Answer of one replica to a challenge; `None` without an answer or with any status but 200.
async fn answered(replica: &Operator) -> Option<String> {
    let (solver, token) = (replica.solver_address(), "a".repeat(43));
    let url = format!("http://{solver}/.well-known/acme-challenge/{token}");
    let answer = reqwest::get(url).await.ok()?;
    if answer.status() != 200 {
        return None;
    }
    answer.text().await.ok()
}

#[actix::test]
async fn while_the_api_server_is_away_a_leader_that_starts_anew_answers_challenges_without_a_gap() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        let (first, second) = two_in_a_storm_of_thirty(world, &client).await;
        let answer = answered(&first).await.expect("an answer");
        world.pause_apiserver().expect("the API server is frozen");
        let end = tokio::time::Instant::now() + Duration::from_secs(40);
        let mut asked = 0;
        while tokio::time::Instant::now() < end {
            for replica in [&first, &second] {
                assert_eq!(answered(replica).await.as_ref(), Some(&answer), "after {asked}");
            }
            asked += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = std::fs::read_to_string(first.log_path()).expect("it has a log");
        assert_eq!(log.matches("leadership is lost").count(), 1, "the leader has started anew");
        let ready = reqwest::get(format!("{}/readyz", first.admin_url())).await;
        assert!(ready.is_ok_and(|ready| ready.status() == 200), "so that it stays an endpoint");
        world.resume_apiserver().expect("the API server is thawed");
        all_there(world, &client, 30).await;
        for replica in [first, second] {
            assert_eq!(replica.terminate().await.expect("it ends"), 0);
        }
    })
    .await;
}

#[actix::test]
async fn a_ca_that_freezes_and_an_api_server_that_restarts_in_a_storm_only_delay_it() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        let operator = start(world, "one").await;
        storm(&client, 30).await;
        let some = async |top_k| {
            let what = format!("{top_k} certificates");
            eventually(PATIENCE, &what, async || (there(&client, 30).await >= top_k).then_some(()))
                .await;
        };
        some(5).await;
        world.pause_ca().expect("the CA is frozen");
        tokio::time::sleep(Duration::from_secs(30)).await;
        world.resume_ca().expect("the CA is thawed");
        some(12).await;
        world.restart_apiserver().await.expect("the API server is back");
        all_there(world, &client, 30).await;
        assert!(operator.is_running(), "nothing was restarted by hand");
        assert_eq!(operator.terminate().await.expect("it ends"), 0);
    })
    .await;
}
