//! The measured programs on the real control plane: the bare loop, the operator under a storm, and
//! the storm alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use ingress_acme::commands::storm::figures::Figures;
use ingress_acme::commands::storm::operator::Source;
use ingress_acme::commands::storm::plan::Plan;
use ingress_acme::commands::storm::{LoadOptions, Target, storm};
use ingress_acme_control_plane::{OperatorOptions, World, apply_yaml};
use ingress_acme_sim::free_address;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use procfs::process::Process;
use serde::Deserialize;
use tokio::process::Command;

use super::{AT_ONCE, count};

const OPERATOR: &str = "system:serviceaccount:ingress-acme:ingress-acme";

/// Measurements of the bare loop.
#[derive(Debug)]
pub(super) struct Bare {
    pub(super) output: BareOutput,
    /// CPU time of the API server in seconds.
    pub(super) api_cpu: f64,
}

/// Output of the bare loop.
#[derive(Debug, Deserialize)]
pub(super) struct BareOutput {
    pub(super) seconds: f64,
    /// Time to the first Secret, in seconds.
    pub(super) first: f64,
    pub(super) cpu_seconds: f64,
    pub(super) memory_peak: u64,
}

/// Measurements of one storm under the operator.
pub(super) struct Operated {
    pub(super) figures: Figures,
    /// Shortest time from an Ingress's creation to its Secret, in seconds.
    pub(super) first: f64,
    /// Requests of the operator in the audit log.
    pub(super) audited: u64,
    /// CPU time of the API server in seconds, the storm's own requests included.
    pub(super) api_cpu: f64,
}

pub(super) async fn bare_loop(
    world: &World,
    round: usize,
    certificates: u32,
) -> anyhow::Result<Bare> {
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
    let api_cpu = cpu(world.apiserver_pid())?;
    let ended = tokio::time::timeout(Duration::from_mins(10), ended).await??;
    let api_cpu = cpu(world.apiserver_pid())? - api_cpu;
    world.remove_solver(solver);
    ensure!(ended.status.success(), "the bare loop: {}", String::from_utf8_lossy(&ended.stderr));
    Ok(Bare { output: serde_json::from_slice(&ended.stdout)?, api_cpu })
}

pub(super) async fn operator(
    world: &World,
    round: usize,
    certificates: u32,
) -> anyhow::Result<Operated> {
    let options = OperatorOptions::new(the_operator()).args([format!("--issuers={AT_ONCE}")]);
    let operator = world.start_operator(options).await?;
    let source = Source::url(format!("{}/metrics", operator.admin_url()).parse()?)?;
    leads(&source).await?;
    let target = Target { client: world.admin(), operator: source };
    let plan = plan(format!("real-{round}"), certificates);
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

/// Measures what a storm's own requests cost the API server, in seconds of CPU: Namespaces,
/// Ingresses, the watch of Secrets, and a read of each Secret. The operator watches another
/// namespace, so no certificate comes; the bare loop's Secrets are read in place of the storm's.
pub(super) async fn own_requests(
    world: &World,
    round: usize,
    certificates: u32,
) -> anyhow::Result<f64> {
    let options = OperatorOptions::new(the_operator()).args(["--watch-namespace=default"]);
    let operator = world.start_operator(options).await?;
    let source = Source::url(format!("{}/metrics", operator.admin_url()).parse()?)?;
    leads(&source).await?;
    let target = Target { client: world.admin(), operator: source };
    let options = LoadOptions { rate: None, deadline: Duration::ZERO, quiet: true };
    let api_cpu = cpu(world.apiserver_pid())?;
    storm(&target, &plan(format!("own-{round}"), certificates), &options).await?;
    let secrets: Api<Secret> = Api::namespaced(world.admin(), &format!("bare-{round}"));
    let read = stream::iter(0..certificates)
        .map(async |number| secrets.get(&format!("bare-{number}")).await.map(drop));
    read.buffer_unordered(16).try_collect::<()>().await?;
    let api_cpu = cpu(world.apiserver_pid())? - api_cpu;
    ensure!(operator.terminate().await? == 0, "the idle operator did not end well");
    Ok(api_cpu)
}

fn plan(run: String, ingresses: u32) -> Plan {
    Plan {
        run,
        ingresses,
        edits: 0,
        namespaces: 5,
        names: 1,
        domain: "storm.example.com".into(),
        class: None,
        spec_tls: true,
    }
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
