//! Contract of the command line: the help, and in separate snapshots the names used in scripts.

use clap::{Arg, Command, CommandFactory, Parser};
use ingress_acme::commands::cli::Cli;

use crate::{hold, lines, program, said};

pub(crate) fn built() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

fn subcommands() -> Vec<String> {
    built().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

#[tokio::test]
async fn the_help_of_each_command_reads_as_before() {
    let (code, whole, _) = said(program(&["--help"])).await;
    assert_eq!(code, 0);
    hold("help", &whole);
    for name in subcommands().iter().filter(|name| *name != "help") {
        let (code, help, _) = said(program(&[name, "--help"])).await;
        assert_eq!(code, 0, "{name}");
        hold(&format!("help-{name}"), &help);
    }
}

#[tokio::test]
async fn the_version_and_a_call_without_a_command_answer_as_before() {
    let mut all = Vec::new();
    for args in [&["--version"][..], &["run", "--version"], &[], &["nothing"], &["status", "--no"]]
    {
        let (code, out, error) = said(program(args)).await;
        let at = if out.is_empty() { "standard error" } else { "standard output" };
        let exposed = format!("{out}{error}").replace(env!("CARGO_PKG_VERSION"), "[version]");
        let first = exposed.lines().next().unwrap_or_default().to_owned();
        all.push(format!("{args:?}: exit code {code}, {at}: {first}"));
    }
    hold("calls", &lines(all));
}

#[test]
fn the_flags_of_each_command_are_those_of_before() {
    hold("flags", &lines(subcommands()));
    for command in built().get_subcommands().filter(|command| command.get_name() != "help") {
        let mut all: Vec<String> = command.get_arguments().map(|arg| flag(command, arg)).collect();
        all.sort();
        hold(&format!("flags-{}", command.get_name()), &lines(all));
    }
}

/// Describes an argument on one line: everything that scripts depend on, without the help.
fn flag(command: &Command, arg: &Arg) -> String {
    let mut words = spelling(arg);
    if arg.get_action().takes_values() {
        let names = arg.get_value_names().unwrap_or_default().iter();
        words.extend(names.map(|name| format!("<{name}>")));
    }
    words.push(format!("action={:?}", arg.get_action()));
    words.extend(arg.get_env().map(|name| format!("env={}", name.to_string_lossy())));
    let defaults = arg.get_default_values().iter();
    words.extend(defaults.map(|value| format!("default={}", value.to_string_lossy())));
    let values: Vec<String> =
        arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if !values.is_empty() {
        words.push(format!("values={}", values.join("|")));
    }
    words.extend(arg.get_value_delimiter().map(|delimiter| format!("delimiter={delimiter}")));
    words.extend(arg.is_required_set().then(|| "required".to_owned()));
    let conflicts = command.get_arg_conflicts_with(arg);
    words.extend(conflicts.iter().map(|other| format!("conflicts={}", spelling(other).join("/"))));
    words.join(" ")
}

fn spelling(arg: &Arg) -> Vec<String> {
    let long = arg.get_long().map(|long| format!("--{long}"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    let others = arg.get_all_aliases().unwrap_or_default().into_iter();
    let others = others.map(|alias| format!("--{alias}"));
    let all: Vec<String> = long.into_iter().chain(short).chain(others).collect();
    if all.is_empty() { vec!["(positional)".to_owned()] } else { all }
}

/// Calls with values at the edges of the accepted ranges.
const CALLS: &str = "\
run
run --contact ops@example.com
run --contact mailto:ops@example.com
run --acme-directory http://ca.example/
run --acme-directory https://ca.example/
run --issuers 0
run --issuers 1
run --issuers 1024
run --issuers 1025
run --scan-interval 59s
run --scan-interval 1m
run --settle 500ms
run --solver-linger 35s
run --solver-linger 36s
run --settle soon
run --nameserver 10.0.0.10
run --nameserver 10.0.0.10:53
run --nameserver dns
run --watch-namespace a,b
run --watch-namespace a --watch-namespace b
run --watch-namespace A
run --ingress-class a,b
run --leader-elect
run --leader-elect false
run --guards on
run --public-ca true
run --public-ca yes
run --manage annotated
run --profile=
run --watch-secrets
run --watch-secrets yes
run --rehearsal-directory https://ca.example/
run --rehearsal-directory ca.example
run --fallback-eab-secret eab
run --fallback-eab-secret eab --fallback-directory https://ca.example/
demo --ingresses 3
demo --ingresses 4
demo --ingresses 2000
demo --ingresses 2001
storm --ingresses 0
storm --ingresses 100000
storm --ingresses 100001
storm --edits 1000
storm --edits 1001
storm --rate 0
storm --rate 0.5
storm --names 100
storm --names 101
storm --spec-tls
storm --spec-tls false
plan
plan -A -o wide
plan -n web -l app=shop --manage annotated --ingress-class a,b
plan -n web -A
plan -w
plan --fill-tls
plan --acme-directory http://ca.example/
doctor
doctor web/shop
doctor shop -n web -o yaml
doctor -n web
doctor -o wide
doctor -A
doctor --operator-namespace ops --acme-directory https://ca.example/
doctor --acme-directory http://ca.example/
status
status -n web
status -n web -A
status -A -o json
status -o yaml
status -o wide -w
status -o name -l app=shop
status -o go-template
status --context a --kubeconfig b
explain
explain shop -n web
explain web
explain web/shop
explain a/b/c
explain web/shop -A
renew
renew -n web
renew -A
renew -l app=shop
renew web/shop -A
renew web/shop --dry-run
renew web/shop --dry-run=server
renew web/shop --dry-run client
renew web/shop
revoke web/shop
revoke web/shop --reason keyCompromise --yes --no-renew
revoke web/shop --reason cACompromise
revoke shop -n web --namespace ingress-acme
revoke shop -n web --operator-namespace ingress-acme
revoke shop -A
rollover --yes
rollover --operator-namespace ingress-acme --dry-run
rollover -n ingress-acme
remove-owners -n web --dry-run=client
completions bash
completions csh
man status
man status --dir d
run --context a
thumbprint
thumbprint --snippet nginx
thumbprint --snippet apache";

#[test]
fn values_at_the_edges_are_taken_and_refused_as_before() {
    let call = |call: &str| {
        let args = std::iter::once("ingress-acme").chain(call.split(' '));
        let answer = Cli::try_parse_from(args);
        let answer = answer.map_or_else(|error| format!("{:?}", error.kind()), |_| "taken".into());
        format!("{call}: {answer}")
    };
    hold("calls-at-the-edges", &lines(CALLS.lines().map(call)));
}
