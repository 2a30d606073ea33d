//! The event-sourced state machine of one certificate.
//!
//! The state is the fold of [`Event`]s. [`decide()`] turns a command into an event or refuses the
//! command, [`apply`] folds one event and refuses an illegal one, and `next` returns the next
//! step from the state, the newest desired certificate and the observations of the job
//! (`Observed`). A job that just began and a job that a crash interrupted follow the same rules,
//! because `next` has no other input.
//!
//! ```text
//! Idle, Failing ──Started──► Started ──OrderOpened──► Ordered ──Installed──► Idle
//! Ordered ──Installed (a subset of the names)──► Failing
//! any state ──Failed──► Failing
//! Started, Ordered, Failing ──Abandoned──► Idle
//! ```
//!
//! # Layout
//! - `event`, `state`, `failing`: the journaled facts and their fold; `decide`: from commands to
//!   events.
//! - `observed`, `step`, `fallback`: inputs and outputs of `next`.
//! - `next`: the rules in order; `waits`, `secret`, `subset`, `before_order` and `with_order`: the
//!   rules themselves, which ask their questions of one `evaluation`.
//! - `outlook`: the first step for a Secret, as a command tells it before the operator runs.
//! - `ipv6`: hosts that lead elsewhere over IPv6 than over IPv4.
//! - `in_dns`: names that are proved in DNS; `seen_in_dns`: what a job observes there.
//! - `in_flight`: issuances of several Secrets for exactly the same names.

mod before_order;
mod decide;
mod evaluation;
mod event;
mod failing;
mod fallback;
mod in_dns;
mod in_flight;
mod ipv6;
mod new_order;
mod next;
mod observed;
mod outlook;
mod probes;
mod secret;
mod seen_in_dns;
mod state;
mod step;
mod subset;
#[cfg(test)]
mod tests;
mod waits;
mod with_order;

pub use crate::domain::challenge::{Method, Methods, Offers};
pub use decide::{Command, NewIssuance, Refused, decide};
pub use event::{
    CertificateInstalled, ChosenCa, Event, Folded, IssuanceAbandoned, IssuanceFailed,
    IssuanceStarted, OrderOpened, RateLimitHit, Record, TxtAdded,
};
pub use failing::Failing;
pub(crate) use fallback::Fallback;
pub(crate) use in_flight::InFlight;
pub use ipv6::OverIpv6;
pub(crate) use next::next;
pub(crate) use observed::{AfterRefusal, Chain, Observed};
pub use observed::{AuthorizationView, Missed, OrderStatus, OrderView, Reach};
pub use outlook::{Outlook, outlook};
pub(crate) use secret::{is_left_alone, of_another_install};
pub use state::{IllegalEvent, Issuance, State, apply};
pub(crate) use step::{Inputs, Step};
