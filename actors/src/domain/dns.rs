//! Challenges that are answered in DNS: DNS-01 (RFC 8555 §8.4) and DNS-PERSIST-01
//! (draft-ietf-acme-dns-persist).
//!
//! - [`account`]: accounts at DNS providers, and what each may write for whom.
//! - [`txt`]: names and values of the records.

pub mod account;
pub mod txt;
