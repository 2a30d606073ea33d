//! The read-only commands `status` and `explain`, and `renew`, which requests new certificates.
//!
//! All use the user's own permissions and do not contact the operator: the Ingresses, the Secrets
//! and the Events contain its state.

mod age;
pub(in crate::commands) mod columns;
mod follow;
mod list;
pub(in crate::commands) mod quota;
mod renewal;
pub(in crate::commands) mod row;
pub(in crate::commands) mod snapshot;
mod user_events;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anyhow::bail;
use ingress_acme_actors::domain::ingress::{IngressKey, SecretKey};
use kube::Client;

use crate::commands::cli::{ExplainArgs, ListOutput, StatusArgs};
use list::Listing;
pub(crate) use renewal::ask_for_renewal;
pub use renewal::renew;
use snapshot::{Place, Snapshot};
pub(crate) use user_events::plain;

/// Number of objects per page of a list.
pub(in crate::commands) const PAGE: u32 = 500;

/// Runs `status`.
pub async fn list(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let client = args.cluster.connect().await?;
    let place = Place::of(&args.scope, client.default_namespace());
    let snapshot = Snapshot::take(&client, place, None).await?;
    let mut listing = Listing::new(args.output, args.scope.all_namespaces, args.watch);
    let rows = snapshot.rows();
    if rows.is_empty() && !matches!(args.output, ListOutput::Json | ListOutput::Yaml) {
        eprintln!("{}", snapshot.place.nothing_found());
    }
    let text = listing.show(&rows, snapshot.now)?;
    if args.watch {
        return follow::follow(snapshot, listing, &text).await;
    }
    Ok(if text.is_empty() { ExitCode::SUCCESS } else { print(&text) })
}

/// Runs `explain [NS/]NAME`.
pub async fn explain(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let client = args.cluster.connect().await?;
    let key = args.one.key(client.default_namespace())?;
    let snapshot = of_one(&client, &key).await?;
    Ok(print(&snapshot.explanation(&key)))
}

/// Reads the state of one Ingress.
async fn of_one(client: &Client, key: &IngressKey) -> anyhow::Result<Snapshot> {
    let snapshot = Snapshot::take(client, Place::within(&key.namespace), Some(&key.name)).await?;
    if !snapshot.has(key) {
        bail!("there is no Ingress {key}");
    }
    Ok(snapshot)
}

/// Returns the Secrets that an Ingress requests.
pub(crate) async fn secrets_of(
    client: &Client,
    key: &IngressKey,
) -> anyhow::Result<Vec<SecretKey>> {
    of_one(client, key).await?.secrets_of(key)
}

/// Writes to standard output. A closed pipe is not an error: the reader may stop early, as `head`
/// does, and the command continues.
pub(crate) fn print(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
