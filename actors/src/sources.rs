//! Sources of work: the watch, the hourly scan and the CA's renewal windows notify the registry of Ingresses.

pub mod ari_poller;
mod needs_reconcile;
pub mod scanner;
pub mod watcher;
