//! `ingress-acme rollover`: replaces the key of the ACME account (RFC 8555 §7.3.5). The steps and
//! their order are in `acme`; running operators pick up the new key by themselves.

use std::process::ExitCode;

use anyhow::bail;
use ingress_acme_actors::domain::cas::Ca;
use ingress_acme_actors::ports::AccountStore;

use crate::acme::Acme;
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

/// The CAs of a file that know an account of its key. Prints them.
async fn known_accounts(cas: &CasOfCommand) -> anyhow::Result<Vec<&(Ca, Acme)>> {
    let mut accounts = Vec::new();
    for one in &cas.all {
        let (ca, acme) = one;
        match acme.known_issuer().await? {
            Some(issuer) => {
                let url = issuer.account.unwrap_or_default();
                print(&format!("Account  {url}\nCA       {} ({})", ca.directory, ca.name));
                accounts.push(one);
            }
            None => _ = print(&format!("No account at {} ({})", ca.directory, ca.name)),
        }
    }
    Ok(accounts)
}

/// Gives the key that the accounts at all CAs of a file share a successor: at the first CA that has
/// an account as at an only one, and then at the others.
async fn roll_over_all(cas: CasOfCommand, at: &AtTheCa) -> anyhow::Result<ExitCode> {
    let Some(before) = cas.key.load().await? else {
        bail!("namespace {} has no account key of --cas-file", at.own_namespace());
    };
    let say = |line: &str| _ = print(line);
    let accounts = known_accounts(&cas).await?;
    print(
        "\nAll these accounts have one key. They get a new one; the current key cannot be used after that.",
    );
    if at.dry.dry_run.is_on() {
        return Ok(print(&format!("account key rolled over{}", at.dry.dry_run.suffix())));
    }
    let mut accounts = accounts.into_iter();
    let Some((first, acme)) = accounts.next() else { bail!("no CA knows an account of the key") };
    if !consent::given(at.yes)? {
        bail!("nothing was changed");
    }
    let done = acme.roll_over().await?;
    print(&format!(
        "{}: the account has a new key, with the thumbprint {}.",
        first.name, done.thumbprint
    ));
    let Some(after) = cas.key.load().await? else { bail!("the account key is gone") };
    let mut all_changed = true;
    for (ca, acme) in accounts {
        let changed = acme.change_key(&before.key, &after.key).await;
        all_changed &= changed.is_ok();
        say(&match changed {
            Ok(_) => format!("{}: the same.", ca.name),
            Err(error) => format!(
                "{}: {error}. The operator registers a new account with the new key there.",
                ca.name
            ),
        });
    }
    Ok(if all_changed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
