//! The lines for people: verdict, check, and the words.

use std::fmt::Write;

use ingress_acme_actors::domain::doctor::{Finding, Verdict};

/// Width of the longest verdict.
const VERDICT: usize = 7;
/// Width of the longest name of a check.
const CHECK: usize = 14;

/// One line for each finding. Colour is for terminals: the escape sequences are those of ECMA-48.
pub(super) fn table(findings: &[Finding], in_colour: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let (word, check) = (finding.verdict.word(), finding.check.name());
        let (on, off) = if in_colour { (colour(finding.verdict), "\u{1b}[0m") } else { ("", "") };
        let words = finding.words();
        // Writing to a String never fails.
        _ = writeln!(text, "{on}{word:VERDICT$}{off}  {check:CHECK$}  {words}");
    }
    text.truncate(text.trim_end().len());
    text
}

fn colour(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "\u{1b}[32m",
        Verdict::Warn => "\u{1b}[33m",
        Verdict::Fail => "\u{1b}[31m",
        Verdict::Skipped => "\u{1b}[2m",
    }
}

#[cfg(test)]
mod tests {
    use ingress_acme_actors::domain::doctor::install::{api_server, flags};

    use super::*;

    #[test]
    fn the_columns_are_in_line_with_colour_and_without() {
        let refused = Err("forbidden".to_owned());
        let findings = [api_server(&Ok("v1.36.3".to_owned())), flags(&refused)];
        let plain = table(&findings, false);
        let lines: Vec<&str> = plain.lines().collect();
        assert_eq!(lines[0], "ok       api-server      Kubernetes v1.36.3 answers");
        assert!(lines[1].starts_with("fail     flags           the flags of"), "{}", lines[1]);
        let coloured = table(&findings, true);
        assert!(coloured.starts_with("\u{1b}[32mok     \u{1b}[0m  api-server"), "{coloured}");
        let bare = ["\u{1b}[32m", "\u{1b}[31m", "\u{1b}[0m"];
        let bare = bare.iter().fold(coloured, |text, escape| text.replace(escape, ""));
        assert_eq!(bare, plain);
    }
}
