//! `ingress-acme caa`: the CAA record that locks a domain to the operator's ACME account (RFC
//! 8657), and the effect of the present records. Changes nothing.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, bail, ensure};
use ingress_acme_actors::domain::caa::{CaaSet, Issuer, Permission, locking_record};
use ingress_acme_actors::domain::cas::Ca;
use ingress_acme_actors::domain::issuance::Method;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::ports::AccountStore;
use kube::Client;

use crate::acme::Acme;
use crate::commands::cli::CaaArgs;
use crate::commands::status::print;
use crate::dns_and_http::probe::Names;
use crate::kubernetes::account_secret::AccountSecret;
use crate::process::assembly::ca_of_a_command;
use crate::process::ca_sets::{CasOfCommand, cas_of_a_command, hint_at_the_file};

/// Runs `caa`. Fails where the present records forbid the CA to issue.
pub async fn show(args: CaaArgs) -> anyhow::Result<ExitCode> {
    let (client, namespace) = (args.cluster.connect().await?, args.own_namespace());
    if let Some(path) = args.cas_file.as_deref() {
        return show_all(&args, cas_of_a_command(&client, &namespace, path)?).await;
    }
    let (account, issuer) = registered(&args, &client, &namespace).await?;
    let CaaArgs { host, acme_directory: directory, nameserver, .. } = args;
    let Some(record) = locking_record(&issuer, &host) else {
        bail!(
            "{directory} names no caaIdentities (RFC 8555 §7.1.1), so no CAA record can name the CA"
        );
    };
    let ((method, how), domain) = (method_of(&host), host.base());
    print(&format!(
        "This record lets only this account issue for {host}, and only {how} (RFC 8657):\n\n\
         {domain}. CAA {record}\n\n\
         Attention: it locks out every other account, also the next one of this operator after its account was lost.\n\
         Back up the Secret {namespace}/{}, and change the record before the account changes.\n",
        account.name(),
    ));
    let found = present(nameserver, &host).await?;
    Ok(report(&found, &found.permission(&issuer, &host, method), method))
}

/// The account of the flags and its CA's identities. Fails where the account is not registered.
pub(super) async fn registered(
    args: &CaaArgs,
    client: &Client,
    namespace: &str,
) -> anyhow::Result<(Rc<AccountSecret>, Issuer)> {
    let (directory, file) = (args.acme_directory.as_str(), args.acme_ca_file.as_deref());
    let (account, acme) = ca_of_a_command(client, namespace, directory, file)?;
    let stored = account.load().await?;
    if let Some(stored) = &stored {
        hint_at_the_file(client, namespace, stored).await;
    }
    if stored.is_none_or(|stored| stored.url.is_none()) {
        bail!(
            "namespace {namespace} has no registered ACME account of {directory}; check --namespace and \
             --acme-directory, which must be those of the operator"
        );
    }
    Ok((account, acme.fetch_issuer().await?))
}

/// Method by which a name is validated without further choice, and its words.
fn method_of(host: &DnsName) -> (Method, &'static str) {
    if host.is_wildcard() { (Method::Dns01, "in DNS") } else { (Method::Http01, "by HTTP-01") }
}

async fn present(nameserver: Option<SocketAddr>, host: &DnsName) -> anyhow::Result<CaaSet> {
    let found = Names::new(nameserver)?.caa(host).await.map_err(anyhow::Error::msg);
    found.context("the present CAA records are not known, and a CA issues nothing then")
}

/// The records for the CAs of a file that have an account. Fails where the present records forbid
/// one of them to issue.
async fn show_all(args: &CaaArgs, cas: CasOfCommand) -> anyhow::Result<ExitCode> {
    let (host, (method, how)) = (&args.host, method_of(&args.host));
    let say = |line: &str| _ = print(line);
    let is_meant = |ca: &Ca| args.ca.as_ref().is_none_or(|name| *name == ca.name);
    let meant: Vec<_> = cas.all.iter().filter(|(ca, _)| is_meant(ca)).collect();
    ensure!(!meant.is_empty(), "the file of --cas-file has no CA of that name");
    let (issuers, unnamed) = print_records(&meant, host).await;
    ensure!(!issuers.is_empty(), "no record can name one of these CAs");
    print(&format!(
        "\nEach record lets this operator's account at one CA issue for {host}, only {how} (RFC 8657). Together they \
         lock out all other CAs and accounts.\n"
    ));
    let found = present(args.nameserver, host).await?;
    let mut worst = ExitCode::SUCCESS;
    if !unnamed.is_empty() {
        let unnamed = unnamed.join(", ");
        say(&format!(
            "Attention: {unnamed} has no record here, for the reason above, and these records alone lock it out; run this again.\n"
        ));
        worst = ExitCode::FAILURE;
    }
    for (name, issuer) in issuers {
        print(&format!("{name}:"));
        let reported = report(&found, &found.permission(&issuer, host, method), method);
        if reported != ExitCode::SUCCESS {
            worst = reported;
        }
    }
    Ok(worst)
}

/// Prints the record for each of these CAs that has an account. Returns those that a record can
/// name, and the names of those that have no account yet or could not be asked.
async fn print_records<'a>(
    meant: &[&'a (Ca, Acme)],
    host: &DnsName,
) -> (Vec<(&'a String, Issuer)>, Vec<&'a str>) {
    let (mut issuers, mut unnamed) = (Vec::new(), Vec::new());
    let say = |line: &str| _ = print(line);
    for (ca, acme) in meant.iter().copied() {
        let name = &ca.name;
        match acme.known_issuer().await {
            Ok(Some(issuer)) => match locking_record(&issuer, host) {
                Some(record) => {
                    say(&format!("{name}: {}. CAA {record}", host.base()));
                    issuers.push((name, issuer));
                }
                None => say(&format!("{name}: it names no caaIdentities (RFC 8555 §7.1.1)")),
            },
            Ok(None) => {
                say(&format!("{name}: no account yet; the first order makes one"));
                unnamed.push(&**name);
            }
            Err(error) => {
                say(&format!("{name}: {error}"));
                unnamed.push(&**name);
            }
        }
    }
    (issuers, unnamed)
}

fn report(found: &CaaSet, permission: &Permission, method: Method) -> ExitCode {
    let now = if found.records.is_empty() {
        "Now: no CAA record, so any CA may issue".to_owned()
    } else {
        format!("Now: {}. CAA {}", found.domain, found.shown())
    };
    match permission {
        Permission::Allowed => {
            let method = method.as_str().to_ascii_uppercase();
            print(&format!("{now}\n     this account may issue by {method}"))
        }
        Permission::Unknown(why) => {
            print(&format!("{now}\n     whether this account may issue is not known: {why}"));
            ExitCode::FAILURE
        }
        Permission::Forbidden(why) => {
            print(&format!("{now}\n     this account may not issue: {why}"));
            ExitCode::FAILURE
        }
    }
}
