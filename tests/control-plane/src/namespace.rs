//! A network namespace of a test's own, so that a real ingress controller can have ports 80 and
//! 443, and an address that kube-apiserver accepts in `EndpointSlices` (which loopback is not).
//!
//! A process cannot move its threads to another namespace without `unsafe`. The test therefore runs
//! its own executable once more inside a new namespace, with the name of the test. Everything that
//! the second process starts is in the namespace too, which ends with the last process in it.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::binaries::{Binaries, Part};
use crate::directory::Directory;
use crate::error::StartError;
use crate::process::Program;

/// The address in the namespace, besides loopback.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Variable that tells the second process that it is the one inside.
const INSIDE: &str = "CONTROL_PLANE_TEST_NAMESPACE";
/// Variable under which nothing may be skipped.
const CI: &str = "CI";

/// Deadline of the second process, whose own waits have shorter ones.
const ENDS_WITHIN: Duration = Duration::from_mins(30);

/// Ways to make a namespace: as root, or as any user where the system allows that.
const WAYS: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];

/// Sets the address, then becomes the command in the arguments.
const SET_UP: &str = r#"ip link set lo up && ip addr add "$1/32" dev lo && shift && exec "$@""#;

/// Runs the body inside a new network namespace with [`ADDRESS`]; `test` is the full name of the
/// test that calls this. All servers of the control plane and of `part` are built before, for
/// minutes the first time: the namespace has no way out.
///
/// Where no namespace can be made, the test is skipped and says why. Returns whether the body ran.
///
/// # Panics
///
/// When the body panics, or a build fails. When no namespace can be made and the variable `CI` is
/// set.
pub async fn in_own_network(test: &str, part: Part, body: impl AsyncFnOnce()) -> bool {
    if env::var_os(INSIDE).is_some() {
        body().await;
        return true;
    }
    match way() {
        Ok(way) => {
            build(part).await.unwrap_or_else(|error| panic!("{test}: {error}"));
            run_inside(test, way).await;
            true
        }
        Err(reasons) => {
            say(&skipped(test, &reasons, env::var_os(CI).as_deref()));
            false
        }
    }
}

/// The first way that works, or why none does.
fn way() -> Result<&'static [&'static str], String> {
    let mut reasons = Vec::new();
    for way in WAYS {
        match try_way(way) {
            Ok(()) => return Ok(way),
            Err(reason) => reasons.push(format!("`unshare {}`: {reason}", way.join(" "))),
        }
    }
    Err(reasons.join("; "))
}

/// Makes a namespace and leaves it.
fn try_way(way: &[&str]) -> Result<(), String> {
    let mut unshare = Command::new("unshare");
    unshare.args(command(way, &["true".to_owned()])).stdin(Stdio::null());
    let made = unshare.output().map_err(|error| error.to_string())?;
    if made.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&made.stderr).trim().to_owned())
}

/// Runs the test once more, inside, and shows its output.
async fn run_inside(test: &str, way: &[&str]) {
    let directory = Directory::create().unwrap_or_else(|error| panic!("{test}: {error}"));
    let log = directory.path().join("test.log");
    let mut inside = Program {
        name: test.to_owned(),
        path: PathBuf::from("unshare"),
        args: command(way, &inner(test)),
        env: vec![(INSIDE.to_owned(), "1".to_owned())],
        log: log.clone(),
    }
    .start()
    .unwrap_or_else(|error| panic!("{test}: {error}"));
    let mut exit = inside.exit();
    let _ = tokio::time::timeout(ENDS_WITHIN, exit.wait_for(Option::is_some)).await;
    let code = inside.exit_code();
    inside.kill();
    let output = fs::read_to_string(&log).unwrap_or_default();
    eprintln!("{output}");
    // A figure may stand behind the name of the test.
    for figure in output.lines().filter_map(|line| line.find("figure: ").map(|at| &line[at..])) {
        say(figure);
    }
    assert_eq!(code, Some(0), "{test} failed in its network namespace, with the output above");
    assert!(output.contains("test result: ok. 1 passed"), "no test has the name {test}");
}

async fn build(part: Part) -> Result<(), StartError> {
    let build = move || Binaries::ensure()?.ensure_part(part);
    let built = tokio::task::spawn_blocking(build).await;
    built.map_err(|error| StartError::io("check the binaries")(error.into()))?
}

/// Message of a skipped test.
fn skipped(test: &str, reasons: &str, ci: Option<&OsStr>) -> String {
    let why = format!("no network namespace can be made: {reasons}");
    let allowed = ci.is_none_or(OsStr::is_empty);
    assert!(allowed, "{test} must not be skipped where {CI} is set: {why}");
    format!("{test} was skipped: {why}")
}

/// Prints a line directly to stderr, past the test runner's capture.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Arguments of `unshare`.
fn command(way: &[&str], inner: &[String]) -> Vec<String> {
    let set_up = ["sh", "-c", SET_UP, "sh"].map(str::to_owned);
    let way = way.iter().map(|flag| (*flag).to_owned());
    way.chain(set_up).chain([ADDRESS.to_string()]).chain(inner.iter().cloned()).collect()
}

/// Command line of this one test in this executable.
fn inner(test: &str) -> Vec<String> {
    let this = env::current_exe().expect("the path of this executable");
    let flags = ["--exact", "--include-ignored", "--nocapture", "--test-threads=1"];
    let mut command = vec![this.display().to_string(), test.to_owned()];
    command.extend(flags.map(str::to_owned));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_skipped_on_a_machine_of_its_developer() {
        for ci in [None, Some(OsStr::new(""))] {
            let message = skipped("a_test", "`unshare`: not permitted", ci);
            let why = "no network namespace can be made: `unshare`: not permitted";
            assert_eq!(message, format!("a_test was skipped: {why}"));
        }
    }

    #[test]
    #[should_panic(expected = "a_test must not be skipped where CI is set: no network namespace \
        can be made: `unshare`: not permitted")]
    fn a_skipped_test_fails_in_ci() {
        skipped("a_test", "`unshare`: not permitted", Some(OsStr::new("1")));
    }
}
