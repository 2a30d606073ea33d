//! Snapshots in `snapshots/` of everything that users and other programs rely on. Names, keys and
//! formats have snapshots separate from texts, so that a better wording changes only texts.
//!
//! Any difference fails the test. `INSTA_UPDATE=always` accepts an intended difference, for review
//! in the diff.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod annotations;
mod cluster;
mod configuration;
mod deploy;
mod doctor;
mod documented_commands;
#[path = "../documents/mod.rs"]
mod documents;
mod events;
mod flags;
mod journal;
mod metrics;
mod monitoring;
mod plan;
mod several_cas;
mod shell;
mod site;
mod status;

use std::fmt::Write;
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::process::Command;

/// The program under test.
const OPERATOR: &str = env!("CARGO_BIN_EXE_ingress-acme");

/// Asserts that `text` equals the snapshot `name`. Snapshot names contain no module, so that files
/// can move.
fn hold(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Joins the parts, one per line, for readable diffs.
fn lines(all: impl IntoIterator<Item = String>) -> String {
    all.into_iter().fold(String::new(), |mut text, line| {
        writeln!(text, "{}", line.trim_end()).unwrap();
        text
    })
}

/// Command that runs the program without a terminal and without the environment of the test
/// runner, since both change the output.
fn program(args: &[&str]) -> Command {
    let mut command = Command::new(OPERATOR);
    command.args(args).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Exit code, standard output and standard error of a command.
async fn said(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// JSON over many lines, so that a diff shows single keys.
fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}
