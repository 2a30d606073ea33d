//! The worst tenant: one namespace with the worst objects that the API server takes, and with hosts
//! that harm whoever asks them. Another namespace's Ingresses still get their certificates.
//!
//! Ten seconds for a certificate and one second for `/livez` are deadlines of waiting.

mod evil;
mod good;
mod guard;
mod load;
mod memory;
mod objects;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ingress_acme_control_plane::{Operator, OperatorOptions, Options, World};
use ingress_acme_sim::dns::{Dns, Trouble};
use ingress_acme_sim::{ca, free_address};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use tokio::time::{Instant, sleep, timeout_at};

use crate::alone;
use crate::sites::namespace;
use evil::{DOMAIN, Evil};
use good::Good;
use guard::{Figures, Guard};
use load::{CLAIMS, Load, Scale};
use memory::{LIMIT_MIB, MemoryLimit};

/// Longest time from the end of an operator until its successor serves: the Lease's duration, and
/// 10 s.
const BACK_WITHIN: Duration = Duration::from_secs(15 + 10);
/// Identity in the Lease. A restarted pod keeps its name.
const POD: &str = "operator-0";

/// Everything around the operator.
struct Stage<'a> {
    world: &'a World,
    scale: Scale,
    good: Good,
    dns: Dns,
    limit: MemoryLimit,
}

/// An operator with its guard.
struct Guarded {
    operator: Arc<Operator>,
    guard: Guard,
}

#[actix::test]
async fn the_worst_tenant_harms_no_other_tenant() {
    let _alone = alone().await;
    let simulated_ca = Some(ca::Options::default());
    let options = Options { simulated_ca, ..Options::default() };
    let world = World::start_with(options).await.expect("the world starts");
    let stage = Stage::new(&world);
    let _evil = Evil::start(world.gateway_port());
    for name in ["good", "bad"] {
        namespace(&world.admin(), name).await;
    }
    let acts = async {
        let last = stage.play().await;
        stage.good.end();
        last
    };
    // The last operator serves what is still under way.
    let (last, ()) = futures_util::future::join(acts, stage.good.every_second()).await;
    report("second process", &last.guard.end());
    stage.assert_no_host_was_taken().await;
    figure!("worst tenant: {}", stage.good);
}

impl<'a> Stage<'a> {
    fn new(world: &'a World) -> Self {
        let dns = Dns::start().expect("a DNS server");
        dns.zone().set(DOMAIN, Some(Trouble::Dead));
        dns.zone().set(&format!("gone.{DOMAIN}"), Some(Trouble::NxDomain));
        let (scale, good) = (Scale::chosen(), Good::new(world.admin()));
        let limit = MemoryLimit::new(world.directory());
        Self { world, scale, good, dns, limit }
    }

    /// Plays the storm, a restart in the middle, and a calm.
    async fn play(&self) -> Guarded {
        let first = self.spawn();
        first.operator.ready().await.expect("the operator is ready");
        self.good.begin(&first, POD).await;
        self.calm(&first, "alone", Duration::from_secs(5)).await;
        let load = Load::new(self.world.admin(), &self.scale);
        for act in load.acts() {
            let began = Instant::now();
            let objects = load.create(act).await;
            let took = began.elapsed().as_secs_f64();
            let good = self.good.report();
            figure!("worst tenant: {objects} {} in {took:.1} s: {good}, {}", act.name, first.guard);
            first.guard.check();
        }
        self.calm(&first, "before the restart", self.scale.calm).await;
        let second = self.restart(first).await;
        self.calm(&second, "after the restart", self.scale.calm).await;
        second
    }

    /// The claims on the other tenant's hosts gave no certificate.
    async fn assert_no_host_was_taken(&self) {
        let secrets: Api<Secret> = Api::namespaced(self.world.admin(), "bad");
        for number in 0..CLAIMS {
            let taken = secrets.get_opt(&format!("claim-{number}")).await.expect("the API server");
            assert!(taken.is_none(), "claim-{number} has a Secret");
        }
    }

    /// Waits while the guard watches.
    async fn calm(&self, guarded: &Guarded, when: &str, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            guarded.guard.check();
            sleep(Duration::from_millis(250)).await;
        }
        figure!("worst tenant: {when}: {}, {}", self.good.report(), guarded.guard);
    }

    /// Kills the operator and starts another one, which must serve again in time.
    async fn restart(&self, first: Guarded) -> Guarded {
        let killed = Instant::now();
        self.good.forgive(killed, killed + BACK_WITHIN);
        report("first process", &first.guard.end());
        first.operator.kill().await;
        drop(first.operator);
        let second = self.spawn();
        let ready = timeout_at(killed + BACK_WITHIN, second.operator.ready()).await;
        second.guard.check();
        ready.expect("ready in time after the restart").expect("ready after the restart");
        let ready = killed.elapsed().as_secs_f64();
        let served = self.good.serve_one().await;
        figure!(
            "worst tenant: ready {ready:.1} s after the kill, then one served in {served:.1} s"
        );
        self.good.begin(&second, POD).await;
        second
    }

    fn spawn(&self) -> Guarded {
        let health = free_address().expect("a free port");
        let named = std::env::var("INGRESS_ACME_OPERATOR").ok();
        let program = named.as_deref().unwrap_or(env!("CARGO_BIN_EXE_ingress-acme"));
        let program = self.limit.launcher(program);
        let mut options = OperatorOptions::new(program).args([
            format!("--health-bind={health}"),
            format!("--nameserver={}", self.dns.address()),
            // The default of the operator; the world's own is smaller.
            "--issuers=64".to_owned(),
        ]);
        options.env.push(("POD_NAME".to_owned(), POD.to_owned()));
        // Also where the limit is only sampled.
        options.env.push(("MEMORY_LIMIT".to_owned(), (LIMIT_MIB << 20).to_string()));
        let operator = self.world.spawn_operator(options).expect("the operator starts");
        Guarded::new(operator, health)
    }
}

impl Guarded {
    fn new(operator: Operator, health: SocketAddr) -> Self {
        let operator = Arc::new(operator);
        let guard = Guard::start(Arc::clone(&operator), health);
        Self { operator, guard }
    }
}

fn report(process: &str, figures: &Figures) {
    figure!("worst tenant: {process}: {figures}; the limit is {LIMIT_MIB} MiB");
}
