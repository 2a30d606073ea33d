//! What a rollover does next: a function of what is stored and of what the CA has said.

/// What the CA says about a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum KeyAnswer {
    /// It was not asked.
    #[default]
    NotAsked,
    /// No account has it.
    Unknown,
    /// An account has it.
    Known,
}

impl KeyAnswer {
    /// By the account that it named.
    pub(super) fn of(account: Option<&String>) -> Self {
        if account.is_some() { Self::Known } else { Self::Unknown }
    }
}

/// What is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Findings {
    /// The stored key is another one than when this rollover began.
    pub(super) is_new: bool,
    /// A next key is stored.
    pub(super) has_next: bool,
    /// Of the next key.
    pub(super) next: KeyAnswer,
    /// Of the stored key.
    pub(super) current: KeyAnswer,
    /// The CA was asked to change it since.
    pub(super) changed: bool,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RolloverStep {
    /// Nothing more.
    Done,
    /// Make a key and store it as the next one.
    StoreNext,
    /// Ask the CA about the next key.
    AskNext,
    /// Ask the CA about the stored key.
    AskCurrent,
    /// Ask the CA to change the one for the other.
    Change,
    /// Store the next key as the account's.
    Promote,
    /// The CA does not do it.
    Refused,
    /// The CA knows neither key.
    NoAccount,
}

/// The stored key comes first: where it is the account's, the next one is not yet. Asked in the other order, another
/// process could change it between the two answers, and both would be no.
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
