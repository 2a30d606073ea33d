//! `ingress-acme thumbprint`: the thumbprint of the account key (RFC 7638), with which a load
//! balancer in front of the cluster can answer HTTP-01 challenges itself: the answer to a token is
//! the token, a dot and the thumbprint (RFC 8555 §8.1). Asks the CA nothing, and changes nothing.

use std::process::ExitCode;
use std::rc::Rc;

use anyhow::bail;
use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::ports::AccountStore;

use crate::acme;
use crate::commands::cli::{LoadBalancer, ThumbprintArgs};
use crate::commands::status::print;
use crate::dns_and_http::solver::TOKEN;
use crate::kubernetes::account_secret::AccountSecret;
use crate::process::ca_sets::{hint_at_the_file, shared_key};
use crate::process::cas_file;

/// Runs `thumbprint`.
pub async fn show(args: ThumbprintArgs) -> anyhow::Result<ExitCode> {
    let (client, namespace) = (args.cluster.connect().await?, args.own_namespace());
    let (account, whose): (Rc<dyn AccountStore>, _) = if let Some(path) = &args.cas_file {
        let key = shared_key(&client, &namespace, &cas_file::read(path)?);
        (Rc::new(key.looking()), "the CAs of --cas-file".to_owned())
    } else {
        let directory = args.acme_directory.to_string();
        (Rc::new(AccountSecret::new(client.clone(), &namespace, &directory, None)), directory)
    };
    let Some(stored) = account.load().await? else {
        bail!(
            "namespace {namespace} has no ACME account of {whose}: the operator makes the account's key when it starts \
             with that CA for the first time; check --namespace and --acme-directory, which must be those of the operator \
             (the accounts of a fallback CA and of a rehearsal CA have the key of the first CA's account)"
        );
    };
    if args.cas_file.is_none() {
        hint_at_the_file(&client, &namespace, &stored).await;
    }
    let of = |key: &PrivateKey| acme::thumbprint(key).map_err(anyhow::Error::msg);
    let thumbprint = of(&stored.key)?;
    if stored.next.is_some() {
        eprintln!(
            "ingress-acme: a rollover of this account's key was started and not finished, so the CA may have the next key \
             already: run `ingress-acme rollover` and then this command again"
        );
    }
    Ok(match args.snippet {
        None => print(&thumbprint),
        Some(program) => {
            let accounts = accounts(args.cas_file.is_some(), &whose);
            print(&snippet(program, &thumbprint, &accounts))
        }
    })
}

/// Comment about the accounts that have the key.
fn accounts(is_file: bool, whose: &str) -> String {
    let of = if is_file {
        format!("accounts at {whose},\n# which all have the same key")
    } else {
        format!(
            "account at {whose},\n\
             # and of the accounts at the fallback CA and at the rehearsal CA, which have the same key"
        )
    };
    format!(
        "# Answers HTTP-01 challenges of the ACME {of}.\n\
         # After `ingress-acme rollover`, `ingress-acme thumbprint` prints this anew.\n"
    )
}

/// Configuration that answers a token exactly when the operator's solver does.
fn snippet(program: LoadBalancer, thumbprint: &str, accounts: &str) -> String {
    let (shortest, longest) = (TOKEN.start(), TOKEN.end());
    let token = format!("[A-Za-z0-9_-]{{{shortest},{longest}}}");
    let place_and_rule = match program {
        LoadBalancer::Haproxy => format!(
            "# Goes into each frontend of port 80, before its other http-request rules.\n\
             http-request return status 200 content-type text/plain lf-string \"%[path,field(4,/)].{thumbprint}\" \
             if METH_GET {{ path -m reg '^/[.]well-known/acme-challenge/{token}$' }}"
        ),
        LoadBalancer::Nginx => format!(
            "# Goes into each server of port 80, before its other locations with a regular expression. A `return` of the\n\
             # server itself comes before any location: move it into `location / {{ ... }}`.\n\
             location ~ '^/[.]well-known/acme-challenge/({token})\\z' {{\n\
             \x20   default_type text/plain;\n\
             \x20   return 200 \"$1.{thumbprint}\";\n\
             }}"
        ),
    };
    format!("{accounts}{place_and_rule}")
}
