//! Sources of work: the watcher, the scanner, the secret checker and the ARI poller notify the
//! registry of Ingresses that may need a reconciliation.

pub(crate) mod ari_poller;
mod needs_reconcile;
mod private_ca;
pub mod scanner;
pub(crate) mod secret_checker;
pub mod watcher;
