//! Verification of certificates as by a TLS client: rustls checks a chain against the CA's own
//! root, as a browser does against public roots.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

/// Reason why a client would not trust a certificate.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// Input that cannot be parsed, or an empty chain.
    #[error("{what} cannot be read: {why}")]
    Unreadable {
        /// Input that failed: the roots, the chain or a name.
        what: &'static str,
        /// Error of the parser.
        why: String,
    },
    /// A client that connects to this name refuses the chain.
    #[error("a client would refuse it for {name}: {why}")]
    Refused {
        /// Server name of the connection.
        name: String,
        /// Error of rustls.
        why: rustls::Error,
    },
}

/// Verifies `chain` (PEM, leaf first) for each of `names` against `roots` (PEM) at the time `now`.
///
/// # Errors
///
/// If any input cannot be parsed, or a client would refuse the chain for one of the names.
pub fn verify_chain(
    chain: &str,
    roots: &str,
    names: &[&str],
    now: Timestamp,
) -> Result<(), Untrusted> {
    let since_1970 = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
    let now = UnixTime::since_unix_epoch(since_1970);
    let mut store = RootCertStore::empty();
    for root in certificates("the roots", roots)? {
        store.add(root).map_err(|why| unreadable("the roots", &why))?;
    }
    let verifier = WebPkiServerVerifier::builder(Arc::new(store)).build();
    let verifier = verifier.map_err(|why| unreadable("the roots", &why))?;
    let chain = certificates("the chain", chain)?;
    let [leaf, intermediates @ ..] = &chain[..] else {
        return Err(unreadable("the chain", &"it is empty"));
    };
    for name in names {
        let server = ServerName::try_from(*name).map_err(|why| unreadable("a name", &why))?;
        verifier
            .verify_server_cert(leaf, intermediates, &server, &[], now)
            .map_err(|why| Untrusted::Refused { name: (*name).to_owned(), why })?;
    }
    Ok(())
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Untrusted> {
    let read: Result<_, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    read.map_err(|why| unreadable(what, &why))
}

fn unreadable(what: &'static str, why: &impl ToString) -> Untrusted {
    Untrusted::Unreadable { what, why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_chain_of_another_ca_is_refused_and_nonsense_is_unreadable() {
        drop(rustls::ClientConfig::builder()); // installs the crypto provider compiled in
        let signed = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let (one, other) = (signed("a.example.com").cert.pem(), signed("b.example.com").cert.pem());
        let now = Clock::default().now();
        let refused = verify_chain(&one, &other, &["a.example.com"], now);
        assert!(matches!(refused, Err(Untrusted::Refused { .. })), "{refused:?}");
        assert!(matches!(verify_chain("", &one, &[], now), Err(Untrusted::Unreadable { .. })));
    }
}
