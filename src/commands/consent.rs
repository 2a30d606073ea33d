//! Confirmation of irreversible actions: the user types `yes` on a terminal, or passes `--yes`.

use std::io::{IsTerminal, Write};

use anyhow::bail;

/// How a command treats its question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    /// Proceed: the command line contains the answer.
    GoOn,
    /// Ask the user.
    Ask,
    /// Refuse: there is no terminal to ask on.
    Refuse,
}

/// Decides from the flag `--yes` and the presence of a terminal. A script that feeds lines to a
/// command has not read the question, so its input does not count.
fn rule(yes: bool, terminal: bool) -> Rule {
    match (yes, terminal) {
        (true, _) => Rule::GoOn,
        (false, true) => Rule::Ask,
        (false, false) => Rule::Refuse,
    }
}

/// Whether `line` is the whole word `yes`. `y` is typed too easily.
fn is_consent(line: &str) -> bool {
    line.trim() == "yes"
}

/// Asks whether the user, who has read the details, wants to proceed. `yes` is the flag `--yes`.
///
/// # Errors
/// Fails without the flag if there is no terminal.
pub fn given(yes: bool) -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    match rule(yes, stdin.is_terminal()) {
        Rule::GoOn => return Ok(true),
        Rule::Refuse => {
            bail!("nothing was done: there is no terminal for the confirmation; use --yes")
        }
        Rule::Ask => {}
    }
    print!("Type `yes` to continue: ");
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
