//! Composition root: builds each adapter once and assembles the process.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::journal::segmented::SegmentedJournal;
use ingress_acme_actors::operator::Ports;
use ingress_acme_actors::pool::issuer::FallbackCa;
use ingress_acme_actors::ports::{AccountStore, Clock};
use ingress_acme_actors::reporting::metrics::Metrics;
use kube::Client;

use crate::acme::fallback_account::FallbackAccount;
use crate::acme::{Acme, AcmeOptions};
use crate::commands::cli::{AdapterConfig, FallbackDirectory, RunArgs};
use crate::dns_and_http::admin;
use crate::dns_and_http::probe;
use crate::dns_and_http::solver;
use crate::kubernetes::account_secret::AccountSecret;
use crate::kubernetes::client;
use crate::kubernetes::events;
use crate::kubernetes::ingresses;
use crate::kubernetes::journal_segments;
use crate::kubernetes::lease;
use crate::kubernetes::solver_ingresses;
use crate::kubernetes::tls_secrets;
use crate::pki;
use crate::process::process_metrics;
use crate::process::replica::{Replica, listen};

/// Surroundings of a process.
#[derive(Clone)]
pub struct Environment {
    /// Client for the cluster.
    pub client: Client,
    /// Identity of this replica: the pod's name. Must be unique among running replicas.
    pub pod: String,
    /// Source of the current time.
    pub clock: Arc<dyn Clock + Send + Sync>,
}

/// One clock, convertible to the types in which its users hold a clock.
#[derive(Clone)]
struct SharedClock(Arc<dyn Clock + Send + Sync>);

impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

/// Builds all adapters and opens the ports. Sends no request to the cluster or the CA yet.
pub fn assemble(args: RunArgs, environment: &Environment) -> anyhow::Result<Replica> {
    let (settings, config) = args.split();
    let metrics = Metrics::default();
    let shown = process_metrics::register(metrics.registry(crate::VERSION, &settings.directory));
    let health = admin::Health::new(shown, metrics.clone(), &settings.directory);
    let thumbprints = solver::Thumbprints::default();
    let servers = listen(&config, &health, &thumbprints, &metrics)?;
    tracing::info!(directory = %settings.directory, namespace = config.namespace, "starting");

    let asked = metrics.clone();
    let asked = Arc::new(move |verb, resource, code| asked.kube_request(verb, resource, code));
    let environment =
        Environment { client: client::counted(&environment.client, asked), ..environment.clone() };
    let Environment { client, pod, clock } = environment.clone();
    let (namespace, directory) = (config.namespace.as_str(), settings.directory.as_str());
    let lease = lease::Lease::new(client.clone(), namespace, &pod, clock);
    let account: Rc<dyn AccountStore> =
        Rc::new(AccountSecret::new(client, namespace, directory, config.eab_secret.clone()));
    let acme = acme_options(directory, &config, &metrics, &thumbprints)?;
    let acme = Rc::new(Acme::new(acme, account.clone())?);
    let second = config.fallback.as_ref();
    let same = second.is_some_and(|second| second.directory == directory);
    anyhow::ensure!(!same, "--fallback-directory is the same as --acme-directory");
    let second = second.map(|second| second_ca(&environment, &config, second, account, &metrics));
    let second = second.transpose()?;
    let probe = probe::HttpProbe::new(config.nameserver, config.probe_port, thumbprints.clone())?;
    let ports = ports(&environment, &config, &metrics, (&acme, second.as_ref()), Rc::new(probe));
    let lease = config.leader_elect.then_some(lease);
    Ok(Replica { ports, settings, acme, second, lease, health, metrics, servers })
}

fn ports(
    environment: &Environment,
    config: &AdapterConfig,
    metrics: &Metrics,
    (first, second): (&Rc<Acme>, Option<&Rc<Acme>>),
    probe: Rc<probe::HttpProbe>,
) -> Ports {
    let Environment { client, pod, clock } = environment.clone();
    let (namespace, clock) = (config.namespace.as_str(), SharedClock(clock));
    let (watch_metrics, event_metrics) = (metrics.clone(), metrics.clone());
    let restarted = Box::new(move |reason| watch_metrics.watch_restarted(reason));
    let dropped = Arc::new(move || event_metrics.event_dropped());
    let watched = &config.watch_namespaces;
    let ingresses = ingresses::Ingresses::new(client.clone(), watched, restarted);
    let event_recorder =
        events::KubeEvents::start(client.clone(), &pod, Box::new(clock.clone()), dropped);
    let writer = format!("{pod} since {}", clock.now().as_millis());
    let segments = journal_segments::SecretSegments::new(client.clone(), namespace);
    let fallback = |(acme, FallbackDirectory { directory, after, .. }): (&Rc<Acme>, _)| {
        FallbackCa { ca: acme.clone(), directory, after }
    };
    Ports {
        ingresses: Rc::new(ingresses),
        tls_secrets: Rc::new(tls_secrets::KubeTlsSecrets::new(client.clone())),
        ca: first.clone(),
        fallback: second.zip(config.fallback.clone()).map(fallback),
        routes: Rc::new(solver_ingresses::SolverIngresses::new(client, namespace)),
        probe,
        keys: Rc::new(pki::Pki),
        event_recorder: Rc::new(event_recorder),
        journal: Rc::new(SegmentedJournal::new(Rc::new(segments), writer)),
        clock: Rc::new(clock),
    }
}

/// Creates the fallback CA, whose account uses the key of the first CA's account.
fn second_ca(
    environment: &Environment,
    config: &AdapterConfig,
    second: &FallbackDirectory,
    first: Rc<dyn AccountStore>,
    metrics: &Metrics,
) -> anyhow::Result<Rc<Acme>> {
    let FallbackDirectory { directory, eab_secret, .. } = second.clone();
    let (client, namespace) = (environment.client.clone(), &config.namespace);
    let external = Rc::new(AccountSecret::new(client, namespace, &directory, eab_secret));
    let store = FallbackAccount::new(&directory, first, external);
    let options = acme_options(&directory, config, metrics, &solver::Thumbprints::default())?;
    // The fallback CA has other chains than the first CA.
    let options = AcmeOptions { preferred_chain: None, ..options };
    Ok(Rc::new(Acme::new(options, Rc::new(store))?))
}

fn acme_options(
    directory: &str,
    config: &AdapterConfig,
    metrics: &Metrics,
    thumbprints: &solver::Thumbprints,
) -> anyhow::Result<AcmeOptions> {
    let (metrics, thumbprints) = (metrics.clone(), thumbprints.clone());
    Ok(AcmeOptions {
        directory: directory.to_owned(),
        extra_roots: extra_roots(config.acme_ca_file.as_deref())?,
        preferred_chain: config.preferred_chain.clone(),
        contacts: config.contacts.clone(),
        hook: Arc::new(move |endpoint, code, took| metrics.acme_request(endpoint, code, took)),
        answering: Rc::new(move |thumbprint| thumbprints.add(thumbprint)),
    })
}

fn extra_roots(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let read = file.map(std::fs::read_to_string).transpose();
    read.context("the file of --acme-ca-file cannot be read")
}

/// Creates the ACME client of one directory with its account, for commands other than `run`.
/// Registers nothing and counts no requests. Sends no request to the cluster or the CA yet.
pub fn ca_of_a_command(
    client: &Client,
    namespace: &str,
    directory: &str,
    acme_ca_file: Option<&Path>,
) -> anyhow::Result<(Rc<AccountSecret>, Acme)> {
    let account = Rc::new(AccountSecret::new(client.clone(), namespace, directory, None));
    let options = AcmeOptions {
        directory: directory.to_owned(),
        extra_roots: extra_roots(acme_ca_file)?,
        preferred_chain: None,
        contacts: Vec::new(),
        hook: Arc::new(|_, _, _| {}),
        answering: Rc::new(|_| {}),
    };
    let acme = Acme::new(options, account.clone())?;
    Ok((account, acme))
}
