//! `ingress-acme caa`: the CAA record that locks a domain to the operator's ACME account (RFC
//! 8657), and the effect of the present records. Changes nothing.

use std::process::ExitCode;

use anyhow::{Context, bail};
use ingress_acme_actors::domain::caa::{CaaSet, Permission, locking_record};
use ingress_acme_actors::domain::method::Method;
use ingress_acme_actors::ports::AccountStore;

use crate::commands::cli::CaaArgs;
use crate::commands::status::print;
use crate::dns_and_http::probe::Names;
use crate::process::assembly::ca_of_a_command;

/// Runs `caa`. Fails where the present records forbid the CA to issue.
pub async fn show(args: CaaArgs) -> anyhow::Result<ExitCode> {
    let (client, namespace) = (args.cluster.connect().await?, args.own_namespace());
    let CaaArgs { host, acme_directory: directory, acme_ca_file, nameserver, .. } = args;
    let file = acme_ca_file.as_deref();
    let (account, acme) = ca_of_a_command(&client, &namespace, directory.as_str(), file)?;
    if account.load().await?.is_none_or(|stored| stored.url.is_none()) {
        bail!(
            "namespace {namespace} has no registered ACME account of {directory}; check --namespace and \
             --acme-directory, which must be those of the operator"
        );
    }
    let issuer = acme.fetch_issuer().await?;
    let Some(record) = locking_record(&issuer, &host) else {
        bail!(
            "{directory} names no caaIdentities (RFC 8555 §7.1.1), so no CAA record can name the CA"
        );
    };
    let (method, how) =
        if host.is_wildcard() { (Method::Dns01, "in DNS") } else { (Method::Http01, "by HTTP-01") };
    let domain = host.base();
    print(&format!(
        "This record lets only this account issue for {host}, and only {how} (RFC 8657):\n\n\
         {domain}. CAA {record}\n\n\
         Attention: it locks out every other account, also the next one of this operator after its account was lost.\n\
         Back up the Secret {namespace}/{}, and change the record before the account changes.\n",
        account.name(),
    ));
    let found = Names::new(nameserver)?.caa(&host).await;
    let found = found.map_err(anyhow::Error::msg);
    let found =
        found.context("the present CAA records are not known, and a CA issues nothing then")?;
    Ok(report(&found, &found.permission(&issuer, &host, method), method))
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
