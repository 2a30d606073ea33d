//! TXT records at DNS providers: accounts from labelled Secrets, and an adapter for each provider.
//!
//! - [`accounts`]: watch of the Secrets, which are read again when they change.
//! - [`catalog`]: the providers, with the keys of their accounts; [`provider`]: what one is.
//! - [`records`]: writes of records, each within a deadline, two of one name never at once.

pub mod accounts;
mod acme_dns;
pub mod catalog;
mod credentials;
mod error;
mod external_dns;
mod http;
mod httpreq;
pub mod provider;
pub mod records;
mod rfc2136;
mod update;
mod webhook;
