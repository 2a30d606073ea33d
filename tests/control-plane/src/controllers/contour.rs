//! Command lines of Contour, which reads the cluster, and of Envoy, which serves.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::{Api, Client};

use super::{Controller, ControllerEnvironment};
use crate::error::StartError;
use crate::eventually;
use crate::manifest::apply_yaml;
use crate::namespace::ADDRESS;
use crate::ports::Port;
use crate::process::{Process, Program};
use crate::setup::reserve;

/// Deadline until the API server serves Contour's custom resources.
const SERVED_WITHIN: Duration = Duration::from_mins(1);

/// Socket of Envoy's administration, in Envoy's working directory: a whole path may be too long for
/// a socket.
const ADMIN_SOCKET: &str = "envoy-admin.sock";

/// Changes to a directory, then becomes the command in the arguments.
const IN_DIRECTORY: &str = r#"cd "$0" && exec "$@""#;

/// Ports of Contour and Envoy besides 80 and 443.
struct Ports {
    xds: Port,
    metrics: Port,
    health: Port,
    debug: Port,
    stats: Port,
}

/// Installs the custom resources, and starts both.
pub(super) async fn start(world: &ControllerEnvironment<'_>) -> Result<Controller, StartError> {
    let ports = Ports {
        xds: reserve()?,
        metrics: reserve()?,
        health: reserve()?,
        debug: reserve()?,
        stats: reserve()?,
    };
    let crds = world.setup.binaries.path("contour-crds.yaml");
    install(world.admin, &crds).await?;
    let contour = contour(world, &ports)?;
    world.answers(&contour, &format!("http://{}/healthz", ports.health.address())).await?;
    let envoy = envoy(world, &ports)?;
    // Contour configures this listener of Envoy, with all others.
    world.answers(&envoy, &format!("http://{}/ready", ports.stats.address())).await?;
    let Ports { xds, metrics, health, debug, stats } = ports;
    let ports = vec![xds, metrics, health, debug, stats];
    Ok(Controller { processes: vec![envoy, contour], _ports: ports })
}

async fn install(admin: &Client, crds: &Path) -> Result<(), StartError> {
    let what = format!("read {}", crds.display());
    let yaml = fs::read_to_string(crds).map_err(StartError::io(what))?;
    apply_yaml(admin, &yaml)
        .await
        .map_err(|source| StartError::Install { manifest: crds.to_owned(), source })?;
    let all: Api<CustomResourceDefinition> = Api::all(admin.clone());
    eventually(SERVED_WITHIN, "Contour's custom resources are served", async || {
        let found = all.list(&ListParams::default()).await.ok()?.items;
        found.iter().all(is_established).then_some(())
    })
    .await;
    Ok(())
}

fn is_established(resource: &CustomResourceDefinition) -> bool {
    let conditions = resource.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|met| met.type_ == "Established" && met.status == "True")
}

fn contour(world: &ControllerEnvironment<'_>, ports: &Ports) -> Result<Process, StartError> {
    let mut args = vec![
        "serve".to_owned(),
        format!("--kubeconfig={}", world.kubeconfig.display()),
        "--disable-leader-election".to_owned(),
        "--insecure".to_owned(),
        format!("--ingress-status-address={ADDRESS}"),
    ];
    let flags = [
        ("xds", &ports.xds),
        ("http", &ports.metrics),
        ("health", &ports.health),
        ("debug-http", &ports.debug),
        ("stats", &ports.stats),
    ];
    for (flag, port) in flags {
        args.push(format!("--{flag}-address=127.0.0.1"));
        args.push(format!("--{flag}-port={}", port.number()));
    }
    for (scheme, port) in [("http", 80), ("https", 443)] {
        args.push(format!("--envoy-service-{scheme}-address={ADDRESS}"));
        args.push(format!("--envoy-service-{scheme}-port={port}"));
    }
    let name = format!("contour-{}", world.number);
    Program {
        path: world.setup.binaries.path("contour"),
        args,
        env: Vec::new(),
        log: world.setup.directory.path().join(format!("{name}.log")),
        name,
    }
    .start()
}

fn envoy(world: &ControllerEnvironment<'_>, ports: &Ports) -> Result<Process, StartError> {
    let directory = world.setup.directory.path();
    let config = directory.join("envoy.json");
    bootstrap(world, &ports.xds, &config)?;
    let envoy = world.setup.binaries.path("envoy");
    let name = format!("envoy-{}", world.number);
    let shell = ["-c".to_owned(), IN_DIRECTORY.to_owned(), directory.display().to_string()];
    let envoy = [envoy.display().to_string(), "-c".to_owned(), config.display().to_string()];
    let flags = "--service-cluster contour --service-node envoy --disable-hot-restart";
    let flags = flags.split(' ').map(str::to_owned);
    let args = shell.into_iter().chain(envoy).chain(flags).collect();
    let (path, log) = ("sh".into(), directory.join(format!("{name}.log")));
    Program { name, path, args, env: Vec::new(), log }.start()
}

/// Lets Contour write the configuration with which Envoy finds Contour.
fn bootstrap(
    world: &ControllerEnvironment<'_>,
    xds: &Port,
    config: &Path,
) -> Result<(), StartError> {
    let failed = || StartError::io("write Envoy's configuration with `contour bootstrap`");
    let output = Command::new(world.setup.binaries.path("contour"))
        .arg("bootstrap")
        .arg(config)
        .args(["--xds-address=127.0.0.1", &format!("--xds-port={}", xds.number())])
        .arg(format!("--admin-address={ADMIN_SOCKET}"))
        .output()
        .map_err(failed())?;
    if output.status.success() {
        return Ok(());
    }
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(failed()(std::io::Error::other(problem)))
}
