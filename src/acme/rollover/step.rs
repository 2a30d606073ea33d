//! What a rollover does next: a function of what is stored and of what the CA has said.

/// What the CA says about a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Answer {
    /// It was not asked.
    #[default]
    NotAsked,
    /// No account has it.
    Unknown,
    /// An account has it.
    Known,
}

impl Answer {
    /// By the account that it named.
    pub(super) fn of(account: Option<&String>) -> Self {
        if account.is_some() { Self::Known } else { Self::Unknown }
    }
}

/// What is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Seen {
    /// The stored key is another one than when this rollover began.
    pub(super) is_new: bool,
    /// A next key is stored.
    pub(super) has_next: bool,
    /// Of the next key.
    pub(super) next: Answer,
    /// Of the stored key.
    pub(super) current: Answer,
    /// The CA was asked to change it since.
    pub(super) changed: bool,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
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
pub(super) fn step(seen: Seen) -> Step {
    match seen {
        Seen { is_new: true, .. } => Step::Done,
        Seen { has_next: false, .. } => Step::StoreNext,
        Seen { changed: false, current: Answer::NotAsked, .. } => Step::AskCurrent,
        Seen { changed: false, current: Answer::Known, .. } => Step::Change,
        Seen { next: Answer::NotAsked, .. } => Step::AskNext,
        Seen { next: Answer::Known, .. } => Step::Promote,
        Seen { next: Answer::Unknown, changed: true, .. } => Step::Refused,
        Seen { next: Answer::Unknown, changed: false, .. } => Step::NoAccount,
    }
}

#[cfg(test)]
mod tests;
