//! Challenges that are answered in DNS: DNS-01 (RFC 8555 §8.4) and DNS-PERSIST-01
//! (draft-ietf-acme-dns-persist).
//!
//! - [`account`]: accounts at DNS providers, and what each may write for whom.
//! - [`account_secret`]: what the Secret of an account says.
//! - `method`: the choice among both for a name; [`persist`]: records of DNS-PERSIST-01.
//! - `records`: the records that may be in DNS, by the journal.
//! - [`txt`]: names and values of the records.

pub mod account;
pub mod account_secret;
pub(crate) mod method;
pub mod persist;
pub(crate) mod records;
pub mod txt;
