//! Start of a world: its parts, their order and their dependencies.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use ingress_acme_sim::ca::{self, Ca};
use ingress_acme_sim::clock::Clock;
use ingress_acme_sim::dns::Zone;
use ingress_acme_sim::gateway::Gateway;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use super::{Options, Servers, World};
use crate::dns::Dns;
use crate::error::StartError;
use crate::kubernetes::Cluster;
use crate::pebble;
use crate::setup::{Setup, reserve};

/// Starts all parts; if a later part fails, the earlier parts are ended again.
pub(super) async fn boot(options: Options) -> Result<World, StartError> {
    let setup = Setup::prepare().await?;
    let Setup { binaries, directory, root_ca, root_file, http } = &setup;

    let cluster = Cluster::prepare(directory, reserve, root_file)?;
    let gateway_port = reserve()?;
    let dns_ports = (reserve()?, reserve()?);
    let ca_ports = pebble::Ports::reserve(reserve)?;
    let routes = (&gateway_port, &dns_ports.0);
    let ca = pebble::program(&setup, &ca_ports, routes, &options)?;

    let etcd = cluster.etcd(binaries, directory).start()?;
    let dns = Dns::start(binaries, directory, dns_ports)?;
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
    let watched = kube_config(&admin_file).await?;
    let gateway = Gateway::start(gateway_port.address(), watched, options.route_delay)?;
    let simulated = options.simulated_ca.map(|ca| {
        let ca = ca::Options { validation_port: gateway_port.number(), ..ca };
        Ca::start(ca, Clock::default(), Zone::default(), root_ca)
    });
    let simulated_ca = simulated.transpose()?;
    let (ca, apiserver, operators) = (Mutex::new(ca), Mutex::new(apiserver), AtomicU32::new(0));
    let servers = Servers { simulated_ca, gateway, controllers, ca, dns, apiserver, etcd };
    let manifest = options.manifest;
    Ok(World { servers, ca_ports, gateway_port, cluster, admin, manifest, operators, setup })
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
