//! The bare loop: the cost of a certificate without an operator. This cost is the floor that the
//! operator is measured against.
//!
//! Makes N certificates, some at once: order, accept the challenges, wait until the order is ready,
//! finalize, download, apply one Secret. The ACME library is used unmodified, with its own HTTP
//! client and its own pauses. There is no watch, queue, journal, probe or Event. The operator's
//! solver answers the challenges, and the hosts must already lead to the solver.
//!
//! Prints one line of JSON with seconds, time to the first Secret, CPU time and peak memory of this
//! process.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use futures_util::{StreamExt, TryStreamExt, stream};
use ingress_acme::dns_and_http::solver::{Thumbprint, serve, socket};
use ingress_acme_actors::reporting::metrics::Metrics;
use instant_acme::{
    Account, ChallengeType, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Config};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde_json::json;
use tokio::time::Instant;

/// Attempts per certificate: a CA sometimes answers serverInternal.
const TRIES: u32 = 3;

#[derive(Parser)]
struct Args {
    /// ACME directory
    #[arg(long)]
    directory: String,
    /// Root certificate of the directory's TLS
    #[arg(long)]
    ca_file: PathBuf,
    /// Listen address of the challenge solver
    #[arg(long)]
    solver_bind: SocketAddr,
    /// Namespace of the Secrets
    #[arg(long)]
    namespace: String,
    /// Parent domain of the hosts
    #[arg(long)]
    domain: String,
    /// Number of certificates
    #[arg(long)]
    certificates: u32,
    /// Number of certificates made at once
    #[arg(long)]
    at_once: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        bail!("another cryptography provider is installed");
    }
    actix::System::new().block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    let new =
        NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
    let builder = Account::builder_with_root(&args.ca_file)?;
    let (account, _) = builder.create(&new, args.directory.clone(), None).await?;
    let thumbprint = Thumbprint::default();
    thumbprint.set(account.key_thumbprint().to_owned());
    let (server, _) = serve(socket(args.solver_bind)?, thumbprint, &Metrics::default())?;
    actix::spawn(server);
    let mut config = Config::infer().await?;
    config.default_retry = false;
    let client = Client::try_from(config)?;
    let secrets: Api<Secret> = Api::namespaced(client, &args.namespace);

    let (began, orders, first) = (Instant::now(), Cell::new(0), Cell::new(None));
    stream::iter(0..args.certificates)
        .map(async |number| {
            certificate(&account, &secrets, &args.domain, number, &orders).await?;
            first.set(first.get().or_else(|| Some(began.elapsed().as_secs_f64())));
            anyhow::Ok(())
        })
        .buffer_unordered(args.at_once)
        .try_collect::<()>()
        .await?;
    let seconds = began.elapsed().as_secs_f64();
    let (cpu, peak) = itself()?;
    println!(
        "{}",
        json!({
            "certificates": args.certificates, "orders": orders.get(), "seconds": seconds,
            "first": first.get(), "cpu_seconds": cpu, "memory_peak": peak,
        })
    );
    Ok(())
}

async fn certificate(
    account: &Account,
    secrets: &Api<Secret>,
    domain: &str,
    number: u32,
    orders: &Cell<u32>,
) -> anyhow::Result<()> {
    let mut tries = 1;
    loop {
        orders.set(orders.get() + 1);
        match attempt(account, secrets, domain, number).await {
            Err(error) if tries < TRIES => eprintln!("{number}: {error:#}"),
            done => return done.with_context(|| format!("certificate {number}")),
        }
        tries += 1;
    }
}

async fn attempt(
    account: &Account,
    secrets: &Api<Secret>,
    domain: &str,
    number: u32,
) -> anyhow::Result<()> {
    let host = format!("b{number}.{domain}");
    let names = [Identifier::Dns(host.clone())];
    let mut order = account.new_order(&NewOrder::new(&names)).await?;
    validate(&mut order).await?;
    let key = KeyPair::generate()?;
    let mut request = CertificateParams::new([host])?;
    request.distinguished_name = DistinguishedName::new();
    order.finalize_csr(request.serialize_request(&key)?.der()).await?;
    let chain = order.poll_certificate(&RetryPolicy::default()).await?;
    let name = format!("bare-{number}");
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": chain, "tls.key": key.serialize_pem()},
    });
    let (params, secret) = (PatchParams::apply("bare-loop"), Patch::Apply(secret));
    let applied = secrets.patch(&name, &params, &secret);
    tokio::time::timeout(Duration::from_secs(30), applied).await??;
    Ok(())
}

async fn validate(order: &mut Order) -> anyhow::Result<()> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let challenge = authorization.challenge(ChallengeType::Http01);
        challenge.context("the CA offers no http-01")?.set_ready().await?;
    }
    match order.poll_ready(&RetryPolicy::default()).await? {
        OrderStatus::Ready => Ok(()),
        other => bail!("the order is {other:?}"),
    }
}

/// CPU time of this process in seconds, and its peak memory in bytes.
#[expect(clippy::cast_precision_loss, reason = "ticks are far below 2^52")]
fn itself() -> anyhow::Result<(f64, u64)> {
    let process = procfs::process::Process::myself()?;
    let (stat, status) = (process.stat()?, process.status()?);
    let cpu = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
    Ok((cpu, status.vmhwm.unwrap_or_default() * 1024))
}
