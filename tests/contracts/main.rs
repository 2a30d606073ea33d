//! Snapshots in `snapshots/` hold all that users and other programs rely on. Names, keys and forms
//! are held apart from words, so that a better wording shows as a change of words alone.
//!
//! A difference fails the test. One that is meant is taken over with `INSTA_UPDATE=always`, and
//! reviewed in the diff.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod annotations;
mod cluster;
mod deploy;
mod events;
mod flags;
mod journal;
mod metrics;
mod site;
mod status;

use std::fmt::Write;
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::process::Command;

/// The program under test.
const OPERATOR: &str = env!("CARGO_BIN_EXE_ingress-acme");

/// The text equals the snapshot of this name. Names carry no module, so that files can move.
fn hold(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The parts become one line each, for a diff is read by lines.
fn lines(all: impl IntoIterator<Item = String>) -> String {
    all.into_iter().fold(String::new(), |mut text, line| {
        writeln!(text, "{}", line.trim_end()).unwrap();
        text
    })
}

/// The program runs without a terminal and without the environment of whoever runs the tests, for
/// both change the output.
fn program(args: &[&str]) -> Command {
    let mut command = Command::new(OPERATOR);
    command.args(args).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A command answers with its exit code, standard output and standard error.
async fn said(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// JSON spreads over lines, so that a diff shows single keys.
fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}
