//! `ingress-acme rollover`: replaces the key of the ACME account (RFC 8555 §7.3.5). The steps and
//! their order are in `acme`; running operators pick up the new key by themselves.

use std::process::ExitCode;

use anyhow::bail;
use ingress_acme_actors::domain::cas::Ca;
use ingress_acme_actors::ports::AccountStore;

use crate::acme::shared_rollover::{AtCa, SharedRollover, is_unfinished};
use crate::commands::cli::{AtTheCa, RolloverArgs};
use crate::commands::consent;
use crate::commands::status::print;
use crate::process::assembly::ca_of_a_command;
use crate::process::ca_sets::{CasOfCommand, cas_of_a_command};

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

/// Prints the account at each CA of a file, and returns whether there is one. A CA that does not
/// answer stops nothing: the others are asked.
async fn print_accounts(cas: &CasOfCommand) -> bool {
    let mut is_known = false;
    for (ca, acme) in &cas.all {
        let Ca { name, directory, .. } = ca;
        print(&match acme.known_issuer().await {
            Ok(Some(issuer)) => {
                is_known = true;
                format!(
                    "Account  {}\nCA       {directory} ({name})",
                    issuer.account.unwrap_or_default()
                )
            }
            Ok(None) => format!("No account at {directory} ({name})"),
            Err(error) => format!("Not known: the account at {directory} ({name}): {error}"),
        });
    }
    is_known
}

/// Gives the key that the accounts at all CAs of a file share a successor, or goes on with one that
/// was given to some of them.
async fn roll_over_all(cas: CasOfCommand, at: &AtTheCa) -> anyhow::Result<ExitCode> {
    let Some(stored) = cas.key.load().await? else {
        bail!("namespace {} has no account key of --cas-file", at.own_namespace());
    };
    let is_known = print_accounts(&cas).await;
    if is_unfinished(&stored) {
        print("A rollover was started and not finished at each CA; it is resumed.");
    }
    print(
        "\nAll these accounts have one key. They get a new one; the current key cannot be used after that.",
    );
    if at.dry.dry_run.is_on() {
        return Ok(print(&format!("account key rolled over{}", at.dry.dry_run.suffix())));
    }
    if !is_known {
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
    let (mut left, mut all_changed) = (Vec::new(), true);
    for (ca, acme) in &cas.all {
        let outcome = rollover.at(acme).await?;
        print(&format!("{}: {}", ca.name, told(&outcome)));
        all_changed &= matches!(outcome, AtCa::Changed | AtCa::NoAccount);
        if matches!(outcome, AtCa::Left(_)) {
            left.push(ca.name.as_str());
        }
    }
    let thumbprint = rollover.end().await?;
    print(&format!("\nChallenges are answered with the thumbprint {thumbprint}."));
    if !left.is_empty() {
        bail!(
            "left: {}. The former key is kept for them: run the command again once they answer, or take them out of the \
             file. The operator finishes at each of them as well, with its next order there",
            left.join(", ")
        );
    }
    Ok(if all_changed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(outcome: &AtCa) -> String {
    match outcome {
        AtCa::Changed => "the account has the new key.".to_owned(),
        AtCa::NoAccount => "no account.".to_owned(),
        AtCa::Refused(error) => {
            format!("{error}. The operator registers a new account with the new key there.")
        }
        AtCa::Left(error) => format!("{error}. Its account has the former key for now."),
    }
}
