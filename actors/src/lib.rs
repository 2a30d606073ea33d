//! The decisions of ingress-acme and the actors around them.
//!
//! This crate names neither a Kubernetes client nor an ACME library: the actors reach both through
//! [`ports`].
//!
//! # Layout
//! - [`domain`]: pure rules; time and randomness are arguments.
//! - [`ports`]: one small trait per outside system.
//! - [`sources`]: the watcher, the scanner and the ARI poller notify the registry.
//! - [`dedup`]: the registry and one dedup actor per busy Ingress.
//! - [`dns`]: challenges in DNS: the ports, and the cleaner of TXT records.
//! - [`dry_run`]: ports that write nothing but Events, and the surveyor, which takes the place of
//!   the pool.
//! - [`pool`]: the pool, its issuer actors, and the steps of a job.
//! - [`routes`]: the route keeper writes solver Ingresses in batches.
//! - [`journal`]: the ledger, and the journal in segments.
//! - [`reporting`]: metrics, state dumps, and Events that are recorded once.
//! - [`cas`]: the CAs at work, each with its client and its limits.
//! - [`host_holders`]: the namespace that holds a host which several name.
//! - [`secret_choice`]: the Secret of an Ingress that leaves its name to us.
//! - `context`: the state that the actors share, with the `switch` for new orders;
//!   [`shared_expiries`]: the subset that a scrape reads, too.
//! - [`messages`]: the messages between actors; [`operator`]: the wiring of all of them.

pub mod cas;
pub(crate) mod context;
pub mod dedup;
pub mod dns;
pub mod domain;
pub mod dry_run;
#[cfg(feature = "fakes")]
pub mod fakes;
pub mod host_holders;
pub mod journal;
pub mod messages;
pub mod operator;
pub mod pool;
pub mod ports;
pub mod reporting;
pub mod routes;
pub mod secret_choice;
pub mod shared_expiries;
pub mod sources;
pub(crate) mod switch;
