//! Terms of the fallback CA.

use std::time::Duration;

/// The fallback CA: opt-in, by `--fallback-directory`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fallback<'a> {
    /// Directory URL.
    pub directory: &'a str,
    /// Time that the first CA must have failed for.
    pub after: Duration,
}
