//! The flags of `run`, and where each goes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use ingress_acme_actors::domain::desired::selection::Selection;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::mode::Mode;
use ingress_acme_actors::domain::scheduling::dedup::SettleTimes;
use ingress_acme_actors::domain::solver_place::{ClassPlace, PlaceChoices, UnknownPlace};
use ingress_acme_actors::operator::Settings;

use crate::dns_and_http::listeners::Binds;
use crate::kubernetes::solver_ingresses::SolverAnnotation;

use super::choices::{GuardsArg, LogFormatArg, PublicCaArg};
use super::serving::ServingArgs;
use super::{directory, duration, namespace, own_namespace};

/// Flags of `run`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct RunArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help of the command")]
    pub serving: ServingArgs,
    /// File with an additional root certificate to trust for connections to the ACME directory
    #[arg(
        long,
        env = "INGRESS_ACME_ACME_CA_FILE",
        value_name = "PEM",
        conflicts_with = "cas_file"
    )]
    pub acme_ca_file: Option<PathBuf>,
    /// Contact of the ACME account, such as mailto:ops@example.com
    #[arg(long, env = "INGRESS_ACME_CONTACT", value_name = "URL", value_parser = contact,
          conflicts_with = "cas_file")]
    pub contact: Option<String>,
    /// Secret in the operator's namespace with the external account (`kid`, `hmac`) that a new ACME
    /// account is bound to
    #[arg(long, env = "INGRESS_ACME_EAB_SECRET", value_name = "NAME", conflicts_with = "cas_file",
          value_parser = NonEmptyStringValueParser::new())]
    pub eab_secret: Option<String>,
    /// ACME directory of a fallback CA, used for a certificate when the first CA has failed for a
    /// long time
    #[arg(long, env = "INGRESS_ACME_FALLBACK_DIRECTORY", value_name = "URL", value_parser = directory,
          conflicts_with = "cas_file")]
    pub fallback_directory: Option<url::Url>,
    /// How long the first CA must have failed before the fallback CA is used
    #[arg(long, env = "INGRESS_ACME_FALLBACK_AFTER", default_value = "6h", value_parser = duration,
          conflicts_with = "cas_file")]
    pub fallback_after: Duration,
    /// Secret with the external account at the fallback CA
    #[arg(long, env = "INGRESS_ACME_FALLBACK_EAB_SECRET", value_name = "NAME", requires = "fallback_directory",
          value_parser = NonEmptyStringValueParser::new())]
    pub fallback_eab_secret: Option<String>,
    /// ACME directory of a CA, such as its staging, that first validates names which the CA of
    /// --acme-directory could not validate. Needs no external account
    #[arg(long, env = "INGRESS_ACME_REHEARSAL_DIRECTORY", value_name = "URL", value_parser = directory,
          conflicts_with = "cas_file")]
    pub rehearsal_directory: Option<url::Url>,
    /// The operator's own namespace [default: that of the pod, or ingress-acme]
    #[arg(long, env = "INGRESS_ACME_NAMESPACE", value_name = "NS")]
    pub namespace: Option<String>,
    /// Name of this install on its TLS Secrets: another install in the cluster leaves them alone
    /// [default: the operator's own namespace]
    #[arg(long, env = "INGRESS_ACME_INSTALL_ID", value_name = "ID", value_parser = install_id)]
    pub install_id: Option<String>,
    /// Whether a TLS Secret is owned by its Ingresses, so that Kubernetes deletes it with the last
    /// of them. `false` sets no owner and leaves those that are set
    #[arg(long, env = "INGRESS_ACME_OWNER_REFERENCES", default_value_t = true, action = clap::ArgAction::Set,
          value_name = "true|false")]
    pub owner_references: bool,
    /// Tell by Events and metrics the plan for each Ingress, and do nothing: no order, no account,
    /// no Secret, no solver Ingress, no spec.tls and no Lease
    #[arg(long, env = "INGRESS_ACME_DRY_RUN", default_value_t = false, action = clap::ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub dry_run: bool,
    /// Where challenges are answered [default: port 8089 of all interfaces, over IPv6 and IPv4]
    #[arg(long, env = "INGRESS_ACME_SOLVER_BIND", value_name = "ADDR")]
    pub solver_bind: Option<SocketAddr>,
    /// How long a terminating replica still answers challenges: until all Endpoints, and the
    /// ingress controllers that follow them, have left it out. At most 35s
    #[arg(long, env = "INGRESS_ACME_SOLVER_LINGER", default_value = "15s", value_parser = solver_linger)]
    pub solver_linger: Duration,
    /// Where the status page, the API and the state are served, and if given also health and
    /// metrics [default: 127.0.0.1:9091]
    #[arg(long, env = "INGRESS_ACME_ADMIN_BIND", value_name = "ADDR")]
    pub admin_bind: Option<SocketAddr>,
    /// Where metrics are served [default: port 9090 of all interfaces, over IPv6 and IPv4]
    #[arg(long, env = "INGRESS_ACME_METRICS_BIND", value_name = "ADDR")]
    pub metrics_bind: Option<SocketAddr>,
    /// Where health is served [default: port 8081 of all interfaces, over IPv6 and IPv4]
    #[arg(long, env = "INGRESS_ACME_HEALTH_BIND", value_name = "ADDR")]
    pub health_bind: Option<SocketAddr>,
    /// Form of the log on standard output. `auto`: text on a terminal, JSON otherwise. What is
    /// logged is chosen by `RUST_LOG` at the start, and by `ingress-acme log-level` later
    #[arg(long, env = "INGRESS_ACME_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormatArg,
    /// DNS server that the probe of the solver routes uses [default: the system's]
    #[arg(long, env = "INGRESS_ACME_NAMESERVER", value_name = "ADDR", value_parser = nameserver)]
    pub nameserver: Option<SocketAddr>,
    /// DNS servers that are asked about challenges in DNS, in place of the authoritative servers of
    /// the zone, where those cannot be reached; repeatable. A resolver remembers for a while that a
    /// record was missing, so that validations take longer [default: the authoritative servers]
    #[arg(long, env = "INGRESS_ACME_DNS01_RESOLVERS", value_name = "ADDR[:PORT]", value_delimiter = ',',
          value_parser = nameserver)]
    pub dns01_resolvers: Vec<SocketAddr>,
    /// Prove names by DNS-PERSIST-01 records where there are any (an Internet-Draft). `ingress-acme
    /// record` prints them
    #[arg(long = "dns-persist-01", env = "INGRESS_ACME_DNS_PERSIST_01", default_value_t = false, action = clap::ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub dns_persist_01: bool,
    /// Port on which the probe connects to hosts
    #[arg(long, env = "INGRESS_ACME_PROBE_PORT", default_value_t = 80, value_name = "PORT")]
    pub probe_port: u16,
    /// Where the challenge path of a class (of all: *) is routed to the solver: shared (by a solver
    /// Ingress in the operator's namespace), namespace (by one in the namespace of the Ingress), or
    /// in-place (by a path in the Ingress itself, while a challenge takes); repeatable. The last
    /// two need the rights of deploy/solver-in-namespaces.yaml in that namespace. The
    /// annotation ingress-acme.dev/solver-place of an Ingress decides over it [default: *=shared]
    #[arg(long = "solver-place", env = "INGRESS_ACME_SOLVER_PLACE", value_name = "CLASS=PLACE",
          value_delimiter = ',', value_parser = class_place)]
    pub solver_places: Vec<ClassPlace>,
    /// Copy annotations with this prefix from an Ingress to its Secrets, for programs that read
    /// them there, such as reflector.v1.k8s.emberstack.com; repeatable. Whoever may edit an Ingress
    /// then tells these programs what to do with its Secret [default: none]
    #[arg(long, env = "INGRESS_ACME_COPY_ANNOTATIONS", value_name = "PREFIX", value_delimiter = ',',
          value_parser = annotation_prefix)]
    pub copy_annotations: Vec<String>,
    /// Add an annotation to the solver Ingresses of a class, or of all (*); repeatable. For
    /// controllers that serve only Ingresses of one group, such as
    /// alb:alb.ingress.kubernetes.io/group.name=public [default: none]
    #[arg(long = "solver-annotation", env = "INGRESS_ACME_SOLVER_ANNOTATION", value_name = "CLASS:NAME=VALUE",
          value_parser = solver_annotation)]
    pub solver_annotations: Vec<SolverAnnotation>,
    /// Certificates worked on at once
    #[arg(long, env = "INGRESS_ACME_ISSUERS", default_value_t = 64, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub issuers: u16,
    /// How often each certificate is checked
    #[arg(long, env = "INGRESS_ACME_SCAN_INTERVAL", default_value = "1h", value_parser = scan_interval)]
    pub scan_interval: Duration,
    /// Requests per second that find deleted TLS Secrets, by name and without their data: up to 600
    /// certificates are checked each minute with 10 requests per second. 0 leaves it to the scan
    #[arg(long, env = "INGRESS_ACME_SECRET_CHECKS", default_value_t = 10, value_name = "N",
          value_parser = clap::value_parser!(u16).range(0..=100))]
    pub secret_checks: u16,
    /// Watch TLS Secrets, metadata only, so that a deleted one is noticed at once. Needs the rights
    /// of deploy/watch-secrets.yaml, which allow the operator to read all Secrets
    #[arg(long, env = "INGRESS_ACME_WATCH_SECRETS", default_value_t = false, action = clap::ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub watch_secrets: bool,
    /// Quiet time after which a burst of events on one Ingress is over
    #[arg(long, env = "INGRESS_ACME_SETTLE", default_value = "1s", value_parser = duration)]
    pub settle: Duration,
    /// Longest wait for a burst of events to be over
    #[arg(long, env = "INGRESS_ACME_SETTLE_MAX", default_value = "5s", value_parser = duration)]
    pub settle_max: Duration,
    /// Put one name of the certificate into the CSR as its common name, for a CA that requires one.
    /// A name of more than 64 characters is none
    #[arg(long, env = "INGRESS_ACME_CSR_COMMON_NAME", default_value_t = false, action = clap::ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub csr_common_name: bool,
    /// Whether to delay orders that Let's Encrypt would soon refuse: more than 4 certificates a
    /// week for exactly the same names, more than 4 failed validations of a name an hour. `auto` is
    /// on for Let's Encrypt's production only
    #[arg(
        long,
        env = "INGRESS_ACME_GUARDS",
        value_enum,
        default_value_t,
        conflicts_with = "cas_file"
    )]
    pub guards: GuardsArg,
    /// Orders of one namespace in 3 hours, beside those for certificates that expire soon
    /// [default: with guards, half of what the other namespaces have left of Let's Encrypt's 300]
    #[arg(long, env = "INGRESS_ACME_MAX_ORDERS_PER_NAMESPACE", value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_orders_per_namespace: Option<u32>,
    /// Prefer the chain whose topmost issuer has this common name [default: the CA's]
    #[arg(long, env = "INGRESS_ACME_PREFERRED_CHAIN", value_name = "NAME", conflicts_with = "cas_file",
          value_parser = NonEmptyStringValueParser::new())]
    pub preferred_chain: Option<String>,
    /// With several replicas, only the holder of the Lease issues certificates; all replicas answer
    /// challenges
    #[arg(long, env = "INGRESS_ACME_LEADER_ELECT", default_value_t = true, action = clap::ArgAction::Set,
          value_name = "true|false")]
    pub leader_elect: bool,
}

/// Settings of the adapters; [`Settings`] are those of the actors.
#[derive(Debug)]
pub struct AdapterConfig {
    /// File with several CAs.
    pub cas_file: Option<PathBuf>,
    /// The operator's own namespace.
    pub namespace: String,
    /// Contacts of the ACME account.
    pub contacts: Vec<String>,
    /// Secret of the external account.
    pub eab_secret: Option<String>,
    /// The fallback CA.
    pub fallback: Option<FallbackDirectory>,
    /// URL of the rehearsal CA's directory.
    pub rehearsal: Option<String>,
    /// Common name of the preferred chain's topmost issuer.
    pub preferred_chain: Option<String>,
    /// File with an additional root for connections to the directories, PEM.
    pub acme_ca_file: Option<PathBuf>,
    /// Whether the CA is public.
    pub public_ca: PublicCaArg,
    /// Address of the solver, which answers challenges.
    pub solver_bind: Option<SocketAddr>,
    /// Time for which a terminating replica still answers challenges.
    pub solver_linger: Duration,
    /// Addresses of health, metrics and administration.
    pub binds: Binds,
    /// DNS server of the probe.
    pub nameserver: Option<SocketAddr>,
    /// DNS servers that are asked about challenges in place of the authoritative ones; empty for
    /// those.
    pub dns01_resolvers: Vec<SocketAddr>,
    /// Port of the probe.
    pub probe_port: u16,
    /// Namespaces to watch; empty means all.
    pub watch_namespaces: Vec<String>,
    /// Prefixes of annotations that are copied from Ingresses to their Secrets.
    pub copied_prefixes: Vec<String>,
    /// Annotations of solver Ingresses.
    pub solver_annotations: Vec<SolverAnnotation>,
    /// Whether TLS Secrets are watched.
    pub watch_secrets: bool,
    /// Whether CSRs have a common name.
    pub csr_common_name: bool,
    /// Whether replicas elect a leader.
    pub leader_elect: bool,
}

/// A fallback CA.
#[derive(Clone, Debug)]
pub struct FallbackDirectory {
    /// URL of its directory.
    pub directory: String,
    /// Time for which the first CA must have failed.
    pub after: Duration,
    /// Secret of its external account.
    pub eab_secret: Option<String>,
}

impl FallbackDirectory {
    fn at(
        (directory, after, eab_secret): (Option<url::Url>, Duration, Option<String>),
    ) -> Option<Self> {
        Some(Self { directory: directory?.to_string(), after, eab_secret })
    }
}

impl RunArgs {
    /// Splits the flags into the settings of the actors and of the adapters. All flags are
    /// destructured, so that an unused flag is a compile error.
    pub fn split(self) -> (Settings, AdapterConfig) {
        #[rustfmt::skip] // one line per dozen of flags
        let Self {
            serving, acme_ca_file, contact, eab_secret, namespace, solver_bind, admin_bind, metrics_bind, health_bind,
            nameserver, probe_port, issuers, scan_interval, settle, settle_max, guards, preferred_chain, leader_elect,
            fallback_directory, fallback_after, fallback_eab_secret, max_orders_per_namespace, install_id, owner_references, solver_linger,
            secret_checks, watch_secrets, rehearsal_directory, copy_annotations: copied_prefixes, csr_common_name, solver_annotations,
            solver_places, dry_run, dns01_resolvers, dns_persist_01, log_format: _, // the log is there before everything else
        } = self;
        let namespace = own_namespace(namespace);
        let places =
            PlaceChoices { classes: solver_places, own_namespace: Some(namespace.clone()) };
        let selection = Selection { places, ..serving.selection() };
        let watch_namespaces = serving.watched();
        // The others are in the selection.
        let ServingArgs { cas_file, acme_directory, public_ca, profile, key_algorithm, .. } =
            serving;
        #[rustfmt::skip] // fields that are passed on stand together
        let settings = Settings {
            directory: acme_directory.to_string(),
            own_namespace: namespace.clone(),
            install_id: install_id.unwrap_or_else(|| namespace.clone()),
            mode: if dry_run { Mode::DryRun } else { Mode::Work }, selection, owner_references, profile, algorithm: key_algorithm, scan_interval, dns_persist_01,
            through_proxy: false, // as the environment says at the start
            settle_times: SettleTimes { settle, settle_max: settle_max.max(settle) },
            issuers: usize::from(issuers),
            secret_checks: usize::from(secret_checks),
            guards: guards.are_on(acme_directory.as_str()),
            orders_per_namespace: max_orders_per_namespace,
            room: limits::NAMESPACE_ROOM, // more where the process has more memory
        };
        #[rustfmt::skip] // fields that are passed on stand together
        let config = AdapterConfig {
            contacts: contact.into_iter().collect(),
            fallback: FallbackDirectory::at((fallback_directory, fallback_after, fallback_eab_secret)),
            rehearsal: rehearsal_directory.map(|url| url.to_string()),
            binds: Binds { health: health_bind, metrics: metrics_bind, admin: admin_bind },
            watch_namespaces, namespace, eab_secret, preferred_chain, acme_ca_file, public_ca, solver_bind,
            solver_linger, nameserver, probe_port, watch_secrets, leader_elect, copied_prefixes,
            csr_common_name, solver_annotations, dns01_resolvers, cas_file,
        };
        (settings, config)
    }
}

/// Reads `CLASS:NAME=VALUE`. A class may contain a slash, and neither a class nor a name a colon.
fn solver_annotation(text: &str) -> Result<SolverAnnotation, String> {
    let parts = text.split_once(':').and_then(|(class, annotation)| {
        let (name, value) = annotation.split_once('=')?;
        (!class.is_empty() && !name.is_empty()).then_some((class, name, value))
    });
    let Some((class, name, value)) = parts else {
        return Err("expected CLASS:NAME=VALUE, such as alb:alb.ingress.kubernetes.io/group.name=public, with * for \
                    the solver Ingresses of all classes"
            .to_owned());
    };
    let class = (class != "*").then(|| class.to_owned());
    Ok(SolverAnnotation { class, name: name.to_owned(), value: value.to_owned() })
}

/// Reads `CLASS=PLACE`. A class may contain a slash, and no equals sign.
fn class_place(text: &str) -> Result<ClassPlace, String> {
    let parts = text.split_once('=').filter(|(class, _)| !class.is_empty());
    let Some((class, place)) = parts else {
        return Err("expected CLASS=PLACE, such as gce=in-place, with * for all classes".to_owned());
    };
    let place = place.parse().map_err(|unknown: UnknownPlace| unknown.to_string())?;
    Ok(ClassPlace { class: (class != "*").then(|| class.to_owned()), place })
}

fn solver_linger(text: &str) -> Result<Duration, String> {
    let (time, most) = (duration(text)?, limits::SOLVER_LINGER_MAX);
    if time > most {
        let why = "the pod's grace period is for the release of the Lease, too";
        return Err(format!("{why}: at most {}s", most.as_secs()));
    }
    Ok(time)
}

fn scan_interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < Duration::from_mins(1) {
        return Err("a scan reads every Secret: at least 1m".to_owned());
    }
    Ok(interval)
}

/// An address, with port 53 unless it says otherwise.
pub(super) fn nameserver(text: &str) -> Result<SocketAddr, String> {
    let bare = || text.parse().map(|address: std::net::IpAddr| SocketAddr::new(address, 53));
    let parsed = text.parse().or_else(|_| bare());
    parsed.map_err(|_| format!("`{text}` is not an address such as 10.0.0.10 or 10.0.0.10:53"))
}

/// A name as that of a namespace: it is part of a field manager and of a command in an Event.
fn install_id(text: &str) -> Result<String, String> {
    let named = namespace(text);
    named.map_err(|_| {
        format!("`{text}` is not a name of up to 63 lower-case letters, digits and hyphens")
    })
}

/// The prefix of annotations of another program, with or without its slash. Those of Kubernetes and
/// of ours say what a Secret is.
fn annotation_prefix(text: &str) -> Result<String, String> {
    let prefix = text.strip_suffix('/').unwrap_or(text);
    let legal =
        |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-.".contains(&octet);
    if !(1..=253).contains(&prefix.len()) || !prefix.bytes().all(legal) {
        let example = "such as reflector.v1.k8s.emberstack.com";
        return Err(format!("`{text}` is not the prefix of an annotation, {example}"));
    }
    let is_within = |domain: &str| {
        prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if ["kubernetes.io", "k8s.io", "ingress-acme.dev"].into_iter().any(is_within) {
        return Err(format!("annotations of `{prefix}` say what a Secret is, and are not copied"));
    }
    Ok(prefix.to_owned())
}

pub(crate) fn contact(text: &str) -> Result<String, String> {
    if !text.starts_with("mailto:") || !text.contains('@') {
        return Err(format!("`{text}` is not a contact such as mailto:ops@example.com"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use ingress_acme_actors::domain::limits;
    use proptest::prelude::*;

    use super::*;
    use crate::commands::cli::{Cli, Command, LETS_ENCRYPT};

    fn run(args: &[&str]) -> Result<RunArgs, clap::Error> {
        let all = ["ingress-acme", "run"].iter().chain(args);
        match Cli::try_parse_from(all)?.command {
            Command::Run(args) => Ok(*args),
            other => panic!("parsed as {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn without_flags_the_documented_defaults_hold() {
        let args = run(&[]).unwrap();
        let (settings, config) = args.split();
        assert_eq!(settings.directory, LETS_ENCRYPT);
        assert_eq!(settings.issuers, 64);
        assert_eq!(settings.settle_times, SettleTimes::default());
        assert_eq!(settings.scan_interval, Duration::from_hours(1));
        assert!(config.leader_elect && settings.guards && settings.owner_references);
        assert_eq!(config.solver_linger, limits::SOLVER_LINGER);
        assert_eq!(settings.install_id, config.namespace);
        let named = run(&["--namespace", "staging", "--install-id", "one"]).unwrap().split();
        assert_eq!((&*named.0.install_id, &*named.1.namespace), ("one", "staging"));
        let elsewhere = run(&["--namespace", "staging"]).unwrap().split().0;
        assert_eq!(elsewhere.install_id, "staging");
        let staging =
            ["--acme-directory", "https://acme-staging-v02.api.letsencrypt.org/directory"];
        assert!(!run(&staging).unwrap().split().0.guards);
    }

    #[test]
    fn bad_values_are_refused_with_what_would_be_good() {
        let refused = |args: &[&str]| run(args).unwrap_err().to_string();
        assert!(refused(&["--settle", "soon"]).contains("such as 500ms"));
        assert!(refused(&["--settle", "2000000000h"]).contains("longer than 878400h"));
        assert!(refused(&["--contact", "ops@example.com"]).contains("mailto:ops@example.com"));
        assert!(refused(&["--scan-interval", "1s"]).contains("at least 1m"));
        assert!(refused(&["--solver-linger", "36s"]).contains("at most 35s"));
        assert!(refused(&["--leader-elect", "maybe"]).contains("true"));
        assert!(refused(&["--acme-directory", "ftp://x/"]).contains("not an https URL"));
        let long = format!("https://ca.example/{}", "x".repeat(2_048));
        assert!(refused(&["--acme-directory", &long]).contains("at most 2048 are accepted"));
        assert!(refused(&["--watch-namespace", "Bad_NS"]).contains("namespace"));
        assert!(refused(&["--install-id", "Pro duction"]).contains("lower-case letters"));
        assert!(run(&["--issuers", "0"]).is_err());
        assert!(refused(&["--copy-annotations", "a/b"]).contains("not the prefix"));
        for reserved in ["kubernetes.io", "meta.k8s.io/", "ingress-acme.dev"] {
            assert!(refused(&["--copy-annotations", reserved]).contains("not copied"));
        }
        let copied = run(&["--copy-annotations", "a.io/,my-k8s.io"]).unwrap().split().1;
        assert_eq!(copied.copied_prefixes, ["a.io", "my-k8s.io"]);
        for bad in ["alb", "alb:name", ":name=value", "alb:=value"] {
            assert!(refused(&["--solver-annotation", bad]).contains("CLASS:NAME=VALUE"), "{bad}");
        }
        let added =
            run(&["--solver-annotation", "a/b:c.io/d=e=f,e", "--solver-annotation", "*:g="])
                .unwrap()
                .split()
                .1;
        let annotation = |class: Option<&str>, name: &str, value: &str| SolverAnnotation {
            class: class.map(str::to_owned),
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let expected = [annotation(Some("a/b"), "c.io/d", "e=f,e"), annotation(None, "g", "")];
        assert_eq!(added.solver_annotations, expected);
        let bare = run(&["--nameserver", "1.1.1.1"]).unwrap().split().1.nameserver;
        assert_eq!(bare, Some("1.1.1.1:53".parse().unwrap()));
    }

    #[test]
    fn flags_repeat_and_a_switch_takes_its_value() {
        let flags = ["--watch-namespace", "a", "--watch-namespace", "b", "--leader-elect", "false"];
        let args = run(&flags).unwrap();
        let (_, config) = args.split();
        assert_eq!((config.watch_namespaces.len(), config.leader_elect), (2, false));
        let (settings, config) =
            run(&["--dns01-resolvers", "1.1.1.1,[::1]:5353", "--dns-persist-01"]).unwrap().split();
        let expected = ["1.1.1.1:53", "[::1]:5353"].map(|address| address.parse().unwrap());
        assert_eq!(config.dns01_resolvers, expected);
        assert!(settings.dns_persist_01 && !run(&[]).unwrap().split().0.dns_persist_01);
    }

    proptest! {
        /// Flags also come from the environment, where anything may stand.
        #[test]
        fn any_text_of_a_flag_is_a_value_within_its_bounds_or_a_reason(
            text in "-?[0-9]{0,25}(ms|s|m|h|d|y|us| )?|P?T?[0-9]{1,20}[HMS]|.{0,60}|[0-9a-f:.]{0,40}|https://[a-z:/@?]{0,30}",
        ) {
            let fits = |read: Result<bool, String>| read.is_ok_and(|fits| fits);
            let refused = |why: Option<String>| why.is_some_and(|why| !why.is_empty());
            let short = duration(&text).map(|read| read <= limits::FLAG_MAX);
            prop_assert!(fits(short.clone()) || refused(short.err()));
            let rare = scan_interval(&text).map(|read| read >= Duration::from_mins(1));
            prop_assert!(fits(rare.clone()) || refused(rare.err()));
            let secure = directory(&text).map(|url| url.scheme() == "https" && url.has_host());
            prop_assert!(fits(secure.clone()) || refused(secure.err()));
            let named = namespace(&text).map(|name| (1..=63).contains(&name.len()));
            prop_assert!(fits(named.clone()) || refused(named.err()));
            prop_assert!(nameserver(&text).is_ok() || nameserver(&text).is_err_and(|why| !why.is_empty()));
            prop_assert!(annotation_prefix(&text).is_ok_and(|prefix| prefix.len() <= 253)
                || annotation_prefix(&text).is_err_and(|why| !why.is_empty()));
            prop_assert!(contact(&text).is_ok() == (text.starts_with("mailto:") && text.contains('@')));
        }
    }
}
