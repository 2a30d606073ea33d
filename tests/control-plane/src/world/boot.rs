//! The start of a world: what is made, in which order, and what waits for what.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use super::{Options, World};
use crate::binaries::Binaries;
use crate::directory::{self, Directory};
use crate::dns::Dns;
use crate::error::StartError;
use crate::gateway::Gateway;
use crate::kubernetes::{self, Cluster};
use crate::pebble;
use crate::pki::Authority;
use crate::ports::Port;

/// Starts everything; what has started is ended again when a later part fails.
pub(super) async fn boot(options: Options) -> Result<World, StartError> {
    install_crypto_provider();
    let binaries = tokio::task::spawn_blocking(Binaries::ensure)
        .await
        .map_err(|error| StartError::io("check the binaries")(error.into()))??;
    let directory = Directory::create()?;
    let authority = Authority::new()?;
    let root_file = directory.write("root.pem", authority.root_pem())?;
    let http = http_client(&authority)?;

    let cluster = Cluster::prepare(&directory, reserve, &root_file)?;
    let gateway_port = reserve()?;
    let dns_ports = (reserve()?, reserve()?);
    let ca_ports = pebble::Ports { acme: reserve()?, management: reserve()?, tls_alpn: reserve()? };
    let routes = (&gateway_port, &dns_ports.0);
    let ca = pebble::program(&binaries, &directory, &authority, &ca_ports, routes, &options)?;

    let etcd = cluster.etcd(&binaries, &directory).start()?;
    let dns = Dns::start(&binaries, &directory, dns_ports)?;
    let ca = ca.start()?;
    etcd.readiness()
        .wait(kubernetes::READY_WITHIN, async || cluster.etcd_answers(&http).await)
        .await?;
    let apiserver = cluster.apiserver(&binaries, &directory, &authority)?.start()?;
    dns.ready().await?;
    ca.readiness().wait(pebble::READY_WITHIN, async || ca_ports.answer(&http).await).await?;
    apiserver
        .readiness()
        .wait(kubernetes::READY_WITHIN, async || cluster.api_answers(&http).await)
        .await?;

    let controllers = cluster.controller_manager(&binaries, &directory).start()?;
    let admin = kube_client(&cluster.admin_kubeconfig).await?;
    let gateway = Gateway::start(
        gateway_port.address(),
        cluster.admin_kubeconfig.clone(),
        options.route_delay,
    )?;
    Ok(World {
        gateway,
        controllers,
        ca: Mutex::new(ca),
        dns,
        apiserver: Mutex::new(apiserver),
        etcd,
        ca_ports,
        gateway_port,
        cluster,
        admin,
        http,
        root_pem: authority.root_pem().to_owned(),
        root_file,
        manifest: options.manifest,
        operators: AtomicU32::new(0),
        directory,
    })
}

/// Makes the workspace's provider the default of the process, unless there is
/// one already: kube and reqwest need it.
///
/// Which one it is, the features in the workspace's Cargo.toml say, and only
/// they: asking rustls for any configuration installs the one it was built with.
fn install_crypto_provider() {
    drop(rustls::ClientConfig::builder());
}

/// A free port among those of all worlds on this machine's checkout.
pub(crate) fn reserve() -> Result<Port, StartError> {
    Port::reserve(&directory::shared().join("ports"))
}

/// Trusts this world's servers and nobody else; never asks a proxy.
fn http_client(authority: &Authority) -> Result<reqwest::Client, StartError> {
    let root = reqwest::Certificate::from_pem(authority.root_pem().as_bytes())?;
    // Pebble refuses requests without a User-Agent (RFC 8555 §6.1).
    let client = reqwest::Client::builder().user_agent(env!("CARGO_PKG_NAME")).no_proxy();
    Ok(client.tls_certs_only([root]).build()?)
}

/// A client for the cluster and user of a kubeconfig, on the current runtime.
pub(crate) async fn kube_client(kubeconfig: &Path) -> Result<Client, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Client(error.to_string());
    let kubeconfig = Kubeconfig::read_from(kubeconfig).map_err(|error| failed(&error))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| failed(&error))?;
    Client::try_from(config).map_err(|error| failed(&error))
}
