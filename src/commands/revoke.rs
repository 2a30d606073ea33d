//! `ingress-acme revoke`: revokes the certificates of one Ingress at their CA (RFC 8555 §7.6), and
//! requests new ones.
//!
//! The command uses the user's own permissions and does not contact the operator. The account key
//! is read if the user may read that Secret; nothing is registered.

mod choice;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::bail;
use ingress_acme_actors::domain::ingress::{IngressKey, SecretKey};
use ingress_acme_actors::ports::{AccountStore, Clock, PortError};
use kube::Client;

use crate::acme::{Acme, Revoked, RevokedBy};
use crate::commands::cli::{DryRun, Reason, RevokeArgs};
use crate::commands::consent;
use crate::commands::status;
use crate::commands::status::{plain, print};
use crate::kubernetes::tls_secrets::{Held, KubeTlsSecrets};
use crate::pki;
use crate::process::assembly::ca_of_a_command;
use crate::process::ca_sets::cas_of_a_command;
use crate::process::clock::SystemClock;
use choice::{AccountSeen, Signatory, revocable, signatory};

/// A certificate to be revoked.
struct Target {
    secret: SecretKey,
    held: Held,
    directory: String,
    acme: Acme,
    by: Signatory,
}

/// Runs `revoke [NS/]NAME`.
pub async fn revoke(args: RevokeArgs) -> anyhow::Result<ExitCode> {
    let RevokeArgs { ingress, ingress_namespace, reason, no_renew, at } = args;
    let (client, dry_run) = (at.cluster.connect().await?, at.dry.dry_run);
    let ingress = ingress.key(ingress_namespace.as_deref(), client.default_namespace())?;
    let (acme_ca_file, cas_file) = (at.acme_ca_file.as_deref(), at.cas_file.as_deref());
    let (namespace, files) = (at.own_namespace(), Files { acme_ca_file, cas_file });
    let mut targets = Vec::new();
    for secret in status::secrets_of(&client, &ingress).await? {
        match target(&client, (&namespace, files), secret.clone(), reason).await? {
            Ok(target) => targets.push(target),
            Err(why) => _ = print(&format!("Secret {secret} is skipped: {}.", plain(&why))),
        }
    }
    if targets.is_empty() {
        bail!("Ingress {ingress} has no certificate that can be revoked");
    }
    for target in &targets {
        print(&target.to_string());
    }
    print(&format!("\nReason: {reason}. A revocation cannot be undone."));
    if !dry_run.is_on() && !consent::given(at.yes)? {
        bail!("nothing was revoked");
    }
    let done = revoke_all(&targets, reason, dry_run).await;
    if done > 0 && !no_renew {
        renew(&client, &ingress, dry_run).await?;
    }
    if done < targets.len() {
        bail!("{} of {} certificates could not be revoked", targets.len() - done, targets.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// Revokes all targets and returns the number of revoked certificates, including those revoked
/// before. A refusal for one target does not stop the others. A CA has no dry run, so none is asked
/// then.
async fn revoke_all(targets: &[Target], reason: Reason, dry_run: DryRun) -> usize {
    let mut done = 0;
    for target in targets {
        let secret = &target.secret;
        let revoked = if dry_run.is_on() { Ok(Revoked::Now) } else { target.revoke(reason).await };
        let said = match revoked {
            Ok(Revoked::Now) => format!("secret/{} revoked{}", secret.name, dry_run.suffix()),
            Ok(Revoked::Before) => format!("secret/{} was revoked before", secret.name),
            Err(error) => {
                eprintln!("ingress-acme: Secret {secret}: {}", plain(&error));
                continue;
            }
        };
        print(&said);
        done += 1;
    }
    done
}

/// Requests new certificates. Without them, the hosts would keep a revoked certificate.
async fn renew(client: &Client, ingress: &IngressKey, dry_run: DryRun) -> anyhow::Result<()> {
    match status::ask_for_renewal(client, ingress, dry_run).await {
        Ok(asked) => _ = print(&asked),
        Err(error) if dry_run.is_on() => return Err(error),
        Err(error) => bail!(
            "revoked, but no new certificate is requested, so the hosts of Ingress {ingress} keep a revoked one: {error:#}"
        ),
    }
    Ok(())
}

/// Files of the flags about the CAs.
#[derive(Clone, Copy)]
struct Files<'a> {
    acme_ca_file: Option<&'a Path>,
    cas_file: Option<&'a Path>,
}

/// Store of the account at a CA, and its client; `None` if the CA is not in the file.
fn account_at(
    client: &Client,
    (namespace, files): (&str, Files<'_>),
    directory: &str,
) -> anyhow::Result<Option<(Rc<dyn AccountStore>, Acme)>> {
    let Some(path) = files.cas_file else {
        let (account, acme) = ca_of_a_command(client, namespace, directory, files.acme_ca_file)?;
        return Ok(Some((account, acme)));
    };
    let cas = cas_of_a_command(client, namespace, path)?;
    let found = cas.all.into_iter().find(|(ca, _)| ca.directory == directory);
    Ok(found.map(|(_, acme)| (cas.key, acme)))
}

/// Returns the certificate to revoke in a Secret, or the reason why there is none.
async fn target(
    client: &Client,
    (namespace, files): (&str, Files<'_>),
    secret: SecretKey,
    reason: Reason,
) -> anyhow::Result<Result<Target, String>> {
    let held = KubeTlsSecrets::new(client.clone()).hold(&secret).await?;
    let now = SystemClock::default().now();
    let directory = match revocable(held.as_ref().map(|held| &held.view), now) {
        Ok((_, directory)) => directory.to_owned(),
        Err(why) => return Ok(Err(why)),
    };
    let Some(held) = held else { return Ok(Err("it does not exist".to_owned())) };
    let made = account_at(client, (namespace, files), &directory)?;
    let Some((account, acme)) = made else {
        return Ok(Err(format!("its CA {directory} is not in the file of --cas-file")));
    };
    let seen = match account.load().await {
        Ok(Some(_)) => AccountSeen::Readable,
        Ok(None) => AccountSeen::Missing,
        Err(PortError::Permanent(_)) => AccountSeen::Unreadable,
        Err(error @ PortError::Transient { .. }) => return Err(error.into()),
    };
    let by = signatory(reason, seen);
    Ok(Ok(Target { secret, held, directory, acme, by }))
}

impl Target {
    async fn revoke(&self, reason: Reason) -> Result<Revoked, String> {
        let certificate = pki::leaf(&self.held.chain)?;
        let by = match self.by {
            Signatory::Account => RevokedBy::Account,
            Signatory::Certificate(_) => RevokedBy::Certificate(&self.held.key),
        };
        let revoked = self.acme.revoke(&certificate, reason.code(), &by).await;
        revoked.map_err(|error| error.to_string())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nSecret {}", self.secret)?;
        if let Ok(leaf) = &self.held.view.certificate {
            let names: Vec<&str> = leaf.names.iter().map(String::as_str).collect();
            writeln!(f, "  names      {}", plain(&names.join(", ")))?;
            writeln!(f, "  serial     {}", leaf.serial)?;
            writeln!(f, "  expires    {}", leaf.not_after)?;
        }
        writeln!(f, "  CA         {}", plain(&self.directory))?;
        match self.by {
            Signatory::Account => write!(f, "  signed by  the ACME account's key"),
            Signatory::Certificate(why) => {
                write!(f, "  signed by  the certificate's own key: {why}")
            }
        }
    }
}
