//! `ingress-acme rollover`: replaces the key of the ACME account (RFC 8555 §7.3.5). The steps and
//! their order are in `acme`; running operators pick up the new key by themselves.

use std::process::ExitCode;

use anyhow::bail;
use ingress_acme_actors::domain::cas::Ca;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::{AccountStore, StoredAccount};
use kube::Client;

use crate::acme::shared_key::is_related;
use crate::acme::shared_rollover::{AtCa, SharedRollover, is_unfinished};
use crate::commands::cli::{AtTheCa, RolloverArgs};
use crate::commands::consent;
use crate::commands::status::print;
use crate::process::assembly::ca_of_a_command;
use crate::process::ca_sets::{CasOfCommand, cas_of_a_command, shared_secret};

/// Runs `rollover`.
pub async fn roll_over(args: RolloverArgs) -> anyhow::Result<ExitCode> {
    let RolloverArgs { acme_directory: directory, at } = args;
    let client = at.cluster.connect().await?;
    if let Some(path) = &at.cas_file {
        let cas = cas_of_a_command(&client, &at.own_namespace(), path)?;
        return roll_over_all(cas, &at).await;
    }
    let (namespace, file) = (at.own_namespace(), at.acme_ca_file.as_deref());
    let (account, acme) = ca_of_a_command(&client, &namespace, directory.as_str(), file)?;
    let Some(stored) = account.load().await? else {
        bail!(
            "namespace {namespace} has no ACME account of {directory}; check --namespace and --acme-directory, which must \
             be those of the operator"
        );
    };
    refuse_a_shared_key(&client, &namespace, &stored).await?;
    let url = stored.url.as_deref().unwrap_or("not registered, as far as is known");
    print(&format!(
        "Account  {url}\nCA       {directory}\nSecret   {namespace}/{}",
        account.name()
    ));
    if stored.next.is_some() {
        print("A rollover was started and not finished; it is resumed.");
    }
    print("\nThe account gets a new key; its current key cannot be used after that.");
    if at.dry.dry_run.is_on() {
        let (name, suffix) = (account.name(), at.dry.dry_run.suffix());
        return Ok(print(&format!("secret/{name} rolled over{suffix}")));
    }
    if !consent::given(at.yes)? {
        bail!("nothing was changed");
    }
    let done = acme.roll_over().await?;
    Ok(print(&format!(
        "Account {} has a new key, with the thumbprint {}.\n\
         The operator detects the new key by itself: the leading replica with its next request to the CA, the others within a \
         minute. A challenge that is answered with the old key in the meantime fails and is tried again.",
        done.url, done.thumbprint
    )))
}

/// Refuses the rollover of an account whose key CAs of a file share. An operator with that file
/// would go on with the key of before, which the CA of the account no longer accepts.
async fn refuse_a_shared_key(
    client: &Client,
    namespace: &str,
    stored: &StoredAccount,
) -> anyhow::Result<()> {
    let secret = shared_secret(client, namespace);
    if secret.load().await?.is_some_and(|shared| is_related(stored, &shared)) {
        bail!(
            "nothing was changed: the account has the key that the CAs of --cas-file share (Secret {namespace}/{}), and a \
             rollover at one CA would leave the operator with a key that this CA no longer has; run it with --cas-file and the \
             operator's file (where the operator has flags again, with a file that names their CA: the account of the flags \
             gets the new key too)",
            secret.name()
        );
    }
    Ok(())
}

/// The accounts at the CAs of a file.
#[derive(Default)]
struct Accounts {
    /// Whether there is one.
    is_known: bool,
    /// Names of the CAs that have one and do not change its key.
    fixed: Vec<String>,
}

/// Prints the account at each CA of a file. A CA that does not answer stops nothing: the others are
/// asked.
async fn print_accounts(cas: &CasOfCommand) -> Accounts {
    let mut accounts = Accounts::default();
    for (ca, acme) in &cas.all {
        let Ca { name, directory, .. } = ca;
        print(&match acme.known_issuer().await {
            Ok(Some(issuer)) => {
                accounts.is_known = true;
                if acme.changes_keys().await.is_ok_and(|offered| !offered) {
                    accounts.fixed.push(name.clone());
                }
                format!(
                    "Account  {}\nCA       {directory} ({name})",
                    issuer.account.unwrap_or_default()
                )
            }
            Ok(None) => format!("No account at {directory} ({name})"),
            Err(error) => format!("Not known: the account at {directory} ({name}): {error}"),
        });
    }
    accounts
}

/// Gives the key that the accounts at all CAs of a file share a successor, or goes on with one that
/// was given to some of them.
async fn roll_over_all(cas: CasOfCommand, at: &AtTheCa) -> anyhow::Result<ExitCode> {
    let Some(stored) = cas.key.load().await? else {
        bail!("namespace {} has no account key of --cas-file", at.own_namespace());
    };
    let accounts = print_accounts(&cas).await;
    if !accounts.fixed.is_empty() && !is_unfinished(&stored) {
        bail!(
            "nothing was changed: {} offers no change of an account's key (RFC 8555 §7.3.5), so that its account would be lost. \
             Give the command a copy of the file without that CA; the operator then registers a new account there with its \
             next order (with `externalAccount`, put a new one into that Secret first)",
            accounts.fixed.join(", ")
        );
    }
    if is_unfinished(&stored) {
        print("A rollover was started and not finished at each CA; it is resumed.");
    }
    print(
        "\nAll these accounts have one key. They get a new one; the current key cannot be used after that.",
    );
    if at.dry.dry_run.is_on() {
        return Ok(print(&format!("account key rolled over{}", at.dry.dry_run.suffix())));
    }
    if !accounts.is_known {
        bail!("no CA that answers knows an account of the key");
    }
    if !consent::given(at.yes)? {
        bail!("nothing was changed");
    }
    // Where the flags stored the key, it has a Secret of its own from now on.
    cas.key.create(&stored.key, stored.next.as_ref()).await?;
    roll_over_each(&cas).await
}

/// Gives the account at each CA the new key, and says what has become of it.
async fn roll_over_each(cas: &CasOfCommand) -> anyhow::Result<ExitCode> {
    let mut rollover = SharedRollover::begin(cas.key.clone()).await?;
    let mut left = Vec::new();
    for (ca, acme) in &cas.all {
        let outcome = rollover.at(acme).await?;
        print(&format!("{}: {}", ca.name, told(&outcome)));
        if matches!(outcome, AtCa::Left(_) | AtCa::Refused(_)) {
            left.push(ca.name.as_str());
        }
    }
    let thumbprint = rollover.end().await?;
    print(&format!("\nChallenges are answered with the thumbprint {thumbprint}."));
    if !left.is_empty() {
        bail!(
            "left: {}. The former key is kept for them, and no other rollover begins before they have the new one: run the \
             command again once they answer, or after the next order there, with which the operator finishes as well. To end it \
             without them, give the command a copy of the file that lacks them: the key is kept for {} more rollovers, and \
             their accounts get the new one with their next order",
            left.join(", "),
            limits::RETIRED_KEYS
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn told(outcome: &AtCa) -> String {
    match outcome {
        AtCa::Changed => "the account has the new key.".to_owned(),
        AtCa::NoAccount => "no account.".to_owned(),
        AtCa::Refused(error) => {
            format!(
                "{error}. The operator asks again with its next order there, and registers a new account with the new key if \
                 the CA refuses that too (with `externalAccount`, that takes a new one in its Secret)."
            )
        }
        AtCa::Left(error) => format!("{error}. Its account has the former key for now."),
    }
}
