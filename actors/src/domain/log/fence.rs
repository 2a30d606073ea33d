//! Rules of a write to the log: a number is created once, and a write with an unknown result is
//! tried again with the same bytes until the result is known. Pure: the writer does the requests.

/// Answer to the creation of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CreateAnswer {
    /// Created.
    Created,
    /// A segment with this number exists.
    Exists,
    /// Refused for the content.
    Refused,
    /// No answer, or one that leaves the result open.
    Unknown,
}

/// Segment found under the number of a write.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stored {
    /// The same bytes: an earlier attempt was performed, and its answer was lost.
    Ours,
    /// Other bytes: another process has taken the number.
    Others,
    /// No segment.
    Nothing,
    /// The segment cannot be read.
    Unknown,
}

/// Next step of a write.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WriteStep {
    /// The segment is durable.
    Durable,
    /// Compare the stored segment.
    Compare,
    /// Try again, with the same number and the same bytes.
    Again,
    /// The segment is refused, and nothing is durable.
    Refused,
    /// Another process writes the log: stop before any further effect.
    Fenced,
}

/// Step after the answer to a creation; `again` after an attempt with an unknown result.
pub fn after_create(answer: CreateAnswer, again: bool) -> WriteStep {
    match (answer, again) {
        (CreateAnswer::Created, _) => WriteStep::Durable,
        (CreateAnswer::Exists, _) | (CreateAnswer::Refused, true) => WriteStep::Compare,
        (CreateAnswer::Refused, false) => WriteStep::Refused,
        (CreateAnswer::Unknown, _) => WriteStep::Again,
    }
}

/// Step after the comparison that followed `answer`.
pub fn after_compare(answer: CreateAnswer, stored: Stored) -> WriteStep {
    match (stored, answer) {
        (Stored::Ours, _) => WriteStep::Durable,
        (Stored::Others, _) => WriteStep::Fenced,
        (Stored::Nothing, CreateAnswer::Refused) => WriteStep::Refused,
        (Stored::Nothing | Stored::Unknown, _) => WriteStep::Again,
    }
}
