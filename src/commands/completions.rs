//! Completion of the command line: scripts for shells, and the answers to kubectl, which asks a
//! plugin by itself.

use std::process::ExitCode;

use clap::builder::PossibleValue;
use clap::{Arg, Command, CommandFactory};
use clap_complete::{Shell, generate};

use super::cli::{Cli, CompletionsArgs};
use super::status::print;

/// Name of the program in the script for bash. With a hyphen in the name, `clap_complete` looks
/// the commands up under another name than it sets (clap-rs/clap#6529), and completes no flag.
const BASH_NAME: &str = "ingress_acme";

/// Runs `completions`.
pub fn show(args: &CompletionsArgs) -> ExitCode {
    print(script(args.shell).trim_end())
}

/// The script for a shell.
fn script(shell: Shell) -> String {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let called = if shell == Shell::Bash { BASH_NAME } else { &name };
    let mut script = Vec::new();
    generate(shell, &mut command, called, &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Bash {
        return format!("{script}complete -F _{BASH_NAME} -o bashdefault -o default {name}\n");
    }
    script
}

/// Answers `kubectl_complete-ingress_acme WORD…`: one candidate a line, a tab before its
/// description, and at the end what kubectl does with them
/// (<https://pkg.go.dev/github.com/spf13/cobra#ShellCompDirective>). The last word is the one that
/// is completed.
pub fn answer(words: &[String]) -> ExitCode {
    /// Offer no names of files.
    const NO_FILES: &str = ":4";
    /// Offer the names of files where there is no candidate.
    const DEFAULT: &str = ":0";
    let mut command = Cli::command();
    command.build();
    let candidates = candidates(&command, words);
    let directive = if candidates.is_empty() { DEFAULT } else { NO_FILES };
    let mut lines: Vec<String> =
        candidates.iter().map(|(word, help)| format!("{word}\t{help}")).collect();
    lines.push(directive.to_owned());
    print(&lines.join("\n"))
}

/// Words that may stand in the place of the last one, each with its description.
fn candidates(root: &Command, words: &[String]) -> Vec<(String, String)> {
    let Some((current, before)) = words.split_last() else { return Vec::new() };
    let command =
        before.iter().fold(root, |command, word| command.find_subcommand(word).unwrap_or(command));
    let previous = before.last().and_then(|flag| takes_value(command, flag));
    let all: Vec<(String, String)> = match previous {
        Some(arg) => arg.get_possible_values().iter().filter_map(value).collect(),
        None if current.starts_with('-') => command.get_arguments().flat_map(flags).collect(),
        None => subcommands(command).chain(positionals(command)).collect(),
    };
    all.into_iter().filter(|(word, _)| word.starts_with(current.as_str())).collect()
}

/// The argument of a flag that takes its value from the next word.
fn takes_value<'a>(command: &'a Command, flag: &str) -> Option<&'a Arg> {
    let is_meant = |arg: &&Arg| {
        let long = flag.strip_prefix("--").filter(|long| !long.is_empty());
        let short = flag.strip_prefix('-').filter(|short| short.chars().count() == 1);
        let longs = arg.get_long_and_visible_aliases().unwrap_or_default();
        long.is_some_and(|long| longs.contains(&long))
            || short.is_some_and(|short| arg.get_short().is_some_and(|own| short.starts_with(own)))
    };
    let arg = command.get_arguments().find(is_meant)?;
    (arg.get_action().takes_values() && !arg.is_require_equals_set()).then_some(arg)
}

fn flags(arg: &Arg) -> Vec<(String, String)> {
    let longs = arg.get_long_and_visible_aliases().unwrap_or_default();
    let help = first_line(arg.get_help().map(ToString::to_string));
    longs.into_iter().map(|long| (format!("--{long}"), help.clone())).collect()
}

fn subcommands(command: &Command) -> impl Iterator<Item = (String, String)> {
    command.get_subcommands().map(|command| {
        let about = command.get_about().map(ToString::to_string);
        (command.get_name().to_owned(), first_line(about))
    })
}

fn positionals(command: &Command) -> impl Iterator<Item = (String, String)> {
    let values = command.get_positionals().flat_map(Arg::get_possible_values);
    values.collect::<Vec<_>>().into_iter().filter_map(|one| value(&one))
}

fn value(value: &PossibleValue) -> Option<(String, String)> {
    let help = first_line(value.get_help().map(ToString::to_string));
    (!value.is_hide_set()).then(|| (value.get_name().to_owned(), help))
}

fn first_line(text: Option<String>) -> String {
    text.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(words: &[&str]) -> Vec<String> {
        let mut command = Cli::command();
        command.build();
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        candidates(&command, &words).into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn commands_flags_and_values_are_offered_where_they_may_stand() {
        assert_eq!(offered(&["sta"]), ["status"]);
        assert!(offered(&[""]).contains(&"renew".to_owned()));
        assert_eq!(offered(&["status", "--na"]), ["--namespace"]);
        assert_eq!(offered(&["remove-owners", "--y"]), ["--yes"]);
        assert_eq!(offered(&["revoke", "--operator"]), ["--operator-namespace"]);
        assert_eq!(offered(&["status", "-o", ""]), ["table", "wide", "json", "yaml", "name"]);
        assert_eq!(offered(&["status", "--output", "w"]), ["wide"]);
        assert_eq!(offered(&["status", "-n", "x", "--wat"]), ["--watch"]);
        assert_eq!(offered(&["completions", "b"]), ["bash"]);
        for nothing in [&["status", "-n", ""][..], &["explain", ""], &[], &["no", "--such"]] {
            assert_eq!(offered(nothing), Vec::<String>::new(), "{nothing:?}");
        }
    }
}
