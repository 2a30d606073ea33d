//! What shells, man and kubectl do with the program: each with the real one, where it is installed.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Command;

use crate::flags::built;
use crate::{OPERATOR, program, said};

/// Whether a program can be run. Under `CI` all of them can, but kubectl, of which Debian has none
/// everywhere.
async fn is_installed(program: &str) -> bool {
    let there = tokio::process::Command::new(program).arg("--version").output().await.is_ok();
    let may_be_missing = program == "kubectl" || std::env::var_os("CI").is_none();
    assert!(there || may_be_missing, "{program} is not installed");
    if !there {
        eprintln!("{program} is not installed: nothing is tried with it");
    }
    there
}

/// Long flags of a command, with their aliases.
fn flags(command: &Command) -> BTreeSet<String> {
    let args = command.get_arguments().filter_map(clap::Arg::get_long_and_visible_aliases);
    args.flatten().map(|long| format!("--{long}")).collect()
}

/// Calls the function that a completion script registers, as bash does at Tab.
const TAB: &str = r#"
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
function=$(complete -p ingress-acme | sed 's/.* -F \([^ ]*\) .*/\1/')
"$function" ingress-acme "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

async fn at_tab(script: &Path, words: &[&str]) -> BTreeSet<String> {
    let mut bash = tokio::process::Command::new("bash");
    bash.args(["--norc", "-c", TAB, "bash"]).arg(script).arg("ingress-acme").args(words);
    let (code, out, error) = said(bash).await;
    assert_eq!(code, 0, "{words:?}: {error}");
    out.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn bash_completes_the_commands_their_flags_and_the_values_of_a_flag() {
    if !is_installed("bash").await {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("ingress-acme.bash");
    let (code, text, _) = said(program(&["completions", "bash"])).await;
    assert_eq!(code, 0);
    std::fs::write(&script, text).unwrap();
    let names: BTreeSet<String> =
        built().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    assert!(at_tab(&script, &[""]).await.is_superset(&names));
    for command in built().get_subcommands().filter(|command| command.get_name() != "help") {
        let offered = at_tab(&script, &[command.get_name(), "--"]).await;
        assert_eq!(offered, flags(command), "{}", command.get_name());
    }
    let formats = ["json", "name", "table", "wide", "yaml"].map(str::to_owned);
    assert_eq!(at_tab(&script, &["status", "-o", ""]).await, formats.into());
    assert_eq!(at_tab(&script, &["sta"]).await, ["status".to_owned()].into());
}

#[tokio::test]
async fn each_shell_has_a_script() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (code, script, error) = said(program(&["completions", shell])).await;
        assert_eq!((code, error.as_str()), (0, ""), "{shell}");
        assert!(script.contains("remove-owners") && script.contains("all-namespaces"), "{shell}");
    }
    let (code, _, error) = said(program(&["completions", "csh"])).await;
    assert!(code == 2 && error.contains("powershell"), "{error}");
}

#[tokio::test]
async fn man_shows_each_page_with_whole_names() {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("man1");
    let (code, _, error) = said(program(&["man", "--dir", into.to_str().unwrap()])).await;
    assert_eq!((code, error.as_str()), (0, ""));
    let (_, page, _) = said(program(&["man", "status"])).await;
    assert_eq!(page, std::fs::read_to_string(into.join("ingress-acme-status.1")).unwrap());
    let (code, _, error) = said(program(&["man", "nothing"])).await;
    assert!(code == 1 && error.contains("no command nothing"), "{error}");
    let man = is_installed("man").await;
    for command in built().get_subcommands().filter(|command| command.get_name() != "help") {
        let file = into.join(format!("ingress-acme-{}.1", command.get_name()));
        assert!(file.exists(), "{}", file.display());
        for width in if man { &["60", "72", "80", "120"][..] } else { &[] } {
            let mut show = tokio::process::Command::new("man");
            show.arg("--local-file").arg(&file).envs([("MANWIDTH", *width), ("LC_ALL", "C.UTF-8")]);
            let (code, shown, error) = said(show).await;
            assert_eq!(code, 0, "{}: {error}", command.get_name());
            let envs = command.get_arguments().filter_map(clap::Arg::get_env);
            let envs = envs.map(|env| env.to_string_lossy().into_owned());
            for name in flags(command).into_iter().chain(envs) {
                assert!(shown.contains(&name), "{name} at {width} columns in\n{shown}");
            }
        }
    }
}

/// A directory with the program under the names by which kubectl calls a plugin.
fn plugin() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["kubectl-ingress_acme", "kubectl_complete-ingress_acme"] {
        std::os::unix::fs::symlink(OPERATOR, dir.path().join(name)).unwrap();
    }
    dir
}

#[tokio::test]
async fn as_a_plugin_the_program_has_the_name_that_users_type() {
    let dir = plugin();
    let mut help = tokio::process::Command::new(dir.path().join("kubectl-ingress_acme"));
    help.args(["status", "--help"]).env_clear();
    let (code, text, _) = said(help).await;
    assert_eq!(code, 0);
    assert!(text.contains("Usage: kubectl ingress-acme status"), "{text}");
    let (_, own, _) = said(program(&["status", "--help"])).await;
    assert_eq!(text.replace("kubectl ingress-acme", "ingress-acme"), own);
}

#[tokio::test]
async fn kubectl_finds_the_plugin_and_completes_its_command_line() {
    if !is_installed("kubectl").await {
        return;
    }
    let dir = plugin();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let kubectl = async |args: &[&str]| {
        let mut command = tokio::process::Command::new("kubectl");
        command.args(args).env("PATH", &path).env("HOME", dir.path());
        said(command).await
    };
    let (code, version, error) = kubectl(&["ingress-acme", "--version"]).await;
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    let (code, _, error) = kubectl(&["ingress-acme", "nothing"]).await;
    assert!(code == 2 && error.contains("Usage: kubectl ingress-acme"), "{error}");
    let (_, offered, _) = kubectl(&["__complete", "ingress-acme", "status", "--wat"]).await;
    assert!(offered.starts_with("--watch\t") && offered.contains("\n:4"), "{offered}");
    let (_, offered, _) = kubectl(&["__complete", "ingress-acme", "status", "-o", ""]).await;
    assert!(offered.contains("yaml") && offered.contains("\n:4"), "{offered}");
}
