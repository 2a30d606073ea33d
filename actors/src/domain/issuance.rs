//! Getting one certificate: the event-sourced core.
//!
//! State is the fold of [`Event`]s. [`decide`] turns a command into events or refuses, [`apply`] folds one event
//! and refuses an illegal one, and [`next`] says from the state, the newest desired certificate and what was [`Seen`] what to do
//! now. Work that was just begun and work resumed after a crash take the same path, because `next` knows nothing
//! else.
//!
//! ```text
//! Idle ──Started──► Started ──OrderOpened──► Ordered ──Installed──► Idle
//!  ▲  ◄──Abandoned───┘  │                      │
//!  └────Abandoned── Failing ◄─────Failed───────┘
//! ```

mod ahead;
mod decide;
mod event;
mod fallback;
mod next;
mod partial;
mod reasons;
mod seen;
mod state;
mod step;
#[cfg(test)]
mod tests;

pub use decide::{Beginning, Command, Refused, decide};
pub use event::{Event, Record};
pub use fallback::Fallback;
pub use next::next;
pub use seen::{AuthorizationView, Chain, OrderStatus, OrderView, Reach, Seen};
pub use state::{Failing, IllegalEvent, Issuance, State, apply};
pub use step::{Conclusion, Context, Step};
