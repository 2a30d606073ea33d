//! Commands of README.md, docs/, deploy/ and kustomize/: each has the test that runs the command,
//! or a reason why none does, in `tests/documents/commands.txt`. Of all of them a shell reads the
//! syntax, and their flags, variables, files, targets and names of tests are looked up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use clap::Parser;
use ingress_acme::commands::cli::Cli;

use crate::documents::{Documented, commands, pages, root, table};
use crate::flags::built;

const TABLE: &str = "tests/documents/commands.txt";
/// Beginning of a reason in the table.
const NOT_RUN: &str = "not run: ";
/// Programs of the documents. Any other one is a fault of a document, or belongs here.
const PROGRAMS: [&str; 24] = [
    "base64",
    "cat",
    "cargo",
    "curl",
    "date",
    "docker",
    "git",
    "grep",
    "ingress-acme",
    "jq",
    "kubectl",
    "ln",
    "make",
    "mkdir",
    "oc",
    "promtool",
    "rm",
    "sed",
    "sort",
    "tail",
    "uniq",
    "wc",
    "xargs",
    "xdg-open",
];
/// Stands for each program: writes its name and arguments to a file of its own, because programs of
/// a pipe run at once, and prints two words. A control character parts the arguments, because they
/// have spaces and line breaks.
const RECORDER: &str = "#!/bin/sh
{ printf '%s' \"${0##*/}\"; [ $# -eq 0 ] || printf '\\037%s' \"$@\"; } > \"$CALLS/$$\"
echo one two
";
/// Variables of the Deployment that are not the operator's own.
const PROXY: [&str; 2] = ["HTTPS_PROXY", "NO_PROXY"];

#[test]
fn every_documented_command_has_its_test_or_a_reason_why_none_runs_it() {
    let documented: BTreeMap<String, String> =
        commands().into_iter().map(|one| (one.text, one.place)).collect();
    let entries = table();
    let mut faults = Vec::new();
    let mut listed = BTreeSet::new();
    for entry in &entries {
        let command = &entry.command;
        if !documented.contains_key(command) {
            faults.push(format!("{TABLE}: no page has this command any more: {command}"));
        }
        if !listed.insert(command.as_str()) {
            faults.push(format!("{TABLE}: twice: {command}"));
        }
    }
    let missing = documented.iter().filter(|(text, _)| !listed.contains(text.as_str()));
    faults.extend(missing.map(|(text, place)| {
        format!("{place}: {TABLE} has neither a test nor a reason for: {text}")
    }));
    let rows: BTreeSet<&str> = entries.iter().map(|entry| entry.by.as_str()).collect();
    let unknown = rows.iter().filter(|by| !by.starts_with(NOT_RUN) && !is_test(by));
    faults.extend(unknown.map(|by| format!("{TABLE}: there is no test `{by}`")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(documented.len() > 100, "only {} commands are found", documented.len());
}

/// Whether a test `file::function` exists.
fn is_test(name: &str) -> bool {
    let Some((file, function)) = name.split_once("::") else { return false };
    let text = fs::read_to_string(root().join(file)).unwrap_or_default();
    text.split_once(&format!("fn {function}(")).is_some_and(|(before, _)| {
        let attributes = before.trim_end().trim_end_matches("async").trim_end();
        attributes.ends_with("test]")
    })
}

/// Commands in running text, in backticks on one line.
fn inline() -> Vec<Documented> {
    let begins = ["ingress-acme ", "kubectl ", "make ", "promtool ", "oc "];
    let mut found = Vec::new();
    for (page, text) in pages() {
        for (number, line) in (1..).zip(text.lines()) {
            let spans = line.split('`').skip(1).step_by(2);
            let is_command = |span: &&str| {
                begins.iter().any(|begin| span.starts_with(begin)) && !span.contains('…')
            };
            found.extend(spans.filter(is_command).map(|span| Documented {
                place: format!("{page}:{number}"),
                text: span.to_owned(),
            }));
        }
    }
    found
}

#[test]
fn the_flags_files_and_targets_of_the_documented_commands_exist() {
    let directory = tempfile::tempdir().unwrap();
    let shell = Shell::new(directory.path());
    let mut faults = Vec::new();
    for command in commands().into_iter().chain(inline()) {
        match shell.calls(&command.text) {
            Err(error) => faults.push(format!("{}: {}: {error}", command.place, command.text)),
            Ok(calls) => faults.extend(calls.iter().filter_map(|call| {
                let error = fault(call)?;
                Some(format!("{}: {}: {error}", command.place, command.text))
            })),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A real shell, in which [`RECORDER`] stands for every program.
struct Shell<'a> {
    directory: &'a Path,
}

impl<'a> Shell<'a> {
    fn new(directory: &'a Path) -> Self {
        let recorder = directory.join("recorder");
        fs::write(&recorder, RECORDER).unwrap();
        fs::set_permissions(&recorder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(directory.join("bin")).unwrap();
        for program in PROGRAMS {
            symlink(&recorder, directory.join("bin").join(program)).unwrap();
        }
        // One command makes this folder, and the next one writes there.
        let completions = ".local/share/bash-completion/completions";
        fs::create_dir_all(directory.join(completions)).unwrap();
        Self { directory }
    }

    /// Calls of programs that the command makes; an error where the shell has anything to say.
    fn calls(&self, command: &str) -> Result<Vec<Vec<String>>, String> {
        let records = tempfile::tempdir_in(self.directory).unwrap();
        let mut sh = Command::new("/bin/sh");
        sh.arg("-c").arg(format!("{command}\nwait")).env_clear().stdin(Stdio::null());
        sh.env("PATH", self.directory.join("bin")).env("HOME", self.directory);
        sh.env("CALLS", records.path()).current_dir(self.directory);
        let output = sh.output().unwrap();
        if !output.status.success() || !output.stderr.is_empty() {
            return Err(String::from_utf8(output.stderr).unwrap());
        }
        let calls = fs::read_dir(records.path()).unwrap().map(|record| {
            let call = fs::read_to_string(record.unwrap().path()).unwrap();
            call.split('\u{1f}').map(str::to_owned).collect()
        });
        Ok(calls.collect())
    }
}

/// Tells what is wrong with a call.
fn fault(call: &[String]) -> Option<String> {
    let (program, args) = call.split_first()?;
    match program.as_str() {
        "ingress-acme" => refused(args),
        "kubectl" | "oc" => of_kubectl(args),
        "xargs" => {
            let at = args.iter().position(|arg| !arg.starts_with('-'))?;
            fault(&args[at..])
        }
        "make" => of_make(args),
        "promtool" => args.iter().filter(|arg| arg.contains('/')).find_map(|arg| missing(arg)),
        _ => None,
    }
}

/// Tells why the program refuses a command line, with placeholders in lower case.
fn refused(args: &[String]) -> Option<String> {
    // A sentence may name the program or a command without its arguments.
    let (name, arguments) = args.split_first()?;
    if arguments.is_empty() {
        let known = built().get_subcommands().any(|command| command.get_name() == name);
        return (!known).then(|| format!("there is no command {name}"));
    }
    let is_placeholder =
        |arg: &str| arg.chars().all(|c| c.is_ascii_uppercase() || c == '/') && arg.len() > 1;
    let filled = args.iter().map(|arg| match arg.as_str() {
        "URL" => "https://ca.example/directory".to_owned(),
        "HOST" => "shop.example.com".to_owned(),
        arg if is_placeholder(arg) => arg.to_lowercase(),
        arg => arg.to_owned(),
    });
    let words = ["ingress-acme".to_owned()].into_iter().chain(filled);
    let error = Cli::try_parse_from(words).err()?.to_string();
    error.lines().next().map(str::to_owned)
}

fn of_kubectl(args: &[String]) -> Option<String> {
    if args.first().is_some_and(|arg| arg == "ingress-acme") {
        return refused(&args[1..]);
    }
    let in_the_pod = args.iter().position(|arg| arg == "--").map(|at| &args[at + 1..]);
    if let Some((program, args)) = in_the_pod.and_then(<[String]>::split_first) {
        let known = program == "/ingress-acme";
        return if known { refused(args) } else { Some(format!("{program} is not in the image")) };
    }
    let is_file = |flag: &str| ["-f", "-k", "--filename", "--patch-file"].contains(&flag);
    let files = args.windows(2).filter(|pair| is_file(&pair[0])).map(|pair| pair[1].as_str());
    let kustomized = args.first().is_some_and(|arg| arg == "kustomize").then(|| args[1].as_str());
    files.chain(kustomized).find_map(missing).or_else(|| unknown_variable(args))
}

/// A file or folder of the repository that does not exist. Files of the user have no folder.
fn missing(path: &str) -> Option<String> {
    let is_ours = path.contains('/') || !path.contains('.');
    (is_ours && !root().join(path).exists()).then(|| format!("there is no {path}"))
}

/// A variable of `kubectl set env` that the operator does not read.
fn unknown_variable(args: &[String]) -> Option<String> {
    let at = args.windows(2).position(|pair| pair == ["set", "env"])?;
    let names = args[at + 2..].iter().filter(|arg| !arg.contains('/') || arg.contains('='));
    let names = names.map(|arg| arg.split('=').next().unwrap_or(arg).trim_end_matches('-'));
    let commands = built();
    let run = commands.find_subcommand("run").unwrap();
    let known = |name: &str| {
        let mut all = run.get_arguments().filter_map(clap::Arg::get_env);
        PROXY.contains(&name) || all.any(|env| env == name)
    };
    let mut unknown = names.filter(|name| !known(name));
    unknown.next().map(|name| format!("`run` reads no variable {name}"))
}

fn of_make(args: &[String]) -> Option<String> {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let known = |arg: &str| match arg.split_once('=') {
        Some((variable, _)) => makefile.contains(&format!("$({variable})")),
        None => makefile.lines().any(|line| line.starts_with(&format!("{arg}: "))),
    };
    let mut unknown = args.iter().filter(|arg| !known(arg));
    unknown.next().map(|arg| format!("the Makefile has no {arg}"))
}

#[test]
fn every_suite_that_a_page_names_exists() {
    let manifests =
        ["Cargo.toml", "actors/Cargo.toml", "sim/Cargo.toml", "tests/mutants/Cargo.toml"];
    let manifests =
        manifests.map(|file| fs::read_to_string(root().join(file)).unwrap_or_default()).concat();
    let mut named = 0;
    for (page, text) in pages() {
        let words: Vec<&str> = text.split([' ', '\n', '`']).collect();
        for pair in words.windows(2).filter(|pair| ["--test", "--bench"].contains(&pair[0])) {
            named += 1;
            let exists = manifests.contains(&format!("name = \"{}\"", pair[1]));
            assert!(exists, "{page}: there is no target {} {}", pair[0], pair[1]);
        }
    }
    assert!(named > 40, "only {named} are named");
}

/// Overviews in `text` blocks of the README list flags as `[-n NS | -A] [--yes]`.
#[test]
fn the_flags_of_the_overview_in_the_readme_are_those_of_the_commands() {
    let commands = built();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, overview) = readme.split_once("## Command line").unwrap();
    let overview = overview.split("```").nth(1).unwrap();
    let listed: BTreeSet<&str> =
        overview.lines().filter_map(|line| line.strip_prefix("ingress-acme ")).collect();
    let names: BTreeSet<&str> = listed.iter().filter_map(|line| line.split(' ').next()).collect();
    let all = commands.get_subcommands().map(clap::Command::get_name);
    assert_eq!(names, all.filter(|name| *name != "help").collect());
    for line in listed {
        let command = commands.find_subcommand(line.split(' ').next().unwrap()).unwrap();
        let flags = line
            .split([' ', '[', ']', '|', ',', ':', ';', '('])
            .filter(|word| word.starts_with('-') && word.len() > 1);
        for flag in flags {
            let of = |arg: &clap::Arg| {
                let long = arg.get_long_and_visible_aliases().unwrap_or_default();
                let short = arg.get_short().is_some_and(|short| format!("-{short}") == flag);
                short || long.iter().any(|long| format!("--{long}") == flag)
            };
            assert!(command.get_arguments().any(of), "README.md: {flag} of: {line}");
        }
    }
}
