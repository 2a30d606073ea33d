//! What decides in ingress-acme, and the thin actors around it.
//!
//! This crate names neither a Kubernetes client nor ACME: it asks the world through [`ports`].
//!
//! # Layout
//! - [`domain`]: pure rules; time and randomness are arguments.
//! - [`ports`]: what the world must be able to do, one small trait per outside system; [`journal`] keeps the log in
//!   segments.
//! - The actors, in the order of the work: [`watcher`] and [`scanner`] tell the [`registry`], which addresses one
//!   [`dedup`] actor per Ingress; that asks the [`pool`], whose [`issuer`] actors do the steps; the
//!   [`route_keeper`] brings challenges to the solver; the [`reporter`] tells what is going on.
//! - Shared by them: the [`ledger`] (state and journal), [`needs_reconcile`] (is there work), [`events`] (what users are
//!   told), [`metrics`], [`messages`].
//! - [`operator`] wires all of it.

pub mod ari_poller;
pub mod dedup;
pub mod domain;
pub mod event_dedup;
#[cfg(feature = "fakes")]
pub mod fakes;
pub mod issuer;
pub mod journal;
pub mod ledger;
pub mod messages;
pub mod metrics;
pub mod needs_reconcile;
pub mod operator;
pub mod pool;
pub mod ports;
pub mod registry;
pub mod reporter;
pub mod route_keeper;
pub mod scanner;
pub mod watcher;
