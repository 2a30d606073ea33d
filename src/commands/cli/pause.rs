//! `pause` and `resume`: the switch for new orders.

use clap::Args;
use ingress_acme_actors::domain::limits;

use super::cluster::{ClusterArgs, DryRunArgs};
use super::own_namespace;

/// Flags of `pause`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// Reason, which the owners of waiting Ingresses read in an Event
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help of the command")]
    pub at: ResumeArgs,
}

/// Flags of `resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The operator's own namespace, where its Lease is; also --operator-namespace [default: that
    /// of the pod, or ingress-acme]
    #[arg(
        long,
        visible_alias = "operator-namespace",
        env = "INGRESS_ACME_NAMESPACE",
        value_name = "NS"
    )]
    pub namespace: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help of the command")]
    pub dry: DryRunArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help of the command")]
    pub cluster: ClusterArgs,
}

impl ResumeArgs {
    /// The operator's namespace.
    pub fn own_namespace(&self) -> String {
        own_namespace(self.namespace.clone())
    }
}

/// A text that Events show whole.
fn reason(text: &str) -> Result<String, String> {
    let (text, most) = (text.trim(), limits::STOP_REASON_MAX);
    if text.len() > most || text.chars().any(char::is_control) {
        return Err(format!("a reason is one line of at most {most} bytes"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::commands::cli::{Cli, Command};

    #[test]
    fn a_reason_is_one_line_that_an_event_shows_whole() {
        let parsed = |reason: &str| match Cli::try_parse_from([
            "ingress-acme",
            "pause",
            "--reason",
            reason,
        ])?
        .command
        {
            Command::Pause(args) => Ok::<_, clap::Error>(args.reason),
            other => panic!("parsed as {other:?}"),
        };
        assert_eq!(parsed(" ask anna ").unwrap(), Some("ask anna".to_owned()));
        let longest = "x".repeat(limits::STOP_REASON_MAX);
        assert_eq!(parsed(&longest).unwrap(), Some(longest.clone()));
        for bad in [format!("{longest}x"), "two\nlines".to_owned()] {
            let why = parsed(&bad).unwrap_err().to_string();
            assert!(why.contains("one line of at most 200 bytes"), "{why}");
        }
    }
}
