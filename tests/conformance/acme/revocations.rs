//! Revocation by the adapter, against both CAs.

use std::rc::Rc;

use ingress_acme::acme::{Revoked, RevokedBy};
use ingress_acme::commands::cli::Reason;
use ingress_acme::pki::leaf;
use ingress_acme_actors::domain::certificate::KeyAlgorithm;
use ingress_acme_actors::ports::PortError;

use crate::adapter::{Memory, acme, count, issued, names, on_both};
use crate::test_ca::TestCa;

#[tokio::test]
async fn the_account_revokes_its_certificates_for_every_reason_and_once() {
    on_both(async |test_ca: &TestCa<'_>| {
        let store = Rc::new(Memory::default());
        let (acme, requests) = acme(test_ca, &store);
        test_ca.answer(acme.prepare().await.unwrap()).await;
        let reasons = [
            Reason::Unspecified,
            Reason::KeyCompromise,
            Reason::AffiliationChanged,
            Reason::Superseded,
            Reason::CessationOfOperation,
        ];
        let hosts = names(&["a.example.com"]);
        for reason in reasons {
            let (chain, _) = issued(&acme, &hosts, KeyAlgorithm::EcdsaP256).await;
            let leaf = leaf(&chain).unwrap();
            let revoked = async || acme.revoke(&leaf, reason.code(), &RevokedBy::Account).await;
            assert_eq!(revoked().await, Ok(Revoked::Now), "{reason:?}");
            assert_eq!(revoked().await, Ok(Revoked::Before), "{reason:?}");
        }
        assert_eq!(count(&requests, "revoke_cert"), reasons.len());
    })
    .await;
}

#[tokio::test]
async fn whoever_has_the_certificates_key_revokes_it_and_no_other() {
    on_both(async |test_ca: &TestCa<'_>| {
        let (ordering, _) = acme(test_ca, &Rc::new(Memory::default()));
        test_ca.answer(ordering.prepare().await.unwrap()).await;
        let hosts = names(&["a.example.com"]);
        // The simulated CA accepts only P-256 signatures.
        let all = [KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384, KeyAlgorithm::Rsa2048];
        let kinds = if test_ca.is_simulated() { &all[..1] } else { &all };
        let stranger = Rc::new(Memory::default());
        let (other, _) = acme(test_ca, &stranger);
        for kind in kinds {
            let (chain, key) = issued(&ordering, &hosts, *kind).await;
            let (_, wrong) = issued(&ordering, &hosts, KeyAlgorithm::EcdsaP256).await;
            let leaf = leaf(&chain).unwrap();
            let refused = other.revoke(&leaf, 1, &RevokedBy::Certificate(&wrong)).await;
            let Err(PortError::Permanent(failure)) = refused else { panic!("{refused:?}") };
            assert!(failure.detail.contains("unauthorized"), "{}", failure.detail);
            let by = RevokedBy::Certificate(&key);
            assert_eq!(other.revoke(&leaf, 1, &by).await, Ok(Revoked::Now), "{kind:?}");
            assert_eq!(other.revoke(&leaf, 1, &by).await, Ok(Revoked::Before), "{kind:?}");
        }
        assert!(stranger.0.borrow().is_none(), "no account is made for it");
        let (chain, _) = issued(&ordering, &hosts, KeyAlgorithm::EcdsaP256).await;
        let refused = other.revoke(&leaf(&chain).unwrap(), 0, &RevokedBy::Account).await;
        let Err(PortError::Permanent(failure)) = refused else { panic!("{refused:?}") };
        assert!(failure.detail.contains("--namespace"), "{}", failure.detail);
    })
    .await;
}
