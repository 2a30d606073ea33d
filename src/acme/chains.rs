//! Selection among the chains that a CA offers for one certificate (RFC 8555 §7.4.2).
//!
//! The rule is that of certbot, lego and cert-manager. The topmost (last) certificate of a chain
//! decides: its issuer is the root that clients need. The first chain whose topmost issuer has the
//! preferred common name wins; else the first chain with that issuer on any certificate; else the
//! default chain.

use std::time::Duration;

use instant_acme::Error;
use tokio::time::{Instant, timeout_at};

use ingress_acme_actors::domain::limits;

use super::call::Call;
use super::jws::{Sender, Signer, post};
use super::{Acme, CallError};
use crate::pki;

/// Time from the start of the call for fetching alternates: the default chain is already downloaded
/// and must not be lost to the call's deadline.
const UNTIL: Duration =
    limits::CA_CALL.checked_div(3).expect("three is not zero").saturating_mul(2);

/// Match of a chain with the preferred issuer; better is greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fit {
    /// No certificate has the preferred issuer.
    Not,
    /// A certificate below the topmost has the preferred issuer.
    Within,
    /// The topmost certificate has the preferred issuer.
    Topmost,
}

fn fit(issuers: &[String], wanted: &str) -> Fit {
    match issuers {
        [.., topmost] if topmost == wanted => Fit::Topmost,
        issuers if issuers.iter().any(|issuer| issuer == wanted) => Fit::Within,
        _ => Fit::Not,
    }
}

/// The best chain so far; the first of equals.
struct Choice<'a> {
    wanted: &'a str,
    best: (Fit, String),
    /// The leaf (DER); every alternate must have the same.
    leaf: Vec<u8>,
    /// Topmost issuers of all chains.
    offered: Vec<String>,
}

impl<'a> Choice<'a> {
    /// Starts with the default chain. `None` if that chain is unreadable: the caller then returns
    /// the chain unchanged, and its consumer reports the error.
    fn begin(wanted: &'a str, default: &str) -> Option<Self> {
        let (issuers, leaf) = (pki::issuers(default).ok()?, pki::leaf(default).ok()?);
        let best = (fit(&issuers, wanted), default.to_owned());
        let offered = issuers.last().cloned().into_iter().collect();
        Some(Self { wanted, best, leaf, offered })
    }

    fn is_made(&self) -> bool {
        self.best.0 == Fit::Topmost
    }

    /// Compares an alternate with the best chain so far.
    ///
    /// # Errors
    /// When the alternate is unreadable or has another leaf.
    fn consider(&mut self, chain: String) -> Result<(), String> {
        let issuers = pki::issuers(&chain)?;
        if pki::leaf(&chain)? != self.leaf {
            return Err("it belongs to another certificate".to_owned());
        }
        self.offered.extend(issuers.last().cloned());
        let fit = fit(&issuers, self.wanted);
        if fit > self.best.0 {
            self.best = (fit, chain);
        }
        Ok(())
    }

    fn made(self) -> String {
        let Self { wanted, best: (fit, chain), offered, .. } = self;
        if fit == Fit::Not {
            let offered = offered.join(", ");
            tracing::warn!(
                wanted,
                offered,
                "the CA offers no chain of this issuer; its default chain is used"
            );
        }
        chain
    }
}

impl Acme {
    /// Selects the preferred chain among the downloaded `default` and its alternates. Fetches
    /// alternates only while a better match is possible; an alternate that fails is skipped.
    pub(super) async fn preferred(&self, default: String, began: Instant) -> String {
        let alternates = Call::alternates();
        let Some(wanted) = &self.preferred_chain else { return default };
        let Some(mut choice) = Choice::begin(wanted, &default) else { return default };
        let searching = async {
            for url in alternates {
                if choice.is_made() {
                    break;
                }
                let considered = match self.alternate(&url).await {
                    Ok(chain) => choice.consider(chain),
                    Err(error) => {
                        Err(error.into_port_error("the CA did not return it").to_string())
                    }
                };
                if let Err(why) = considered {
                    tracing::warn!(url, why, "an alternate chain is skipped");
                }
            }
        };
        if timeout_at(began + UNTIL, searching).await.is_err() {
            tracing::warn!(
                "the CA is slow to return alternate chains; the choice is made among those received"
            );
        }
        choice.made()
    }

    /// Fetches one alternate by POST-as-GET (RFC 8555 §6.3), which instant-acme supports for orders
    /// only.
    async fn alternate(&self, url: &str) -> Result<String, CallError> {
        let (key, account) = self.accounts.credentials().await?;
        let sender = (&Signer::new(&key)?, Sender::Account(&account));
        let answer = post(&self.accounts.transport, ("certificate", url), sender, None).await?;
        if answer.body.len() > limits::CHAIN_MAX {
            let most = limits::CHAIN_MAX;
            return Err(CallError::lacking(format!("it is larger than {most} bytes")));
        }
        String::from_utf8(answer.body).map_err(|_| Error::Str("it is not text").into())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn root(name: &str) -> (Issuer<'static, KeyPair>, String) {
        let key = KeyPair::generate().unwrap();
        let pem = params(name).self_signed(&key).unwrap().pem();
        (Issuer::new(params(name), key), pem)
    }

    /// Three chains of one leaf under the intermediate E: to root One, to root Two, and to Two
    /// cross-signed by Old.
    fn chains() -> [String; 3] {
        let ((one, _), (old, _)) = (root("One"), root("Old"));
        let two_key = KeyPair::generate().unwrap();
        let crossed = params("Two").signed_by(&two_key, &old).unwrap().pem();
        let two = Issuer::new(params("Two"), two_key);
        let key = KeyPair::generate().unwrap();
        let [by_one, by_two] =
            [&one, &two].map(|root| params("E").signed_by(&key, root).unwrap().pem());
        let intermediate = Issuer::new(params("E"), key);
        let leaf = CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &intermediate).unwrap().pem();
        [format!("{leaf}{by_one}"), format!("{leaf}{by_two}"), format!("{leaf}{by_two}{crossed}")]
    }

    /// Index of the selected chain; the first is the default.
    fn taken(wanted: &str, offered: &[&String]) -> usize {
        let mut choice = Choice::begin(wanted, offered[0]).unwrap();
        for chain in &offered[1..] {
            if !choice.is_made() {
                choice.consider((*chain).clone()).unwrap();
            }
        }
        let made = choice.made();
        offered.iter().position(|chain| **chain == made).unwrap()
    }

    #[test]
    fn the_first_chain_whose_topmost_issuer_is_wanted_is_taken() {
        let [one, two, crossed] = chains();
        assert_eq!(taken("One", &[&one, &two, &crossed]), 0);
        assert_eq!(taken("Two", &[&one, &crossed, &two]), 2, "the shorter one ends there");
        assert_eq!(taken("Two", &[&crossed, &two]), 1, "though the default has it within");
        assert_eq!(taken("Old", &[&one, &two, &crossed]), 2);
    }

    #[test]
    fn where_none_ends_there_one_that_has_it_within_is_taken_and_else_the_default() {
        let [one, two, crossed] = chains();
        assert_eq!(taken("Two", &[&one, &crossed]), 1);
        assert_eq!(taken("E", &[&one, &two]), 0, "all have it, so the default");
        assert_eq!(taken("Three", &[&one, &two, &crossed]), 0);
        assert_eq!(taken("one", &[&two, &one]), 0, "names are compared exactly");
    }

    #[test]
    fn an_alternate_that_is_broken_or_of_another_certificate_is_none() {
        let ([one, two, _], [_, other, _]) = (chains(), chains());
        let mut choice = Choice::begin("Two", &one).unwrap();
        assert!(choice.consider("hello".to_owned()).is_err());
        assert!(choice.consider(other.clone()).unwrap_err().contains("another certificate"));
        let leaf = one.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
        let foreign = other.split_inclusive("-----END CERTIFICATE-----\n").nth(1).unwrap();
        assert!(choice.consider(format!("{leaf}{foreign}")).is_err(), "it does not hang together");
        assert!(!choice.is_made());
        choice.consider(two.clone()).unwrap();
        assert_eq!(choice.made(), two);
        assert!(Choice::begin("Two", "hello").is_none());
    }
}
