//! `demo` as users call it, and the commands that it prints, with the real kubectl.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use ingress_acme_control_plane::kubectl;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::commands::{command, output, text};
use crate::{OPERATOR, PATIENCE, alone};

#[actix::test]
async fn the_demo_holds_what_it_claims() {
    let _alone = alone().await;
    let shown = output(command(&["demo", "--ingresses", "24"])).await;
    let (out, error) = (text(&shown.stdout), text(&shown.stderr));
    assert!(shown.status.success(), "{out}\n{error}");
    assert!(out.contains("rate limit") && out.contains("24 of 24"), "{out}");
    assert!(!out.contains("FAILED"), "{out}");
}

#[actix::test]
async fn every_command_that_the_demo_prints_works_as_printed() {
    let _alone = alone().await;
    let kubectl = tokio::task::spawn_blocking(kubectl).await.unwrap().unwrap();
    let mut demo = Kept::start().await;
    ingress_acme_sim::pki::choose_provider();
    let page = reqwest::get(&demo.page).await.unwrap();
    assert!(page.status().is_success() && page.text().await.unwrap().contains("short-lived"));

    let (kubeconfig, commands) = demo.commands.split_first().unwrap();
    assert_eq!(commands.len(), EXPECTED.len(), "{commands:?}");
    let home = tempfile::tempdir().unwrap();
    for (printed, (ending, words)) in commands.iter().zip(EXPECTED) {
        assert!(printed.ends_with(ending), "{printed} is not {ending}");
        let said = run(&format!("{kubeconfig}\n{printed}"), &kubectl, home.path()).await;
        for word in words {
            assert!(said.contains(word), "`{printed}` does not print `{word}`:\n{said}");
        }
        // By the clock of this machine, nothing is of the future and no certificate is missing.
        for bad in ["<invalid>", "False", "pending"] {
            assert!(!said.contains(bad), "`{printed}` prints `{bad}`:\n{said}");
        }
    }
    interrupt(&mut demo.child).await;
    let file = PathBuf::from(kubeconfig.strip_prefix("export KUBECONFIG=").unwrap());
    assert!(!file.exists(), "the demo leaves {}", file.display());
}

/// End of each command in the order of the demo, and what its output has.
const EXPECTED: [(&str, &[&str]); 8] = [
    (
        "kubectl get ingress,secret,events -A",
        &["CLASS", "short.example.com", "80, 443", "kubernetes.io/tls", "REASON", "Issued"],
    ),
    (
        "kubectl describe ingress short-lived",
        &["short.example.com", "Events:", "Issued", "ingress-acme.dev/ingress-acme"],
    ),
    (" status -A", &["NAMESPACE", "short-lived", "True"]),
    (" explain short-lived", &["Ingress default/short-lived", "valid", "Events, newest last:"]),
    (" renew short-lived", &["ingress.networking.k8s.io/short-lived renew requested"]),
    ("/shop.yaml", &["ingress.networking.k8s.io/shop created"]),
    ("kubectl wait --for=create secret/shop-tls --timeout=1m", &["secret/shop-tls condition met"]),
    (" status", &["shop-tls", "True"]),
];

/// Runs lines in a shell that finds the real kubectl first. Returns what they print.
async fn run(lines: &str, kubectl: &Path, home: &Path) -> String {
    let path = format!("{}:/usr/bin:/bin", kubectl.parent().unwrap().display());
    let mut shell = Command::new("sh");
    shell.args(["-ec", lines]).env_clear().env("PATH", path).env("HOME", home);
    shell.stdin(Stdio::null()).kill_on_drop(true);
    let output = output(shell).await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{lines}:\n{said}\n{}", text(&output.stderr));
    said
}

/// A demo that has come to its end and keeps running.
struct Kept {
    child: Child,
    _out: Lines<BufReader<ChildStdout>>,
    /// URL of the status page.
    page: String,
    /// Commands as printed.
    commands: Vec<String>,
}

impl Kept {
    async fn start() -> Self {
        let mut demo = Command::new(OPERATOR);
        demo.args(["demo", "--ingresses", "8", "--keep"]).kill_on_drop(true);
        let mut child = demo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut page, mut commands) = (String::new(), Vec::new());
        let read = async {
            while let Some(line) = out.next_line().await.unwrap() {
                if let Some((_, url)) = line.split_once("The demo keeps running. Its status page: ")
                {
                    url.clone_into(&mut page);
                } else if line.starts_with("Ctrl-C") {
                    return;
                } else if let Some(command) = line.strip_prefix("  ").filter(|_| !page.is_empty()) {
                    commands.push(command.to_owned());
                }
            }
            panic!("the demo has ended");
        };
        timeout(2 * PATIENCE, read).await.unwrap();
        Self { child, _out: out, page, commands }
    }
}

async fn interrupt(demo: &mut Child) {
    let pid = Pid::from_raw(i32::try_from(demo.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let ended = timeout(PATIENCE, demo.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");
}
