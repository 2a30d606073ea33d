//! Next step of a rollover: a pure function of the stored keys and the CA's answers.

/// The CA's answer about a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum KeyAnswer {
    /// No request was sent.
    #[default]
    NotAsked,
    /// No account has the key.
    Unknown,
    /// An account has the key.
    Known,
}

impl KeyAnswer {
    /// Converts the account URL that the CA returned.
    pub(super) fn of(account: Option<&String>) -> Self {
        if account.is_some() { Self::Known } else { Self::Unknown }
    }
}

/// Input of [`step`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Findings {
    /// The stored key has changed since the start of this rollover.
    pub(super) is_new: bool,
    /// A next key is stored.
    pub(super) has_next: bool,
    /// Answer about the next key.
    pub(super) next: KeyAnswer,
    /// Answer about the stored key.
    pub(super) current: KeyAnswer,
    /// The key change was requested since the last write.
    pub(super) changed: bool,
}

/// One step of a rollover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RolloverStep {
    /// The rollover is complete.
    Done,
    /// Generate a key and store that key as the next one.
    StoreNext,
    /// Ask the CA about the next key.
    AskNext,
    /// Ask the CA about the stored key.
    AskCurrent,
    /// Request the change from the stored key to the next key.
    Change,
    /// Store the next key as the account key.
    Promote,
    /// The CA refused the change.
    Refused,
    /// The CA knows neither key.
    NoAccount,
}

/// Returns the next step. The CA is asked about the stored key first: if the account has the stored
/// key, the next key is not in use. In the other order, another process could change the key
/// between the two answers, and both would be "unknown".
pub(super) fn step(findings: Findings) -> RolloverStep {
    match findings {
        Findings { is_new: true, .. } => RolloverStep::Done,
        Findings { has_next: false, .. } => RolloverStep::StoreNext,
        Findings { changed: false, current: KeyAnswer::NotAsked, .. } => RolloverStep::AskCurrent,
        Findings { changed: false, current: KeyAnswer::Known, .. } => RolloverStep::Change,
        Findings { next: KeyAnswer::NotAsked, .. } => RolloverStep::AskNext,
        Findings { next: KeyAnswer::Known, .. } => RolloverStep::Promote,
        Findings { next: KeyAnswer::Unknown, changed: true, .. } => RolloverStep::Refused,
        Findings { next: KeyAnswer::Unknown, changed: false, .. } => RolloverStep::NoAccount,
    }
}

#[cfg(test)]
mod tests;
