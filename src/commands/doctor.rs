//! `doctor`: checks of an install and of one Ingress, each in one line with the advice for the
//! reader. The rules are in the domain; this folder collects the facts with the user's own rights.
//!
//! Nothing is written, and the CA is asked for its directory alone. Each fact has a deadline of its
//! own, so that one that never comes hides no other, and the order of the lines is always the same.

mod authority;
mod cluster;
mod deployment;
mod others;
mod policies;
mod rights;
mod site;
mod text;

use std::io::IsTerminal;
use std::process::ExitCode;

use futures_util::{StreamExt, stream};
use ingress_acme_actors::domain::doctor::class::{self, Asked};
use ingress_acme_actors::domain::doctor::network_policy::network_policies;
use ingress_acme_actors::domain::doctor::{
    Check, Finding, any_failed, ca, hosts, install, installs, rights as of_rights,
};
use ingress_acme_actors::domain::ingress::IngressKey;
use ingress_acme_actors::domain::limits;
use kube::Client;
use serde::Serialize;
use tokio::join;

use crate::commands::cli::{DoctorArgs, ReportOutput};
use crate::commands::status::print;
use crate::process::logging::{has_colours, no_color};
use authority::Authorities;
use cluster::Cluster;
use deployment::{Deployments, Setup};
use site::Site;

/// Exit code where a check has failed. A command that could not do its work has 1.
const FAILED: u8 = 3;

/// All findings, with the fields of `-o json`.
#[derive(Debug, Serialize)]
struct Report {
    findings: Vec<Finding>,
    /// Whether one of them is a failure, as the exit code says too.
    failed: bool,
}

/// Runs `doctor`.
pub async fn show(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let client = args.cluster.connect().await?;
    let default = client.default_namespace();
    let key = args.ingress.as_ref().map(|name| name.key(args.namespace.as_deref(), default));
    let key = key.transpose()?;
    let findings = Box::pin(examine(client.clone(), &args, key.as_ref())).await;
    let report = Report { failed: any_failed(&findings), findings };
    let written = print(&match args.output {
        ReportOutput::Table => {
            let is_terminal = std::io::stdout().is_terminal();
            text::table(&report.findings, has_colours(is_terminal, no_color().as_deref()))
        }
        ReportOutput::Json => serde_json::to_string_pretty(&report)?,
        ReportOutput::Yaml => serde_saphyr::to_string(&report)?.trim_end().to_owned(),
    });
    Ok(if report.failed && written == ExitCode::SUCCESS { FAILED.into() } else { written })
}

/// Collects the facts: those that need no other one first.
async fn examine(client: Client, args: &DoctorArgs, key: Option<&IngressKey>) -> Vec<Finding> {
    let cluster = Cluster::greet(client, &args.own_namespace()).await;
    let deployments = Deployments::read(&cluster).await;
    let setup = Setup::of(args, deployments.own.as_ref().ok().and_then(|own| own.first()));
    let (lease, rights, policies, others, classes, authorities, site) = join!(
        cluster.lease(),
        rights::ask(&cluster, &setup),
        policies::read(&cluster, &setup),
        others::find(&cluster, &deployments),
        cluster.classes(),
        Authorities::ask(&cluster, &setup),
        Site::read(&cluster, &setup, key),
    );
    let of_lease = lease.as_ref().ok().and_then(Option::as_ref);
    let mut findings = vec![
        install::api_server(&cluster.version),
        install::deployment(&cluster.own, &deployments.facts()),
        flags(&deployments, &setup),
        install::leader(&lease, cluster.now(), setup.flags.leader_elect),
        of_rights::rights(&rights),
    ];
    findings.extend(authorities.findings());
    findings.extend(authorities.clocks(&cluster, of_lease).iter().map(ca::clocks));
    findings.extend([
        ca::proxy(&setup.proxies()),
        network_policies(&policies::needs(&setup), &policies),
        installs::installs(&setup.serves(), &others),
        class::class(&asked(&site, &setup), &classes),
    ]);
    if let Some(key) = key {
        findings.push(hosts::ingress(&key.to_string(), &site.served));
        findings.extend(of_hosts(&site, &setup, &authorities).await);
    }
    findings
}

/// The class of the Ingress, or those that the operator serves.
fn asked(site: &Site, setup: &Setup) -> Asked {
    let of_flag = || Asked::Flag(setup.flags.serving.ingress_class.clone());
    site.class.clone().unwrap_or_else(of_flag)
}

fn flags(deployments: &Deployments, setup: &Setup) -> Finding {
    if let Some(deployed) = deployments.own.as_ref().ok().and_then(|own| own.first()) {
        return install::flags(
            &deployed.flags.as_ref().map(|flags| flags.shown.clone()).map_err(Clone::clone),
        );
    }
    let supposed = match &setup.cas {
        Some(_) => "the CAs of --cas-file".to_owned(),
        None => format!("the CA {}", setup.directory),
    };
    let why = format!("without a Deployment, the checks suppose {supposed} and no other flag");
    Finding::skipped(Check::Flags, &why)
}

/// Checks a bounded number of hosts, a few at once.
async fn of_hosts(site: &Site, setup: &Setup, authorities: &Authorities) -> Vec<Finding> {
    let looked_at = site.names.iter().take(limits::DOCTOR_HOSTS);
    let probe = match site::probe(setup, authorities) {
        Ok(probe) => probe,
        Err(why) => return vec![Finding::skipped(Check::Dns, &why)],
    };
    let (names, probe) = (&probe.0, &probe.1);
    let issuers = authorities.issuers();
    let findings = stream::iter(looked_at)
        .map(|host| site.look_at(host, (names, probe), &issuers))
        .buffered(limits::DOCTOR_AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let mut findings: Vec<Finding> = findings.into_iter().flatten().collect();
    if let Some(left) = site.names.len().checked_sub(limits::DOCTOR_HOSTS).filter(|left| *left > 0)
    {
        let most = limits::DOCTOR_HOSTS;
        let why = format!("the Ingress has {left} hosts more than the {most} that are looked at");
        findings.push(Finding::skipped(Check::Dns, &why));
    }
    findings
}
