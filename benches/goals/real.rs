//! Goals on the real control plane with the simulated CA: a storm of 500, alternating with the bare
//! loop.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use ingress_acme::commands::storm::figures::Figures;
use ingress_acme::commands::storm::operator::Source;
use ingress_acme::commands::storm::plan::Plan;
use ingress_acme::commands::storm::{LoadOptions, Target, storm};
use ingress_acme_control_plane::{OperatorOptions, Options, World, apply_yaml};
use ingress_acme_sim::{ca, free_address};
use procfs::process::Process;
use serde::Deserialize;
use tokio::process::Command;

use crate::table::Goals;

const CERTIFICATES: u32 = 500;
/// Certificates of a storm at a CA that validates within the request.
const QUICK_CERTIFICATES: u32 = 300;
const AT_ONCE: u32 = 16;
/// Number of rounds; the table shows their median.
const ROUNDS: usize = 3;
const OPERATOR: &str = "system:serviceaccount:ingress-acme:ingress-acme";
const MIB: f64 = 1024.0 * 1024.0;

/// Output of the bare loop.
#[derive(Debug, Deserialize)]
struct Bare {
    seconds: f64,
    cpu_seconds: f64,
    memory_peak: u64,
}

/// Measurements of one storm under the operator.
struct Operated {
    figures: Figures,
    /// Shortest time from an Ingress's creation to its Secret, in seconds.
    first: f64,
    /// Requests of the operator in the audit log.
    audited: u64,
    /// CPU time of the API server in seconds, the storm's own requests included.
    api_cpu: f64,
}

/// Measures the goals and adds their rows.
pub(crate) async fn measure(goals: &mut Goals) -> anyhow::Result<()> {
    eprintln!("{CERTIFICATES} certificates on the real control plane, {AT_ONCE} at once:");
    let simulated_ca = Some(ca::Options::default());
    let world = World::start_with(Options { simulated_ca, ..Options::default() }).await?;
    let (mut bare, mut operated) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let floor = bare_loop(&world, round, CERTIFICATES).await?;
        let ours = operator(&world, round, CERTIFICATES).await?;
        print_round(round, &floor, &ours);
        bare.push(floor);
        operated.push(ours);
    }
    let ratios = bare.iter().zip(&operated).map(|(bare, ours)| ours.figures.seconds / bare.seconds);
    goals.at_most("storm of 500, time over the bare loop's", 1.3, median(ratios), " ×");
    rows(goals, &operated);
    Ok(())
}

/// Measures a storm with a CA that validates within the request, alternating with the bare loop.
/// `STORM_QUICK` is the number of certificates, for a trial.
pub(crate) async fn measure_quick_ca(goals: &mut Goals) -> anyhow::Result<()> {
    let named = std::env::var("STORM_QUICK").ok().and_then(|number| number.parse().ok());
    let certificates: u32 = named.unwrap_or(QUICK_CERTIFICATES);
    eprintln!("{certificates} certificates, the CA validates within the request:");
    let ca = ca::Options { validate_within_request: true, ..ca::Options::default() };
    let world = World::start_with(Options { simulated_ca: Some(ca), ..Options::default() }).await?;
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let bare = bare_loop(&world, round, certificates).await?.seconds;
        let ours = operator(&world, round, certificates).await?.figures.seconds;
        eprintln!("  round {round}: bare loop {bare:.2} s, operator {ours:.2} s");
        ratios.push(ours / bare);
    }
    let what =
        format!("storm of {certificates} at a CA that validates at once, over the bare loop");
    goals.at_most(&what, 1.3, median(ratios.into_iter()), " ×");
    Ok(())
}

fn print_round(round: usize, bare: &Bare, ours: &Operated) {
    let times = ours.figures.time_to_secret;
    eprintln!(
        "  round {round}: bare loop {:.2} s, {:.2} ms CPU each, {:.0} MiB; operator {:.2} s, p50 {:.2} s, p99 {:.2} s",
        bare.seconds,
        1000.0 * bare.cpu_seconds / f64::from(CERTIFICATES),
        mebibytes(bare.memory_peak),
        ours.figures.seconds,
        times.map_or(0.0, |times| times.p50),
        times.map_or(0.0, |times| times.p99),
    );
    let kinds = ours.figures.kube_requests.iter();
    let kinds: Vec<String> =
        kinds.map(|of| format!("{} {} {}", of.count, of.verb, of.resource)).collect();
    eprintln!("    requests: {}", kinds.join(", "));
}

fn rows(goals: &mut Goals, operated: &[Operated]) {
    let each = |of: &dyn Fn(&Operated) -> f64| median(operated.iter().map(of));
    let certificates = f64::from(CERTIFICATES);
    goals.at_most("  first Secret after its Ingress", 3.0, each(&|ours| ours.first), " s");
    goals.at_most("  p99 over the whole", 1.0, each(&share_of_p99), " ×");
    let audited = each(&|ours| count(ours.audited) / certificates);
    goals.at_most("  API requests a certificate, audit log", 5.0, audited, "");
    let cpu = each(&|ours| ours.figures.cpu_ms_per_certificate);
    goals.at_most("  operator's CPU a certificate", 6.0, cpu, " ms");
    let api_cpu = each(&|ours| 1000.0 * ours.api_cpu / certificates);
    goals.at_most("  API server's CPU a certificate, the storm's own too", 15.0, api_cpu, " ms");
    let memory = |of: fn(&Figures) -> u64| each(&|ours| mebibytes(of(&ours.figures)));
    goals.at_most("  operator's memory, peak", 40.0, memory(|of| of.memory_peak), " MiB");
    goals.at_most(
        "  operator's memory, idle and empty",
        20.0,
        memory(|of| of.memory_before),
        " MiB",
    );
    for ours in operated {
        let certificates = ours.figures.certificates;
        goals.exactly("  certificates for 500 Ingresses", CERTIFICATES.into(), certificates);
    }
}

fn share_of_p99(ours: &Operated) -> f64 {
    ours.figures.time_to_secret.map_or(f64::INFINITY, |times| times.p99) / ours.figures.seconds
}

async fn bare_loop(world: &World, round: usize, certificates: u32) -> anyhow::Result<Bare> {
    let (namespace, domain) = (format!("bare-{round}"), format!("bare-{round}.example.com"));
    apply_yaml(&world.admin(), &routed(&namespace, &domain)).await?;
    let solver = free_address()?;
    world.add_solver(solver);
    let ended = Command::new(beside_the_operator("examples/bare_loop"))
        .args([
            "--directory",
            &world.acme_directory(),
            "--namespace",
            &namespace,
            "--domain",
            &domain,
        ])
        .arg("--ca-file")
        .arg(world.acme_ca_file())
        .args(["--solver-bind", &solver.to_string()])
        .args(["--certificates", &certificates.to_string(), "--at-once", &AT_ONCE.to_string()])
        .env("KUBECONFIG", world.operator_kubeconfig())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(Duration::from_mins(10), ended).await??;
    world.remove_solver(solver);
    ensure!(ended.status.success(), "the bare loop: {}", String::from_utf8_lossy(&ended.stderr));
    Ok(serde_json::from_slice(&ended.stdout)?)
}

async fn operator(world: &World, round: usize, certificates: u32) -> anyhow::Result<Operated> {
    let options = OperatorOptions::new(the_operator()).args([format!("--issuers={AT_ONCE}")]);
    let operator = world.start_operator(options).await?;
    let source = Source::url(format!("{}/metrics", operator.admin_url()).parse()?)?;
    leads(&source).await?;
    let target = Target { client: world.admin(), operator: source };
    let plan = Plan {
        run: format!("real-{round}"),
        ingresses: certificates,
        edits: 0,
        namespaces: 5,
        names: 1,
        domain: "storm.example.com".into(),
        class: None,
        spec_tls: true,
    };
    let options = LoadOptions { rate: None, deadline: Duration::from_mins(10), quiet: true };
    // Keeps the operator's start out of the storm's figures.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (audited, api_cpu) = (audited(world), cpu(world.apiserver_pid())?);
    let run = storm(&target, &plan, &options).await?;
    let (audited, api_cpu) =
        (self::audited(world) - audited, cpu(world.apiserver_pid())? - api_cpu);
    ensure!(
        operator.terminate().await? == 0,
        "the operator did not end well: {}",
        operator.log_path().display()
    );
    let first =
        run.rows.iter().filter_map(|row| Some(row.written?.saturating_sub(row.made?))).min();
    let first = first.context("no Secret came")?.as_secs_f64();
    Ok(Operated { figures: Figures::of(&run), first, audited, api_cpu })
}

/// Waits until the operator leads.
async fn leads(source: &Source) -> anyhow::Result<()> {
    let led = async {
        while source.sample().await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), led).await.context("the operator does not lead")
}

fn audited(world: &World) -> u64 {
    let ours = world.audit().into_iter().filter(|entry| entry.user == OPERATOR).count();
    u64::try_from(ours).unwrap()
}

/// YAML of a Namespace, and of an Ingress that routes all hosts of `domain` to the solver. The
/// Ingress is disabled for the operator.
fn routed(namespace: &str, domain: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {namespace}, namespace: ingress-acme, annotations: {{ingress-acme.dev/enabled: \"false\"}}}}
spec:
  rules:
    - host: \"*.{domain}\"
      http:
        paths:
          - path: /.well-known/acme-challenge/
            pathType: Prefix
            backend: {{service: {{name: ingress-acme-solver, port: {{number: 80}}}}}}
"
    )
}

/// CPU time of a process so far, in seconds.
fn cpu(pid: u32) -> anyhow::Result<f64> {
    let stat = Process::new(i32::try_from(pid)?)?.stat()?;
    Ok(count(stat.utime + stat.stime) / count(procfs::ticks_per_second()))
}

/// Path of the measured program: `INGRESS_ACME_OPERATOR`, or else the binary built with this bench.
pub(crate) fn the_operator() -> PathBuf {
    let named = std::env::var_os("INGRESS_ACME_OPERATOR").map(PathBuf::from);
    let named = named.and_then(|path| path.canonicalize().ok());
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_ingress-acme").into())
}

/// Path of `name` in the directory of this build's operator.
pub(crate) fn beside_the_operator(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_ingress-acme")).parent().unwrap().join(name)
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn count(count: u64) -> f64 {
    count as f64
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    count(bytes) / MIB
}
