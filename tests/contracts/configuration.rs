//! `docs/configuration.md`: all flags, environment variables and defaults, from the definition of
//! the command line. `UPDATE_CONFIGURATION=1 cargo test --test contracts configuration` writes the
//! page anew.

use std::path::Path;

use clap::builder::PossibleValue;
use clap::{Arg, Command};

use crate::flags::built;

const PAGE: &str = "docs/configuration.md";
const HEAD: &str = "\
# Configuration

All commands with their flags, environment variables and defaults, as the program itself defines them.
`UPDATE_CONFIGURATION=1 cargo test --test contracts configuration` writes this page; a test fails where the page is out of date.

A flag wins over its environment variable, and the variable over the default. An empty variable is a value, and for most flags not a
valid one. Each command also has `-h` (a summary), `--help` (the whole help) and `-V` (the version). [Annotations](../README.md#annotations)
configure a single Ingress; [exit codes](operations.md#exit-codes) are the same for all commands.
";
/// Commands that the image is built without.
const SIMULATED: [&str; 2] = ["demo", "storm"];

fn page() -> String {
    let mut text = HEAD.to_owned();
    for command in built().get_subcommands().filter(|command| command.get_name() != "help") {
        text.push_str(&section(command));
    }
    text
}

fn section(command: &Command) -> String {
    let name = command.get_name();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut text = format!("\n## ingress-acme {name}\n\n{about}.");
    if SIMULATED.contains(&name) {
        text.push_str(" Not in the image: `cargo install --locked --path .` builds the program with this command.");
    }
    text.push_str("\n\n| flag | environment | default | meaning |\n|---|---|---|---|\n");
    let (positionals, flags): (Vec<&Arg>, Vec<&Arg>) =
        command.get_arguments().partition(|arg| arg.is_positional());
    let own = |arg: &&&Arg| !["help", "version"].contains(&arg.get_id().as_str());
    let rows = positionals.iter().chain(&flags).filter(own).map(|arg| row(arg));
    text.extend(rows);
    text
}

fn row(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let (meaning, default) = split_default(&help.replace('\n', " "));
    let env = arg.get_env().map(|name| name.to_string_lossy().into_owned());
    let given = arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned());
    let given: Vec<String> =
        if arg.get_action().takes_values() { given.collect() } else { Vec::new() };
    let default = match (&given[..], default) {
        ([], None) => String::new(),
        ([], Some(words)) => words,
        (values, _) => code(&values.join(",")),
    };
    let meaning = meaning + &alternatives(arg) + separator(arg);
    let cells = [spelling(arg), env.map_or_else(String::new, |env| code(&env)), default, meaning];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

/// The values of a flag with a few, if its value's name does not list them.
fn alternatives(arg: &Arg) -> String {
    let values = arg.get_possible_values();
    let values: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
    let is_listed = arg.get_value_names().unwrap_or_default().join(" ") == values.join("|");
    if values.is_empty() || is_listed || !arg.get_action().takes_values() {
        return String::new();
    }
    let values: Vec<String> = values.into_iter().map(code).collect();
    format!(". Values: {}", values.join(", "))
}

fn separator(arg: &Arg) -> &'static str {
    if arg.get_value_delimiter().is_some() { ". Several are separated by commas" } else { "" }
}

/// Meaning, and the words of a default that depends on something else: help texts end with it.
fn split_default(help: &str) -> (String, Option<String>) {
    match help.rsplit_once(" [default: ") {
        Some((meaning, words)) => (meaning.to_owned(), words.strip_suffix(']').map(str::to_owned)),
        None => (help.to_owned(), None),
    }
}

fn spelling(arg: &Arg) -> String {
    let value = arg.get_value_names().unwrap_or_default().join(" ");
    if arg.is_positional() {
        return code(&value);
    }
    let short = arg.get_short().map(|short| format!("-{short}"));
    let longs = arg.get_long_and_visible_aliases().unwrap_or_default();
    let mut names: Vec<String> = longs.iter().map(|long| format!("--{long}")).collect();
    names.splice(0..0, short);
    if arg.get_action().takes_values() {
        let (before, after) = if arg.is_require_equals_set() { ("[=", "]") } else { (" ", "") };
        names.last_mut().unwrap().extend([before, &value, after]);
    }
    names.iter().map(|name| code(name)).collect::<Vec<_>>().join(", ")
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

#[test]
fn the_configuration_page_is_that_of_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = page();
    if std::env::var_os("UPDATE_CONFIGURATION").is_some() {
        std::fs::write(&path, page).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == page,
        "{PAGE} is not that of the program; UPDATE_CONFIGURATION=1 cargo test --test contracts configuration writes it"
    );
}

#[test]
fn every_flag_and_every_variable_is_on_the_page() {
    let page = page();
    for command in built().get_subcommands() {
        for arg in command.get_arguments() {
            let long = arg.get_long().filter(|long| !["help", "version"].contains(long));
            let all = long.map(|long| format!("`--{long}")).into_iter();
            let all = all.chain(arg.get_env().map(|env| format!("`{}`", env.to_string_lossy())));
            for name in all {
                assert!(page.contains(&name), "{name} of {}", command.get_name());
            }
        }
    }
}
