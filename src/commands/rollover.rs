//! `ingress-acme rollover`: replaces the key of the ACME account (RFC 8555 §7.3.5). The steps and
//! their order are in `acme`; running operators pick up the new key by themselves.

use std::process::ExitCode;

use anyhow::bail;
use ingress_acme_actors::ports::AccountStore;

use crate::commands::cli::RolloverArgs;
use crate::commands::consent;
use crate::commands::status::print;
use crate::process::assembly::ca_of_a_command;

/// Runs `rollover`.
pub async fn roll_over(args: RolloverArgs) -> anyhow::Result<ExitCode> {
    let RolloverArgs { acme_directory: directory, at } = args;
    let client = at.cluster.connect().await?;
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
