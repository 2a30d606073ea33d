//! Start of a world: its parts, their order and their dependencies.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use ingress_acme_sim::ca::{self, Ca};
use ingress_acme_sim::clock::Clock;
use ingress_acme_sim::dns::Zone;
use ingress_acme_sim::gateway::Gateway;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use super::{CONTROLLER_PORT, Options, Servers, World};
use crate::dns::Dns;
use crate::error::StartError;
use crate::kubernetes::Cluster;
use crate::pebble;
use crate::ports::Port;
use crate::setup::{Setup, reserve};

/// Starts all parts; if a later part fails, the earlier parts are ended again.
pub(super) async fn boot(options: Options) -> Result<World, StartError> {
    let setup = Setup::prepare().await?;
    let Setup { binaries, directory, root_ca, root_file, http } = &setup;

    let cluster = Cluster::prepare(directory, reserve, root_file)?;
    let gateway_port = options.controller.is_none().then(reserve).transpose()?;
    let validation_port = gateway_port.as_ref().map_or(CONTROLLER_PORT, Port::number);
    let dns_ports = (reserve()?, reserve()?);
    let ca_ports = pebble::Ports::reserve(reserve)?;
    let routes = (validation_port, dns_ports.0.address());
    let ca = pebble::program("pebble", &setup, &ca_ports, routes, &options)?;

    let address = options.controller.unwrap_or(Ipv4Addr::LOCALHOST);
    let etcd = cluster.etcd(binaries, directory).start()?;
    let dns = Dns::start(binaries, directory, dns_ports, address)?;
    let ca = ca.start()?;
    cluster.etcd_ready(&etcd, http).await?;
    let mut apiserver = cluster.apiserver(binaries, directory, root_ca)?;
    apiserver.args.extend(options.apiserver_args.iter().cloned());
    let apiserver = apiserver.start()?;
    dns.ready().await?;
    ca_ports.ready(ca.readiness(), http).await?;
    cluster.api_ready(apiserver.readiness(), http).await?;

    let controllers = cluster.controller_manager(binaries, directory).start()?;
    let admin_file = cluster.admin_kubeconfig.clone();
    let admin = kube_client(&admin_file).await?;
    let gateway = match &gateway_port {
        Some(port) => Some(start_gateway(port, &admin_file, &options).await?),
        None => None,
    };
    let simulated = options.simulated_ca.map(|ca| {
        let ca = ca::Options { validation_port, ..ca };
        Ca::start(ca, Clock::default(), Zone::default(), root_ca)
    });
    let simulated_ca = simulated.transpose()?;
    let (ca, apiserver) = (Mutex::new(ca), Mutex::new(apiserver));
    let started = AtomicU32::new(0);
    let servers = Servers { simulated_ca, gateway, controllers, ca, dns, apiserver, etcd };
    let manifest = options.manifest;
    Ok(World { servers, ca_ports, gateway_port, cluster, admin, manifest, started, setup })
}

async fn start_gateway(
    port: &Port,
    kubeconfig: &Path,
    options: &Options,
) -> Result<Gateway, StartError> {
    let watched = kube_config(kubeconfig).await?;
    Ok(Gateway::start(port.address(), watched, options.route_delay)?)
}

/// Client for the cluster and user of a kubeconfig, on the current runtime.
pub(crate) async fn kube_client(kubeconfig: &Path) -> Result<Client, StartError> {
    let config = kube_config(kubeconfig).await?;
    Client::try_from(config).map_err(|error| StartError::Client(error.to_string()))
}

async fn kube_config(kubeconfig: &Path) -> Result<Config, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Client(error.to_string());
    let kubeconfig = Kubeconfig::read_from(kubeconfig).map_err(|error| failed(&error))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    config.map_err(|error| failed(&error))
}
