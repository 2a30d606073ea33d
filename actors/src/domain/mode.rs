//! Mode of the operator.

/// Whether the operator does its work, or only tells its plans (`--dry-run`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Certificates are ordered, renewed and installed.
    #[default]
    Work,
    /// Plans are told by Events and metrics, and nothing else is written. The ports are those of
    /// [`without_writes`](crate::dry_run::without_writes).
    DryRun,
}
