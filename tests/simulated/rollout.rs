//! Replicas that end while the CA validates, behind a gateway that follows endpoints 5 s late and
//! sends each request to one of them. The times are those of the gateway and of the operator;
//! asserted are counts and an order of events.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use ingress_acme_sim::kube::User;
use ingress_acme_sim::{Options, World, ca, free_address};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::{OPERATOR, PATIENCE, alone, eventually};

/// Time by which the gateway is late.
const LATE: Duration = Duration::from_secs(5);
const SITES: usize = 160;

/// One pod of the Deployment.
struct Pod {
    name: String,
    process: Child,
    admin: SocketAddr,
    solver: SocketAddr,
}

impl Pod {
    /// Starts a pod, and adds it to the endpoints once it is ready.
    async fn start(world: &World, name: &str, flags: &[&str]) -> Self {
        let (admin, solver) = (free_address().unwrap(), free_address().unwrap());
        let binds = ["admin", "metrics", "health"].map(|port| format!("--{port}-bind={admin}"));
        let log = std::fs::File::create(world.directory().join(format!("{name}.log"))).unwrap();
        let process = Command::new(OPERATOR)
            .arg("run")
            .args(world.operator_flags().into_iter().chain(binds))
            .args([format!("--solver-bind={solver}"), "--issuers=16".to_owned()])
            .args(flags)
            .env("KUBECONFIG", world.operator_kubeconfig())
            .env("POD_NAME", name)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pod = Self { name: name.to_owned(), process, admin, solver };
        eventually("a ready pod", async || pod.is_ready().await == Some(true)).await;
        world.add_solver(solver);
        pod
    }

    /// Whether the pod is ready; `None` without an answer.
    async fn is_ready(&self) -> Option<bool> {
        let answer = reqwest::get(format!("http://{}/readyz", self.admin)).await.ok()?;
        Some(answer.status().is_success())
    }

    async fn leads(&self) -> bool {
        let Ok(answer) = reqwest::get(format!("http://{}/metrics", self.admin)).await else {
            return false;
        };
        answer.text().await.is_ok_and(|text| text.contains("\ningress_acme_leader 1"))
    }

    async fn answers_challenges(&self) -> bool {
        let url = format!("http://{}/.well-known/acme-challenge/{}", self.solver, "a".repeat(43));
        reqwest::get(url).await.is_ok_and(|answer| answer.status() == 200)
    }

    fn signal(&self, signal: Signal) {
        let pid = self.process.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.unwrap(), signal).unwrap();
    }

    async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.process.wait()).await.unwrap().unwrap()
    }

    /// Ends the pod as a kubelet does: the signal, and the endpoints follow.
    async fn end(mut self, world: &World) {
        self.signal(Signal::TERM);
        world.remove_solver(self.solver);
        assert!(self.ended().await.success());
    }
}

fn world() -> World {
    let validation_delay = Duration::from_secs(2);
    let ca = ca::Options { validation_delay, ..ca::Options::default() };
    let world = World::start(Options { ca, ..Options::default() }).unwrap();
    world.gateway().state().follow_endpoints(LATE);
    world
}

fn client(world: &World) -> Client {
    Client::try_from(world.api().config(User::Admin)).unwrap()
}

async fn create_sites(client: &Client) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let web = serde_json::from_value(json!({"metadata": {"name": "web"}})).unwrap();
    namespaces.create(&PostParams::default(), &web).await.unwrap();
    let api: Api<Ingress> = Api::namespaced(client.clone(), "web");
    for n in 0..SITES {
        let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
        let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
        let ingress = json!({
            "metadata": {"name": format!("s{n}")},
            "spec": {"rules": [{"host": format!("s{n}.example.com"), "http": {"paths": [path]}}]},
        });
        let ingress = serde_json::from_value(ingress).unwrap();
        api.create(&PostParams::default(), &ingress).await.unwrap();
    }
}

async fn there(client: &Client) -> usize {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "web");
    secrets.list(&ListParams::default()).await.unwrap().items.len()
}

/// Rolls two replicas out in the middle of a storm: two new pods, and then the old ones end, first
/// the standby beside a working leader, then that leader. Returns the world with the new pods.
async fn rolled_out(flags: &[&str]) -> (World, [Pod; 2]) {
    let world = world();
    let leader = Pod::start(&world, "a", flags).await;
    eventually("a leader", async || leader.leads().await).await;
    let standby = Pod::start(&world, "b", flags).await;
    sleep(LATE).await; // both are in the endpoints
    let client = client(&world);
    create_sites(&client).await;
    eventually("a few certificates", async || there(&client).await >= 3).await;
    let new = [Pod::start(&world, "c", flags).await, Pod::start(&world, "d", flags).await];
    for pod in [standby, leader] {
        assert!(there(&client).await < SITES, "in the middle of the storm");
        pod.end(&world).await;
    }
    (world, new)
}

#[actix::test]
async fn a_rollout_in_the_middle_of_validations_fails_none_of_them() {
    let _alone = alone().await;
    let (world, new) = rolled_out(&[]).await;
    let client = client(&world);
    eventually("all certificates", async || there(&client).await == SITES).await;
    let counts = world.ca().counts();
    assert_eq!((counts.validations_failed, counts.certificates), (0, SITES as u64), "{counts:?}");
    for pod in new {
        pod.signal(Signal::KILL);
    }
}

#[actix::test]
async fn without_the_solver_linger_the_same_rollout_fails_validations() {
    let _alone = alone().await;
    let (world, _new) = rolled_out(&["--solver-linger=0s"]).await;
    eventually("a failed validation", async || world.ca().counts().validations_failed > 0).await;
}

async fn holder(client: &Client) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "ingress-acme");
    leases.get_opt("ingress-acme").await.unwrap()?.spec?.holder_identity
}

#[actix::test]
async fn a_standby_and_an_idle_leader_that_end_are_not_ready_but_answer_challenges() {
    let _alone = alone().await;
    let world = world();
    let mut leader = Pod::start(&world, "a", &["--solver-linger=35s"]).await;
    eventually("a leader", async || leader.leads().await).await;
    let mut standby = Pod::start(&world, "b", &["--solver-linger=35s"]).await;
    standby.signal(Signal::TERM);
    eventually("not ready", async || standby.is_ready().await == Some(false)).await;
    assert!(standby.answers_challenges().await);
    leader.signal(Signal::TERM);
    eventually("not ready", async || leader.is_ready().await == Some(false)).await;
    assert!(leader.answers_challenges().await);

    // Another one leads meanwhile.
    let next = Pod::start(&world, "c", &[]).await;
    eventually("the next leader", async || next.leads().await && !leader.leads().await).await;
    assert_eq!(holder(&client(&world)).await, Some(next.name.clone()));
    for pod in [&mut standby, &mut leader] {
        assert!(pod.answers_challenges().await && pod.process.try_wait().unwrap().is_none());
        pod.signal(Signal::INT); // Ctrl-C: a person waits
        assert!(pod.ended().await.success());
    }
}
