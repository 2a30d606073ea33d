//! Texts from outside (a CA, the API server, a web server, a webhook), cut to a bounded length.

use std::fmt::{self, Write};

/// Longest mark of a cut text: the text around the number, and the digits of a `usize`.
const MARK_MAX: usize = 40;

/// Returns `text` in at most `max` bytes. A cut text ends with the number of bytes that are
/// missing, and control characters become spaces: the text goes into logs, Events and terminals.
pub fn cut(text: impl Into<String>, max: usize) -> String {
    let text = text.into();
    if text.len() <= max && !text.chars().any(is_control) {
        return text;
    }
    let mut cut = CutText::new(max);
    cut.push(&text);
    cut.finish()
}

/// Writer that keeps the first bytes of a text and counts the rest, so that a text of many parts
/// is never built in full.
#[derive(Clone, Debug)]
pub struct CutText {
    max: usize,
    kept: String,
    missing: usize,
}

impl CutText {
    /// An empty text of at most `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { max, kept: String::new(), missing: 0 }
    }

    /// Adds `text`.
    pub fn push(&mut self, text: &str) {
        let mut characters = text.char_indices();
        if self.missing == 0 {
            for (index, character) in characters.by_ref() {
                let shown = if is_control(character) { ' ' } else { character };
                if self.kept.len() + shown.len_utf8() > self.max {
                    self.missing = text.len() - index;
                    return;
                }
                self.kept.push(shown);
            }
        } else {
            self.missing += text.len();
        }
    }

    /// Returns the text; a cut one says so at its end.
    pub fn finish(mut self) -> String {
        if self.missing > 0 {
            let end = self.kept.floor_char_boundary(self.max.saturating_sub(MARK_MAX));
            let missing = self.missing + self.kept.len() - end;
            self.kept.truncate(end);
            _ = write!(self.kept, "… (cut: {missing} bytes)"); // writing to a String never fails
        }
        self.kept
    }
}

impl fmt::Write for CutText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

/// Whether the character moves a cursor or changes the direction of text.
pub fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_text_is_left_as_it_is() {
        assert_eq!(cut("Invalid response: 404, é", 100), "Invalid response: 404, é");
        assert_eq!(cut("", 100), "");
    }

    #[test]
    fn a_text_in_parts_of_exactly_the_longest_length_is_kept_in_full() {
        let mut text = CutText::new(50);
        write!(text, "{}{}", "x".repeat(20), "é".repeat(15)).unwrap();
        assert_eq!(text.clone().finish(), format!("{}{}", "x".repeat(20), "é".repeat(15)));
        write!(text, "y").unwrap();
        assert!(text.finish().ends_with("… (cut: 41 bytes)"));
    }

    #[test]
    fn a_long_text_says_how_much_of_it_is_missing() {
        let text = cut("x".repeat(1000), 100);
        assert_eq!(text, format!("{}… (cut: 940 bytes)", "x".repeat(60)));
    }

    #[test]
    fn control_characters_and_changes_of_direction_become_spaces() {
        assert_eq!(cut("a\u{1b}[31mb\r\nc\u{202e}d", 100), "a [31mb  c d");
    }

    proptest! {
        #[test]
        fn any_text_is_bounded_and_a_cut_text_is_cut_no_further(text in "\\PC{0,400}|.{0,400}") {
            let once = cut(text.clone(), 120);
            prop_assert!(once.len() <= 120);
            prop_assert!(!once.chars().any(is_control));
            prop_assert_eq!(cut(once.clone(), 120), once);
        }

        #[test]
        fn a_text_in_parts_is_cut_like_the_whole(parts in prop::collection::vec(".{0,60}", 0..20)) {
            let mut written = CutText::new(120);
            for part in &parts {
                written.push(part);
            }
            prop_assert_eq!(written.finish(), cut(parts.concat(), 120));
        }
    }
}
