//! Getting one certificate: the event-sourced core.
//!
//! State is the fold of [`Event`]s. [`decide`] turns a command into events or refuses, [`apply`] folds one event
//! and refuses an illegal one, and [`next`] says from the state, the newest desired certificate and what was [`Observed`] what to do
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
mod observed;
mod partial;
mod reasons;
mod state;
mod step;
#[cfg(test)]
mod tests;

pub use decide::{Beginning, Command, Refused, decide};
pub use event::{Event, Record};
pub use fallback::Fallback;
pub use next::next;
pub use observed::{AuthorizationView, Chain, Observed, OrderStatus, OrderView, Reach};
pub use state::{Failing, IllegalEvent, Issuance, State, apply};
pub use step::{Inputs, Step};
