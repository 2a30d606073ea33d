//! Checks that a chain is consistent (RFC 8555 §9.1: each certificate certifies the one before).

use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::limits;
use rustls::crypto::aws_lc_rs::default_provider;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::Oid;

/// Checks that each certificate names the next one as its issuer and carries its signature. Trust
/// in the last certificate is not checked: the CA was reached over TLS, and clients have their own
/// roots.
pub(super) fn check(chain: &[X509Certificate<'_>]) -> Result<(), String> {
    for (index, pair) in chain.windows(2).enumerate() {
        let [certificate, issuer] = pair else { continue };
        let number = index + 1;
        if !is_named(issuer, certificate) {
            let [by, next] = [certificate.issuer(), issuer.subject()]
                .map(|name| cut(name.to_string(), limits::CERTIFICATE_TEXT_MAX));
            return Err(format!(
                "certificate {number} was issued by {by}, but the next one is {next}"
            ));
        }
        if !is_signed_by(certificate, issuer) {
            let next = number + 1;
            return Err(format!(
                "certificate {number} does not carry a signature of certificate {next}"
            ));
        }
    }
    Ok(())
}

/// Returns the indexes of a chain from its leaf upwards: the only certificate that signs no other
/// one, then its issuer, and so on. `None` if each certificate names the next one as its issuer, or
/// the chain has no such leaf. Signatures of a chain in order are left to [`check`].
pub(super) fn order(chain: &[X509Certificate<'_>]) -> Option<Vec<usize>> {
    if chain.windows(2).all(|pair| matches!(pair, [one, next] if is_named(next, one))) {
        return None;
    }
    let signs = |issuer: usize, other: usize| {
        let (issuer, certificate) = (chain.get(issuer)?, chain.get(other)?);
        (is_named(issuer, certificate) && is_signed_by(certificate, issuer)).then_some(())
    };
    let is_first = |one: &usize| {
        let raw =
            |index: usize| chain.get(index).map(|certificate| certificate.tbs_certificate.as_ref());
        (0..*one).all(|before| raw(before) != raw(*one))
    };
    let all = || (0..chain.len()).filter(is_first);
    let signs_none = |one: &usize| all().all(|other| other == *one || signs(*one, other).is_none());
    let signed = |one: &usize| all().any(|other| other != *one && signs(other, *one).is_some());
    let leaves: Vec<usize> = all().filter(signs_none).filter(signed).collect();
    let [leaf] = leaves[..] else { return None };
    let mut order = vec![leaf];
    while let Some(next) = order
        .last()
        .and_then(|last| all().find(|one| !order.contains(one) && signs(*one, *last).is_some()))
    {
        order.push(next);
    }
    Some(order)
}

/// Whether `certificate` names `issuer` as its issuer.
fn is_named(issuer: &X509Certificate<'_>, certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == issuer.subject().as_raw()
}

/// Whether `issuer` signed `certificate`. Tries every algorithm that our TLS clients accept and
/// that has the OIDs of this pair.
fn is_signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let key = issuer.public_key();
    default_provider().signature_verification_algorithms.all.iter().any(|algorithm| {
        begins_with(&algorithm.signature_alg_id(), &certificate.signature_algorithm.algorithm)
            && begins_with(&algorithm.public_key_alg_id(), &key.algorithm.algorithm)
            && algorithm
                .verify_signature(
                    &key.subject_public_key.data,
                    certificate.tbs_certificate.as_ref(),
                    &certificate.signature_value.data,
                )
                .is_ok()
    })
}

/// Whether `identifier` begins with `oid`. `identifier` is the content of an `AlgorithmIdentifier`:
/// the OID with tag and length, then parameters.
fn begins_with(identifier: &[u8], oid: &Oid<'_>) -> bool {
    let oid = oid.as_bytes();
    matches!(identifier, [6, length, rest @ ..]
        if usize::from(*length) == oid.len() && rest.starts_with(oid))
}
