//! Command line of Traefik.

use super::{Controller, ControllerEnvironment};
use crate::error::StartError;
use crate::namespace::ADDRESS;
use crate::process::Program;
use crate::setup::reserve;

/// Starts Traefik with the flags of its Helm chart (those that k3s uses) but for the TLS of its
/// entry point, and further ones.
pub(super) async fn start(
    world: &ControllerEnvironment<'_>,
    further: &[String],
) -> Result<Controller, StartError> {
    let port = reserve()?;
    let name = format!("traefik-{}", world.number);
    let mut args = vec![
        format!("--entryPoints.web.address={ADDRESS}:80/tcp"),
        format!("--entryPoints.websecure.address={ADDRESS}:443/tcp"),
        format!("--entryPoints.traefik.address={}/tcp", port.address()),
        "--ping=true".to_owned(),
        "--providers.kubernetesingress=true".to_owned(),
        "--providers.kubernetesingress.allowEmptyServices=true".to_owned(),
        format!("--providers.kubernetesingress.ingressEndpoint.ip={ADDRESS}"),
        // The namespace has no way out.
        "--global.checkNewVersion=false".to_owned(),
        "--global.sendAnonymousUsage=false".to_owned(),
    ];
    args.extend_from_slice(further);
    let process = Program {
        path: world.setup.binaries.path("traefik"),
        args,
        env: vec![("KUBECONFIG".to_owned(), world.kubeconfig.display().to_string())],
        log: world.setup.directory.path().join(format!("{name}.log")),
        name,
    }
    .start()?;
    world.answers(&process, &format!("http://{}/ping", port.address())).await?;
    Ok(Controller { processes: vec![process], _ports: vec![port] })
}
