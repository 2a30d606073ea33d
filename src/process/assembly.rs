//! Composition root: builds each adapter once and assembles the process.

use std::io::Read;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context;
use ingress_acme_actors::cas::{FallbackCa, RehearsalCa};
use ingress_acme_actors::dns::ports::DnsPorts;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::mode::Mode;
use ingress_acme_actors::domain::status::kube_event::KubeEvent;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::dry_run::without_writes;
use ingress_acme_actors::journal::segmented::SegmentedJournal;
use ingress_acme_actors::operator::{Observability, Ports, Settings};
use ingress_acme_actors::ports::{AccountStore, Clock, SecretWatch};
use ingress_acme_actors::reporting::metrics::Metrics;
use kube::Client;
use tokio::sync::mpsc;

use crate::acme::fallback_account::FallbackAccount;
use crate::acme::{Acme, AcmeOptions, InProcess, Wire};
use crate::commands::cli::{AdapterConfig, FallbackDirectory, RunArgs};
use crate::dns_and_http::admin;
use crate::dns_and_http::challenge_dns::ChallengeRecords;
use crate::dns_and_http::probe;
use crate::dns_and_http::solver;
use crate::dns_providers::accounts::{Accounts, RefusedSecret, dns_accounts};
use crate::kubernetes::account_secret::AccountSecret;
use crate::kubernetes::client;
use crate::kubernetes::events;
use crate::kubernetes::ingress_classes;
use crate::kubernetes::ingresses;
use crate::kubernetes::journal_segments;
use crate::kubernetes::lease;
use crate::kubernetes::secret_watch;
use crate::kubernetes::solver_ingresses;
use crate::kubernetes::tls_secrets;
use crate::pki;
use crate::process::ca_sets::{CaBuilder, FileCas};
use crate::process::process_metrics;
use crate::process::public_ca::{is_known_public, is_trusted_by_browsers};
use crate::process::replica::Replica;
use crate::process::servers::listen;
use crate::process::succession::Succession;

/// Environment of a replica.
#[derive(Clone)]
pub struct Environment {
    /// Client for the cluster.
    pub client: Client,
    /// Identity of this replica: the pod's name. Must be unique among running replicas.
    pub pod: String,
    /// Source of the current time.
    pub clock: Arc<dyn Clock + Send + Sync>,
    /// Ways to the CA and to the hosts.
    pub network: Network,
}

/// Ways out of this process, beside that to the cluster.
#[derive(Clone, Default)]
pub enum Network {
    /// Sockets of this machine.
    #[default]
    Sockets,
    /// Servers of this process, as in a simulated world: of the CA, and of DNS and the hosts.
    InProcess(InProcess, Arc<dyn probe::Network>),
}

/// All adapters of a replica, without ports to listen on.
pub struct Adapters {
    /// Ports to the external systems.
    pub ports: Ports,
    /// ACME client of the first CA.
    pub acme: Rc<Acme>,
    /// ACME clients of the fallback CA and the rehearsal CA, whose accounts have the same key.
    pub further_acmes: Vec<Rc<Acme>>,
    /// The CAs of `--cas-file`.
    pub file_cas: Option<Rc<FileCas>>,
    /// Lease for leader election, and of the switch for new orders.
    pub lease: lease::Lease,
}

/// One clock, convertible to the types in which its users hold a clock.
#[derive(Clone)]
struct SharedClock(Arc<dyn Clock + Send + Sync>);

impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn steps_back(&self) -> u32 {
        self.0.steps_back()
    }
}

/// Builds all adapters and opens the ports. Sends no request to the cluster or the CA yet.
/// `received` is from the process that had this one's place before.
pub fn assemble(
    args: RunArgs,
    environment: &Environment,
    received: Succession,
) -> anyhow::Result<Replica> {
    let (settings, config) = args.split();
    let (directory, shown) = (settings.directory.as_str(), Observability::default());
    let several = config.cas_file.as_ref().map(|path| format!("the CAs of {}", path.display()));
    let directory = several.as_deref().unwrap_or(directory);
    let registry = shown.metrics.registry(crate::VERSION, directory, &shown.expiries);
    let registry = process_metrics::register(registry);
    let health = admin::Health::new(registry, shown.metrics.clone(), directory);
    let thumbprint = solver::Thumbprint::default();
    received.answer_with(&thumbprint);
    let servers = listen(&config, &health, &thumbprint, &shown.metrics, received)?;
    let install_id = &settings.install_id;
    let mut environment = environment.clone();
    let is_dry_run = settings.mode == Mode::DryRun;
    if is_dry_run {
        environment.client = client::read_only(&environment.client);
    }
    let environment = &environment;
    tracing::info!(%directory, namespace = config.namespace, install_id, "starting");
    let adapters = adapters((&settings, &config), environment, &shown.metrics, &thumbprint)?;
    let Adapters { ports, acme, further_acmes, file_cas, lease } = adapters;
    let (public_ca, solver_linger) = (config.public_ca, config.solver_linger);
    let leader_elect = config.leader_elect;
    let ports = if is_dry_run { without_writes(ports) } else { ports };
    let client = counted(environment, &shown.metrics).client;
    #[rustfmt::skip] // one line per half a dozen of parts
    let replica = Replica {
        ports, settings, client, public_ca, acme, further_acmes, file_cas, lease,
        leader_elect, health, shown, servers, thumbprint, solver_linger,
    };
    Ok(replica)
}

/// Builds all adapters. Sends no request yet.
pub fn adapters(
    (settings, config): (&Settings, &AdapterConfig),
    environment: &Environment,
    metrics: &Metrics,
    thumbprint: &solver::Thumbprint,
) -> anyhow::Result<Adapters> {
    let assembly = Assembly {
        environment: counted(environment, metrics),
        config,
        mode: settings.mode,
        directory: &settings.directory,
        install_id: &settings.install_id,
        metrics,
        thumbprint: thumbprint.clone(),
    };
    let (lease, events) = (assembly.lease(), Rc::new(assembly.event_recorder()));
    if let Some(file) = assembly.file_cas(&events)? {
        let (acme, further_acmes) = file.acmes().context("the file of --cas-file names no CA")?;
        let ports = assembly.ports((&acme, None, None), Some(&file), events, &lease)?;
        return Ok(Adapters { ports, acme, further_acmes, file_cas: Some(file), lease });
    }
    let account = assembly.account();
    let acme = assembly.acme(account.clone())?;
    let fallback = assembly.fallback_acme(&account)?;
    let rehearsal = assembly.rehearsal_acme(&account)?;
    let clients = (&acme, fallback.as_ref(), rehearsal.as_ref());
    let ports = assembly.ports(clients, None, events, &lease)?;
    let further_acmes = fallback.into_iter().chain(rehearsal).collect();
    Ok(Adapters { ports, acme, further_acmes, file_cas: None, lease })
}

/// Sends an Event about each Secret that cannot be used as a DNS account, until their watch ends.
async fn tell_refused(
    mut refused: mpsc::Receiver<RefusedSecret>,
    namespace: String,
    events: Rc<events::KubeEvents>,
) {
    while let Some(RefusedSecret { name, uid, reason }) = refused.recv().await {
        events.about_secret(&namespace, (&name, &uid), KubeEvent::dns_account_refused(reason));
    }
}

/// The environment with a client that counts its requests.
fn counted(environment: &Environment, metrics: &Metrics) -> Environment {
    let metrics = metrics.clone();
    let hook = Arc::new(move |verb, resource, code| metrics.kube_request(verb, resource, code));
    Environment { client: client::counted(&environment.client, hook), ..environment.clone() }
}

/// Everything that adapters are built from.
struct Assembly<'a> {
    environment: Environment,
    config: &'a AdapterConfig,
    mode: Mode,
    directory: &'a str,
    install_id: &'a str,
    metrics: &'a Metrics,
    thumbprint: solver::Thumbprint,
}

impl Assembly<'_> {
    fn lease(&self) -> lease::Lease {
        let Environment { client, pod, clock, .. } = self.environment.clone();
        lease::Lease::new(client, &self.config.namespace, &pod, clock)
    }

    fn account(&self) -> Rc<dyn AccountStore> {
        let (client, eab_secret) =
            (self.environment.client.clone(), self.config.eab_secret.clone());
        Rc::new(AccountSecret::new(client, &self.config.namespace, self.directory, eab_secret))
    }

    fn acme(&self, account: Rc<dyn AccountStore>) -> anyhow::Result<Rc<Acme>> {
        let options = self.acme_options("first", self.directory, &self.thumbprint)?;
        Ok(Rc::new(Acme::new(options, account)?))
    }

    fn fallback_acme(&self, first: &Rc<dyn AccountStore>) -> anyhow::Result<Option<Rc<Acme>>> {
        let Some(fallback) = &self.config.fallback else { return Ok(None) };
        let FallbackDirectory { directory, eab_secret, .. } = fallback.clone();
        let same = directory == self.directory;
        anyhow::ensure!(!same, "--fallback-directory is the same as --acme-directory");
        self.further_acme("fallback", &directory, eab_secret, first).map(Some)
    }

    fn rehearsal_acme(&self, first: &Rc<dyn AccountStore>) -> anyhow::Result<Option<Rc<Acme>>> {
        let Some(directory) = &self.config.rehearsal else { return Ok(None) };
        let same = *directory == self.directory;
        anyhow::ensure!(!same, "--rehearsal-directory is the same as --acme-directory");
        self.further_acme("rehearsal", directory, None, first).map(Some)
    }

    /// A CA beside the first one, whose account has the key of the first CA's account.
    fn further_acme(
        &self,
        name: &'static str,
        directory: &str,
        eab_secret: Option<String>,
        first: &Rc<dyn AccountStore>,
    ) -> anyhow::Result<Rc<Acme>> {
        let (client, namespace) = (self.environment.client.clone(), &self.config.namespace);
        let external = Rc::new(AccountSecret::new(client, namespace, directory, eab_secret));
        let store = FallbackAccount::new(directory, first.clone(), external);
        let options = self.acme_options(name, directory, &solver::Thumbprint::default())?;
        // The preferred chain is one of the first CA's; others have other chains.
        let options = AcmeOptions { preferred_chain: None, ..options };
        Ok(Rc::new(Acme::new(options, Rc::new(store))?))
    }

    fn acme_options(
        &self,
        name: &'static str,
        directory: &str,
        thumbprint: &solver::Thumbprint,
    ) -> anyhow::Result<AcmeOptions> {
        let (metrics, thumbprint) = (self.metrics.clone(), thumbprint.clone());
        Ok(AcmeOptions {
            directory: directory.to_owned(),
            extra_roots: extra_roots(self.config.acme_ca_file.as_deref())?,
            preferred_chain: self.config.preferred_chain.clone(),
            contacts: self.config.contacts.clone(),
            wire: self.wire(),
            hook: Arc::new(move |endpoint, code, took| {
                metrics.acme_request(name, endpoint, code, took);
            }),
            answering: Rc::new(move |new| thumbprint.set(new)),
        })
    }

    /// The CAs of `--cas-file`, where there is one.
    fn file_cas(&self, events: &Rc<events::KubeEvents>) -> anyhow::Result<Option<Rc<FileCas>>> {
        let Some(path) = self.config.cas_file.clone() else { return Ok(None) };
        let builder = CaBuilder {
            client: self.environment.client.clone(),
            namespace: self.config.namespace.clone(),
            wire: self.wire(),
            metrics: self.metrics.clone(),
            thumbprint: self.thumbprint.clone(),
            public_ca: self.config.public_ca,
        };
        let (events, namespace) = (events.clone(), self.config.namespace.clone());
        let refused = move |why: &str| {
            events.about_pod(&namespace, KubeEvent::cas_file_refused(why));
        };
        let clock = self.environment.clock.clone();
        Ok(Some(Rc::new(FileCas::new(path, builder, clock, Box::new(refused))?)))
    }

    fn wire(&self) -> Wire {
        match &self.environment.network {
            Network::Sockets => Wire::Tls,
            Network::InProcess(ca, _) => Wire::InProcess(ca.clone()),
        }
    }

    fn ports(
        &self,
        (acme, fallback, rehearsal): (&Rc<Acme>, Option<&Rc<Acme>>, Option<&Rc<Acme>>),
        file: Option<&Rc<FileCas>>,
        events: Rc<events::KubeEvents>,
        lease: &lease::Lease,
    ) -> anyhow::Result<Ports> {
        let Environment { client, clock, network, .. } = self.environment.clone();
        let (config, namespace) = (self.config, self.config.namespace.as_str());
        let (thumbprint, port) = (self.thumbprint.clone(), config.probe_port);
        let probe = match network {
            Network::Sockets => probe::HttpProbe::new(config.nameserver, port, thumbprint)?,
            Network::InProcess(_, hosts) => probe::HttpProbe::in_process(hosts, port, thumbprint)?,
        };
        let fallback_ca = |(acme, FallbackDirectory { directory, after, .. }): (&Rc<Acme>, _)| {
            let is_public = is_known_public(directory.as_str());
            FallbackCa { ca: acme.clone(), directory, after, is_public }
        };
        let rehearsal_ca = |(acme, directory): (&Rc<Acme>, String)| {
            let is_public = is_known_public(&directory);
            RehearsalCa { ca: acme.clone(), directory, is_public }
        };
        Ok(Ports {
            ingresses: Rc::new(self.ingresses()),
            tls_secrets: Rc::new(self.tls_secrets(file)),
            secret_watch: config.watch_secrets.then(|| self.secret_watch()),
            cas: file.map(|file| file.sets()),
            ca: acme.clone(),
            fallback: fallback.zip(config.fallback.clone()).map(fallback_ca),
            rehearsal: rehearsal.zip(config.rehearsal.clone()).map(rehearsal_ca),
            routes: Rc::new(
                solver_ingresses::SolverIngresses::new(client.clone(), namespace, self.install_id)
                    .annotated(config.solver_annotations.clone()),
            ),
            classes: Rc::new(ingress_classes::KubeIngressClasses::new(client.clone())),
            probe: Rc::new(probe),
            keys: Rc::new(pki::Pki { common_name: self.config.csr_common_name }),
            dns: self.dns_ports(&events)?,
            event_recorder: events,
            journal: Rc::new(self.journal()),
            new_orders: lease.new_orders(),
            clock: Rc::new(SharedClock(clock)),
        })
    }

    fn dns_ports(&self, events: &Rc<events::KubeEvents>) -> anyhow::Result<DnsPorts> {
        let lookups = match &self.environment.network {
            Network::Sockets => {
                ChallengeRecords::new(self.config.nameserver, &self.config.dns01_resolvers)?
            }
            Network::InProcess(_, hosts) => ChallengeRecords::in_process(hosts.clone()),
        };
        let lookups = Rc::new(lookups);
        // A dry run writes no record, and has no right to watch Secrets.
        if self.mode == Mode::DryRun {
            return Ok(DnsPorts { lookups, ..DnsPorts::none() });
        }
        let Environment { client, clock, .. } = self.environment.clone();
        let namespace = self.config.namespace.as_str();
        let Accounts { accounts, records, refused } =
            dns_accounts(client, namespace, clock, self.metrics);
        actix::spawn(tell_refused(refused, namespace.to_owned(), events.clone()));
        Ok(DnsPorts { accounts, records, lookups })
    }

    fn tls_secrets(&self, file: Option<&Rc<FileCas>>) -> tls_secrets::KubeTlsSecrets {
        let Environment { client, clock, .. } = self.environment.clone();
        let issuers = if is_trusted_by_browsers(self.directory) {
            pki::Issuers::public(clock)
        } else {
            pki::Issuers::Any
        };
        let issuers = file.map_or_else(|| Rc::new(issuers.into()), |file| file.issuers());
        let tls_secrets = tls_secrets::KubeTlsSecrets::new(client).accepting(issuers);
        tls_secrets.of_install(self.install_id)
    }

    fn ingresses(&self) -> ingresses::Ingresses {
        let (client, metrics) = (self.environment.client.clone(), self.metrics.clone());
        let restarted = Box::new(move |reason| metrics.watch_restarted(reason));
        let all = ingresses::Ingresses::new(client, &self.config.watch_namespaces, restarted);
        all.copying(&self.config.copied_prefixes).outside(&self.config.namespace, self.install_id)
    }

    fn secret_watch(&self) -> Rc<dyn SecretWatch> {
        let (client, namespaces) = (self.environment.client.clone(), &self.config.watch_namespaces);
        Rc::new(secret_watch::WatchedSecrets::new(client, namespaces))
    }

    fn event_recorder(&self) -> events::KubeEvents {
        let Environment { client, pod, clock, .. } = self.environment.clone();
        let metrics = self.metrics.clone();
        let dropped = Arc::new(move || metrics.event_dropped());
        events::KubeEvents::start(client, &pod, Box::new(SharedClock(clock)), dropped)
    }

    fn journal(&self) -> SegmentedJournal {
        let Environment { client, pod, clock, .. } = self.environment.clone();
        let writer = format!("{pod} since {}", clock.now().as_millis());
        let segments = journal_segments::SecretSegments::new(client, &self.config.namespace);
        SegmentedJournal::with_metrics(Rc::new(segments), writer, self.metrics.clone())
    }
}

fn extra_roots(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let Some(file) = file else { return Ok(None) };
    let most = limits::CA_FILE_MAX;
    let read = || {
        let mut text = String::new();
        std::fs::File::open(file)?.take(most as u64 + 1).read_to_string(&mut text)?;
        std::io::Result::Ok(text)
    };
    let text = read().context("the file of --acme-ca-file cannot be read")?;
    let large = "the file of --acme-ca-file is larger than";
    anyhow::ensure!(text.len() <= most, "{large} {most} bytes; it needs the root of the CA only");
    Ok(Some(text))
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
        wire: Wire::Tls,
        hook: Arc::new(|_, _, _| {}),
        answering: Rc::new(|_| {}),
    };
    let acme = Acme::new(options, account.clone())?;
    Ok((account, acme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_file_is_read_up_to_the_bound_and_an_endless_one_is_refused() {
        let own = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        assert!(extra_roots(Some(own)).unwrap().is_some_and(|text| text.contains("[package]")));
        assert!(extra_roots(None).unwrap().is_none());
        let endless = extra_roots(Some(Path::new("/dev/zero"))).unwrap_err().to_string();
        assert!(endless.contains("larger than 1048576 bytes"), "{endless}");
    }
}
