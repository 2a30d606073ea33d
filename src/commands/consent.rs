//! What cannot be undone is done only when the user says so: by typing `yes` on a terminal, or by `--yes`.

use std::io::{IsTerminal, Write};

use anyhow::bail;

/// What a command does about its question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    /// It was answered on the command line.
    GoOn,
    /// It is asked.
    Ask,
    /// There is nobody to ask.
    Refuse,
}

/// A script that only feeds lines to a command has not read what it says.
fn rule(yes: bool, terminal: bool) -> Rule {
    match (yes, terminal) {
        (true, _) => Rule::GoOn,
        (false, true) => Rule::Ask,
        (false, false) => Rule::Refuse,
    }
}

/// The whole word: `y` is typed too easily.
fn is_consent(line: &str) -> bool {
    line.trim() == "yes"
}

/// Whether the user wants it, who has been told what it is. `yes` is the flag `--yes`. Fails without it where there is no
/// terminal.
pub fn given(yes: bool) -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    match rule(yes, stdin.is_terminal()) {
        Rule::GoOn => return Ok(true),
        Rule::Refuse => bail!("nothing was done: say --yes where there is no terminal to ask on"),
        Rule::Ask => {}
    }
    print!("Type `yes` to go on: ");
    std::io::stdout().flush()?;
    let mut line = String::new();
    stdin.read_line(&mut line)?;
    Ok(is_consent(&line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_only_the_flag_counts() {
        assert_eq!(rule(true, true), Rule::GoOn);
        assert_eq!(rule(true, false), Rule::GoOn);
        assert_eq!(rule(false, true), Rule::Ask);
        assert_eq!(rule(false, false), Rule::Refuse);
    }

    #[test]
    fn nothing_but_the_word_yes_is_consent() {
        assert!(is_consent("yes\n") && is_consent(" yes "));
        for line in ["", "\n", "y\n", "YES\n", "no\n", "yes please\n"] {
            assert!(!is_consent(line), "{line:?}");
        }
    }
}
