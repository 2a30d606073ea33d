//! Challenges of an authorization (RFC 8555 §7.1.4, §7.1.5): which of them a method answers, and
//! what the answer in DNS is.

use instant_acme::{
    AuthorizationHandle, AuthorizationState, AuthorizationStatus, Challenge, ChallengeStatus,
    ChallengeType, Identifier,
};

use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::issuance::{AuthorizationView, Method, Offers};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::ports::PortError;

/// Type of the challenge of a method.
pub(super) fn kind(method: Method) -> ChallengeType {
    match method {
        Method::Http01 => ChallengeType::Http01,
        Method::Dns01 => ChallengeType::Dns01,
        Method::DnsPersist01 => ChallengeType::Unknown(method.as_str().to_owned()),
    }
}

/// Challenges that a method of ours answers. The others of an authorization were never accepted.
fn answerable(authorization: &AuthorizationState) -> impl Iterator<Item = &Challenge> {
    let methods = [Method::Http01, Method::Dns01, Method::DnsPersist01].map(kind);
    authorization.challenges.iter().filter(move |challenge| methods.contains(&challenge.r#type))
}

/// The name to validate. That of a wildcard is written without its label (RFC 8555 §7.1.4).
pub(super) fn name(authorization: &AuthorizationState) -> Option<DnsName> {
    DnsName::parse_certified(&shown_name(authorization)).ok()
}

/// The same as the CA writes it, whatever it is.
pub(super) fn shown_name(authorization: &AuthorizationState) -> String {
    let of = authorization.identifier();
    match of.identifier {
        Identifier::Dns(name) if name.starts_with("*.") => name.clone(),
        _ => of.to_string(),
    }
}

/// A pending authorization, with what the CA offers in DNS. `issuers` are the `issuer-domain-names`
/// of its DNS-PERSIST-01 challenge.
pub(super) fn waiting<'a>(
    authorization: &'a mut AuthorizationHandle<'a>,
    issuers: Option<Vec<String>>,
) -> Option<AuthorizationView> {
    let (name, accepted) = (name(authorization)?, begun(authorization).is_some());
    let dns_01 = authorization.challenge(kind(Method::Dns01));
    let dns_01 = dns_01.filter(|challenge| !challenge.token.is_empty());
    let dns_01 = dns_01.map(|challenge| challenge.key_authorization().dns_value());
    let offers = Offers { dns_01, dns_persist_01: issuers };
    Some(AuthorizationView { name, accepted, offers })
}

/// The challenge that was accepted, if any.
pub(super) fn begun(authorization: &AuthorizationState) -> Option<&Challenge> {
    answerable(authorization).find(|challenge| challenge.status != ChallengeStatus::Pending)
}

/// Whether the CA could not validate an authorization, and leaves it pending all the same. The
/// status of the challenge is final (RFC 8555 §7.1.6); another challenge of the authorization may
/// be in validation.
pub(super) fn has_failed(authorization: &AuthorizationState) -> bool {
    let has = |statuses: &[ChallengeStatus]| {
        answerable(authorization).any(|challenge| statuses.contains(&challenge.status))
    };
    authorization.status == AuthorizationStatus::Pending
        && has(&[ChallengeStatus::Invalid])
        && !has(&[ChallengeStatus::Processing, ChallengeStatus::Valid])
}

/// Error of a method whose challenge the CA does not offer for the name.
pub(super) fn not_offered(authorization: &AuthorizationState, method: Method) -> PortError {
    let offered = authorization.challenges.iter().map(|challenge| shown_type(&challenge.r#type));
    let offered = cut(offered.collect::<Vec<_>>().join(", "), limits::QUOTED_MAX);
    let name = cut(shown_name(authorization), limits::QUOTED_MAX);
    let (method, or) = (method.as_str(), if offered.is_empty() { "nothing" } else { &offered });
    PortError::permanent(
        FailureClass::Rejected,
        format!("the CA offers no {method} challenge for {name}, only {or}; use another CA"),
    )
}

fn shown_type(kind: &ChallengeType) -> &str {
    match kind {
        ChallengeType::Http01 => Method::Http01.as_str(),
        ChallengeType::Dns01 => Method::Dns01.as_str(),
        ChallengeType::TlsAlpn01 => "tls-alpn-01",
        ChallengeType::DeviceAttest01 => "device-attest-01",
        ChallengeType::Unknown(kind) => kind,
        _ => "another",
    }
}
