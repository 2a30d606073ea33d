//! Whether a certificate is of the CA in use, as far as its chain shows.

use std::sync::Arc;

use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::Clock;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::{certificates, chain, dns_names, parse};

/// The issuers that are accepted as the CA in use.
#[derive(Clone, Default)]
pub enum Issuers {
    /// Those under the Mozilla roots, at the time of the clock: the CA is a public one.
    Public(Arc<WebPkiServerVerifier>, Arc<dyn Clock + Send + Sync>),
    /// Any issuer: the roots of a private CA are not known, because its TLS certificate may have
    /// other ones. The chain must be consistent.
    #[default]
    Any,
}

impl Issuers {
    /// The issuers under the Mozilla roots, which are compiled in.
    pub fn public(clock: Arc<dyn Clock + Send + Sync>) -> Self {
        Self::under(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }, clock)
    }

    fn under(roots: RootCertStore, clock: Arc<dyn Clock + Send + Sync>) -> Self {
        let provider = Arc::new(default_provider());
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_or(Self::Any, |verifier| Self::Public(verifier, clock)) // fails without roots only
    }

    /// Whether only issuers that browsers trust are accepted.
    pub fn are_public(&self) -> bool {
        matches!(self, Self::Public(..))
    }

    /// Checks that a PEM chain leads to an accepted issuer.
    ///
    /// # Errors
    /// The defect of the chain as a sentence fragment of at most [`limits::QUOTED_MAX`] bytes:
    /// whoever writes the Secret writes the names in it.
    pub fn check(&self, chain_pem: &str) -> Result<(), String> {
        self.verify(chain_pem).map_err(|why| cut(why, limits::QUOTED_MAX))
    }

    fn verify(&self, chain_pem: &str) -> Result<(), String> {
        let blocks = certificates(chain_pem)?;
        let parsed = parse(&blocks)?;
        chain::check(&parsed)?;
        let leaf = parsed.first().ok_or("there is no certificate in it")?;
        let Self::Public(verifier, clock) = self else {
            // A private CA may leave out its root (RFC 8555 §9.1), but signs no leaf with itself.
            let alone = leaf.issuer().as_raw() == leaf.subject().as_raw();
            return if alone { Err("it is signed by itself".to_owned()) } else { Ok(()) };
        };
        let not_before = leaf.validity().not_before.timestamp();
        let name = dns_names(leaf)?.into_iter().next().ok_or("it has no DNS name")?;
        // A wildcard is no name of a server.
        let name = name.strip_prefix("*.").map_or(name.clone(), |rest| format!("any.{rest}"));
        let name = ServerName::try_from(name).map_err(|wrong| wrong.to_string())?;
        let mut chain = blocks.into_iter().map(|block| CertificateDer::from(block.contents));
        let end_entity = chain.next().ok_or("there is no certificate in it")?;
        let intermediates: Vec<CertificateDer<'_>> = chain.collect();
        let seconds = u64::try_from(clock.now().as_secs().max(not_before)).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let verified = verifier.verify_server_cert(&end_entity, &intermediates, &name, &[], now);
        verified.map(drop).map_err(|wrong| wrong.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use x509_parser::pem::Pem;

    use super::*;
    use crate::process::clock::SystemClock;

    /// A chain of a CA that anybody can make, and its leaf alone.
    fn chain() -> (String, String) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "anybody's CA");
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().pem();
        let leaf = CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap();
        let leaf =
            leaf.signed_by(&KeyPair::generate().unwrap(), &Issuer::new(params, key)).unwrap();
        (format!("{}{root}", leaf.pem()), leaf.pem())
    }

    #[test]
    fn a_chain_under_an_accepted_root_is_of_the_ca_with_or_without_its_root() {
        let (chain, leaf) = chain();
        let root = certificates(&chain).unwrap().pop().unwrap().contents;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(root)).unwrap();
        let accepted = Issuers::under(roots, Arc::new(SystemClock::default()));
        assert_eq!((accepted.check(&chain), accepted.check(&leaf)), (Ok(()), Ok(())));
        let (other, _) = self::chain();
        assert!(accepted.check(&other).is_err(), "the same name, another key");
    }

    #[test]
    fn a_wildcard_certificate_under_an_accepted_root_is_accepted() {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let leaf = CertificateParams::new(vec!["*.example.com".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &Issuer::new(params, key));
        let accepted = Issuers::under(roots, Arc::new(SystemClock::default()));
        assert_eq!(accepted.check(&leaf.unwrap().pem()), Ok(()));
        assert!(accepted.are_public() && !Issuers::Any.are_public());
    }

    #[test]
    fn a_chain_that_anybody_can_make_is_of_a_private_ca_at_most() {
        let (chain, leaf) = chain();
        let public = Issuers::public(Arc::new(SystemClock::default()));
        assert_eq!(Issuers::Any.check(&chain), Ok(()));
        assert_eq!(Issuers::Any.check(&leaf), Ok(()), "its root is left out");
        let key = KeyPair::generate().unwrap();
        let alone = CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap();
        let alone = alone.self_signed(&key).unwrap().pem();
        assert!(Issuers::Any.check(&alone).unwrap_err().contains("by itself"));
        assert!(public.check(&chain).unwrap_err().contains("UnknownIssuer"));
        assert!(public.check("nothing").is_err());
    }

    /// A chain of two certificates, DER.
    static CHAIN: LazyLock<Vec<Pem>> = LazyLock::new(|| certificates(&chain().0).unwrap());

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A tenant may put any chain into a Secret with our label.
        #[test]
        fn any_chain_is_of_the_ca_or_has_a_bounded_defect(
            at in prop::collection::vec((any::<usize>(), any::<u8>()), 0..4), order in prop::collection::vec(0..2_usize, 0..5),
            name in "[ -~]{0,800}|[a-z.*]{0,300}", noise in ".{0,200}",
        ) {
            use base64::prelude::{BASE64_STANDARD, Engine};
            let mut blocks: Vec<Vec<u8>> = order.iter().map(|index| CHAIN[*index].contents.clone()).collect();
            for (at, flipped) in at {
                let Some(block) = blocks.first_mut() else { break };
                let length = block.len();
                block[at % length] ^= flipped;
            }
            if let Ok(named) = CertificateParams::new(vec![name]) {
                let key = KeyPair::generate().unwrap();
                blocks.extend(named.self_signed(&key).map(|made| made.der().to_vec()));
            }
            let texts = blocks.iter().map(|block| {
                format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64_STANDARD.encode(block))
            });
            let texts: Vec<String> = texts.collect();
            let mut chains = vec![noise, texts.concat()];
            chains.extend(texts.last().cloned());
            let public = Issuers::public(Arc::new(SystemClock::default()));
            for chain in chains {
                for issuers in [&Issuers::Any, &public] {
                    let Err(why) = issuers.check(&chain) else { continue };
                    prop_assert!((1..=limits::QUOTED_MAX).contains(&why.len()), "{}", why.len());
                    prop_assert!(!why.chars().any(char::is_control), "{}", why);
                }
                prop_assert!(public.check(&chain).is_err(), "no browser trusts it");
            }
        }
    }
}
