//! The command line, which is a contract: other programs call it so. Every flag also reads the environment.

mod account;
#[cfg(feature = "sim")]
mod sim;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ingress_acme_actors::domain::dedup::Windows;
use ingress_acme_actors::domain::ingress::IngressKey;
use ingress_acme_actors::domain::selection::{Manage, Selection};
use ingress_acme_actors::operator::Settings;

pub use account::{AtTheCa, RevokeArgs, RolloverArgs};
#[cfg(feature = "sim")]
pub use sim::{DemoArgs, StormArgs, TargetArg};

/// Let's Encrypt's production directory.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Gives every Ingress a valid TLS certificate from an ACME CA.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator
    Run(Box<RunArgs>),
    /// List Ingresses with the state of their certificates
    Status(StatusArgs),
    /// Tell all about one Ingress: what it asks for, what is there, what happens next
    Explain(OneIngress),
    /// Ask for a new certificate for one Ingress, though the present one is good
    Renew(OneIngress),
    /// Revoke the certificates of one Ingress at their CA, and ask for new ones
    Revoke(RevokeArgs),
    /// Give the ACME account a new key
    Rollover(RolloverArgs),
    /// See the whole system at work on this machine, in a simulated world
    #[cfg(feature = "sim")]
    Demo(DemoArgs),
    /// Load test: many Ingresses at once, on a simulated world or on a cluster
    #[cfg(feature = "sim")]
    Storm(Box<StormArgs>),
}

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// ACME directory of the CA
    #[arg(long, env = "INGRESS_ACME_ACME_DIRECTORY", default_value = LETS_ENCRYPT, value_name = "URL",
          value_parser = directory)]
    pub acme_directory: url::Url,
    /// File with a further root certificate that the directory's own TLS may use
    #[arg(long, env = "INGRESS_ACME_ACME_CA_FILE", value_name = "PEM")]
    pub acme_ca_file: Option<PathBuf>,
    /// Contact of the ACME account, such as mailto:ops@example.com
    #[arg(long, env = "INGRESS_ACME_CONTACT", value_name = "URL", value_parser = contact)]
    pub contact: Option<String>,
    /// Secret in the operator's namespace with the external account (`kid`, `hmac`) that a new ACME account is bound to
    #[arg(long, env = "INGRESS_ACME_EAB_SECRET", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub eab_secret: Option<String>,
    /// The operator's own namespace [default: that of the pod, or ingress-acme]
    #[arg(long, env = "INGRESS_ACME_NAMESPACE", value_name = "NS")]
    pub namespace: Option<String>,
    /// Where challenges are answered
    #[arg(
        long,
        env = "INGRESS_ACME_SOLVER_BIND",
        default_value = "0.0.0.0:8089",
        value_name = "ADDR"
    )]
    pub solver_bind: SocketAddr,
    /// Where health, metrics and state are served
    #[arg(
        long,
        env = "INGRESS_ACME_ADMIN_BIND",
        default_value = "0.0.0.0:9090",
        value_name = "ADDR"
    )]
    pub admin_bind: SocketAddr,
    /// DNS server that the probe of our own routes asks [default: the system's]
    #[arg(long, env = "INGRESS_ACME_NAMESERVER", value_name = "ADDR", value_parser = nameserver)]
    pub nameserver: Option<SocketAddr>,
    /// Port at which the probe reaches hosts
    #[arg(long, env = "INGRESS_ACME_PROBE_PORT", default_value_t = 80, value_name = "PORT")]
    pub probe_port: u16,
    /// Which Ingresses are managed: all but those with ingress-acme.dev/enabled: "false", or only those with "true"
    #[arg(long, env = "INGRESS_ACME_MANAGE", value_enum, default_value_t)]
    pub manage: ManageArg,
    /// Only Ingresses of this class; repeatable [default: any]
    #[arg(long, env = "INGRESS_ACME_INGRESS_CLASS", value_name = "CLASS", value_delimiter = ',')]
    pub ingress_class: Vec<String>,
    /// Only Ingresses of this namespace; repeatable [default: all]
    #[arg(long, env = "INGRESS_ACME_WATCH_NAMESPACE", value_name = "NS", value_delimiter = ',',
          value_parser = namespace)]
    pub watch_namespace: Vec<String>,
    /// Certificates worked on at once
    #[arg(long, env = "INGRESS_ACME_ISSUERS", default_value_t = 64, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub issuers: u16,
    /// How often each certificate is looked at
    #[arg(long, env = "INGRESS_ACME_SCAN_INTERVAL", default_value = "1h", value_parser = scan_interval)]
    pub scan_interval: Duration,
    /// Quiet time after which a burst of events on one Ingress is over
    #[arg(long, env = "INGRESS_ACME_SETTLE", default_value = "1s", value_parser = duration)]
    pub settle: Duration,
    /// Longest wait for a burst of events to be over
    #[arg(long, env = "INGRESS_ACME_SETTLE_MAX", default_value = "5s", value_parser = duration)]
    pub settle_max: Duration,
    /// ACME profile to ask for [default: the CA's]
    #[arg(long, env = "INGRESS_ACME_PROFILE", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub profile: Option<String>,
    /// Of the chains that the CA offers, the one whose topmost issuer has this common name [default: the CA's]
    #[arg(long, env = "INGRESS_ACME_PREFERRED_CHAIN", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub preferred_chain: Option<String>,
    /// Of several replicas only the holder of the Lease issues; all answer challenges
    #[arg(long, env = "INGRESS_ACME_LEADER_ELECT", default_value_t = true, action = clap::ArgAction::Set,
          value_name = "true|false")]
    pub leader_elect: bool,
}

/// `--manage`.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum ManageArg {
    /// All that do not opt out.
    #[default]
    All,
    /// Only those that opt in.
    Annotated,
}

/// Flags of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Namespace [default: that of the kubeconfig's context]
    #[arg(short = 'n', long, conflicts_with = "all_namespaces", value_parser = namespace)]
    pub namespace: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Form of the output
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Output,
}

/// `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// One Ingress.
#[derive(Debug, Args)]
pub struct OneIngress {
    /// The Ingress
    #[arg(value_name = "NS/NAME")]
    pub ingress: IngressKey,
}

/// What of the flags is for the adapters; the rest is for the actors, as [`Settings`].
#[derive(Debug)]
pub struct Surroundings {
    /// The operator's own namespace.
    pub namespace: String,
    /// Contacts of the ACME account.
    pub contacts: Vec<String>,
    /// Secret of the external account.
    pub eab_secret: Option<String>,
    /// Issuer of the chain to take.
    pub preferred_chain: Option<String>,
    /// File with a further root for the directory's TLS.
    pub acme_ca_file: Option<PathBuf>,
    /// Where challenges are answered.
    pub solver_bind: SocketAddr,
    /// Where health, metrics and state are served.
    pub admin_bind: SocketAddr,
    /// DNS server of the probe.
    pub nameserver: Option<SocketAddr>,
    /// Port of the probe.
    pub probe_port: u16,
    /// Namespaces to watch; empty means all.
    pub watch_namespaces: Vec<String>,
    /// Whether one of several replicas must be chosen.
    pub leader_elect: bool,
}

impl RunArgs {
    /// Every flag goes one way or the other: one that goes nowhere does not compile.
    pub fn split(self) -> (Settings, Surroundings) {
        #[rustfmt::skip] // one line per dozen of flags
        let Self {
            acme_directory, acme_ca_file, contact, eab_secret, namespace, solver_bind, admin_bind, nameserver, probe_port,
            manage, ingress_class, watch_namespace, issuers, scan_interval, settle, settle_max, profile,
            preferred_chain, leader_elect,
        } = self;
        let manage = match manage {
            ManageArg::All => Manage::All,
            ManageArg::Annotated => Manage::Annotated,
        };
        let watched: BTreeSet<String> = watch_namespace.into_iter().collect();
        let settings = Settings {
            directory: acme_directory.to_string(),
            selection: Selection { manage, classes: ingress_class },
            profile,
            windows: Windows { settle, settle_max: settle_max.max(settle) },
            issuers: usize::from(issuers),
            scan_interval,
        };
        let surroundings = Surroundings {
            namespace: own_namespace(namespace),
            contacts: contact.into_iter().collect(),
            eab_secret,
            preferred_chain,
            acme_ca_file,
            solver_bind,
            admin_bind,
            nameserver,
            probe_port,
            watch_namespaces: watched.into_iter().collect(),
            leader_elect,
        };
        (settings, surroundings)
    }
}

fn own_namespace(given: Option<String>) -> String {
    let given = given.or_else(|| std::env::var("POD_NAMESPACE").ok());
    given.filter(|name| !name.is_empty()).unwrap_or_else(|| "ingress-acme".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("`{text}` is not a duration such as 500ms, 30s, 5m or 1h"))?;
    parsed.try_into().map_err(|_| format!("`{text}` is negative"))
}

fn scan_interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < Duration::from_mins(1) {
        return Err("a scan reads every Secret: at least 1m".to_owned());
    }
    Ok(interval)
}

/// A DNS label (RFC 1123), as every namespace's name is.
fn namespace(text: &str) -> Result<String, String> {
    let legal = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    let bounded = !text.starts_with('-') && !text.ends_with('-');
    if !(1..=63).contains(&text.len()) || !bounded || !text.bytes().all(legal) {
        return Err(format!("`{text}` is not the name of a namespace"));
    }
    Ok(text.to_owned())
}

/// RFC 8555 §6.1 asks for https.
fn directory(text: &str) -> Result<url::Url, String> {
    let url = text.parse::<url::Url>().ok().filter(|url| url.scheme() == "https" && url.has_host());
    url.ok_or_else(|| format!("`{text}` is not an https URL"))
}

/// An address, with port 53 unless it says otherwise.
fn nameserver(text: &str) -> Result<SocketAddr, String> {
    let bare = || text.parse().map(|address: std::net::IpAddr| SocketAddr::new(address, 53));
    let parsed = text.parse().or_else(|_| bare());
    parsed.map_err(|_| format!("`{text}` is not an address such as 10.0.0.10 or 10.0.0.10:53"))
}

fn contact(text: &str) -> Result<String, String> {
    if !text.starts_with("mailto:") || !text.contains('@') {
        return Err(format!("`{text}` is not a contact such as mailto:ops@example.com"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let (settings, surroundings) = args.split();
        assert_eq!(settings.directory, LETS_ENCRYPT);
        assert_eq!(settings.issuers, 64);
        assert_eq!(settings.windows, Windows::default());
        assert_eq!(settings.scan_interval, Duration::from_hours(1));
        assert!(surroundings.leader_elect);
    }

    #[test]
    fn bad_values_are_refused_with_what_would_be_good() {
        let refused = |args: &[&str]| run(args).unwrap_err().to_string();
        assert!(refused(&["--settle", "soon"]).contains("such as 500ms"));
        assert!(refused(&["--contact", "ops@example.com"]).contains("mailto:ops@example.com"));
        assert!(refused(&["--scan-interval", "1s"]).contains("at least 1m"));
        assert!(refused(&["--leader-elect", "maybe"]).contains("true"));
        assert!(refused(&["--acme-directory", "ftp://x/"]).contains("not an https URL"));
        assert!(refused(&["--watch-namespace", "Bad_NS"]).contains("namespace"));
        assert!(run(&["--issuers", "0"]).is_err());
        let bare = run(&["--nameserver", "1.1.1.1"]).unwrap().split().1.nameserver;
        assert_eq!(bare, Some("1.1.1.1:53".parse().unwrap()));
    }

    #[test]
    fn flags_repeat_and_a_switch_takes_its_value() {
        let flags = ["--watch-namespace", "a", "--watch-namespace", "b", "--leader-elect", "false"];
        let args = run(&flags).unwrap();
        let (_, surroundings) = args.split();
        assert_eq!((surroundings.watch_namespaces.len(), surroundings.leader_elect), (2, false));
    }
}
