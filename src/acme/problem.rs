//! Converts ACME problem documents (RFC 8555 §6.7) to failures and port errors: the CA's own text,
//! followed by advice for the user.

use std::fmt::Write;
use std::time::Duration;

use http::StatusCode;
use instant_acme::{Error, Problem};

use ingress_acme_actors::domain::cut::CutText;
use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::ports::PortError;

use super::call::Call;
use super::rate_limit::rate_limit;

/// Last segment of a problem type: `urn:ietf:params:acme:error:<this>`.
pub(super) fn kind(problem: &Problem) -> &str {
    short(problem.r#type.as_deref())
}

fn short(urn: Option<&str>) -> &str {
    urn.and_then(|urn| urn.rsplit(':').next()).unwrap_or_default()
}

/// HTTP status of a problem: its own `status` field, else that of the response.
fn status_of(problem: &Problem) -> Option<StatusCode> {
    problem.status.and_then(|code| StatusCode::from_u16(code).ok()).or_else(Call::last_status)
}

/// Failure class of a problem in an authorization or order. The first subproblem decides for a
/// compound problem (RFC 8555 §6.7.1).
pub(super) fn class(problem: &Problem) -> FailureClass {
    let of_kind = |kind: &str| match kind {
        "unauthorized" | "connection" | "dns" | "tls" | "incorrectResponse" => {
            Some(FailureClass::Authorization)
        }
        "caa" => Some(FailureClass::Caa),
        "rateLimited" => Some(FailureClass::RateLimited),
        "serverInternal" | "badNonce" | "orderNotReady" => Some(FailureClass::AcmeServer),
        "rejectedIdentifier" | "unsupportedIdentifier" | "invalidProfile" => {
            Some(FailureClass::Policy)
        }
        "malformed"
        | "badCSR"
        | "accountDoesNotExist"
        | "externalAccountRequired"
        | "userActionRequired"
        | "badPublicKey"
        | "badSignatureAlgorithm"
        | "invalidContact"
        | "unsupportedContact" => Some(FailureClass::Rejected),
        _ => None,
    };
    if is_pausing(problem) {
        return FailureClass::Policy;
    }
    let first = problem.subproblems.first().map(|first| short(first.r#type.as_deref()));
    let known = match kind(problem) {
        "compound" => first.and_then(of_kind),
        kind => of_kind(kind),
    };
    known.unwrap_or_else(|| match status_of(problem) {
        Some(StatusCode::TOO_MANY_REQUESTS) => FailureClass::RateLimited,
        Some(status) if status.is_server_error() => FailureClass::AcmeServer,
        _ => FailureClass::Rejected,
    })
}

/// Whether the CA has paused the account's names after months of failures. Boulder reports this as
/// a rate limit without an end (<https://letsencrypt.org/docs/rate-limits/>, "Consecutive
/// Authorization Failures").
fn is_pausing(problem: &Problem) -> bool {
    let detail = problem.detail.as_deref().unwrap_or_default();
    kind(problem) == "rateLimited" && detail.contains("prevented from requesting certificates")
}

/// The CA's text, including the text of each subproblem; at most [`limits::QUOTED_MAX`] bytes. A
/// problem document may have a megabyte.
pub(super) fn words(problem: &Problem) -> String {
    let mut text = CutText::new(limits::QUOTED_MAX);
    text.push(&said(problem.detail.as_deref(), problem.r#type.as_deref()));
    for subproblem in &problem.subproblems {
        let about = subproblem.identifier.as_ref();
        let about = about.map_or_else(String::new, |name| format!("{}: ", name.authorized(false)));
        let said = said(subproblem.detail.as_deref(), subproblem.r#type.as_deref());
        let _ = write!(text, "; {about}{said}"); // never fails
    }
    text.finish()
}

fn said(detail: Option<&str>, urn: Option<&str>) -> String {
    match (detail.map(|detail| detail.trim().trim_end_matches('.')), short(urn)) {
        (Some(detail), "") if !detail.is_empty() => detail.to_owned(),
        (Some(detail), kind) if !detail.is_empty() => format!("{detail} ({kind})"),
        (_, "") => "no reason given".to_owned(),
        (_, kind) => kind.to_owned(),
    }
}

/// Words of a CA about a host that some of its networks reach and others do not (MPIC, multi-
/// perspective issuance corroboration: ballot SC-067).
const SECONDARY: &str = "secondary validation";

fn is_secondary(text: &str) -> bool {
    text.contains(SECONDARY)
}

/// Whether a nameserver failed, or the answers are no valid ones for a resolver that verifies
/// DNSSEC, as those of CAs do (ballot SC-085v2). Boulder says the first of both, and the second
/// where its resolver knows the reason (RFC 8914).
fn is_servfail(text: &str) -> bool {
    text.contains("SERVFAIL") || text.contains("DNSSEC")
}

/// Texts of all subproblems, then that of the problem.
fn texts_of(problem: &Problem) -> impl Iterator<Item = &str> {
    let texts = problem.subproblems.iter().map(|one| one.detail.as_deref());
    texts.chain([problem.detail.as_deref()]).flatten()
}

/// Advice for the user about a problem of this class.
pub(super) fn advice(problem: &Problem, class: FailureClass) -> &'static str {
    match (kind(problem), class) {
        (_, FailureClass::Authorization) if texts_of(problem).any(is_secondary) => {
            "the CA asks from networks in several parts of the world (MPIC), and some of them get no answer: a \
             firewall, geo-blocking or a nameserver must let port 80 of the host through from everywhere"
        }
        ("dns", _) if texts_of(problem).any(is_servfail) => {
            "the nameservers of the domain must answer the CA, and its DNSSEC signatures must be right: CAs verify \
             them, while the DNS server of a cluster may resolve the name all the same (compare delv HOST with dig HOST)"
        }
        ("dns", _) => "check the DNS record of the host as the public Internet sees it",
        (_, FailureClass::Authorization) => {
            "port 80 of the host must be reachable from the Internet, over IPv6 too where it has an AAAA record, \
             and lead to this ingress controller"
        }
        (_, FailureClass::Caa) => {
            "add the CA to the CAA record of the domain, or remove the record, then annotate the Ingress with \
             ingress-acme.dev/renew; without that it is tried again in a day"
        }
        ("rateLimited", FailureClass::Policy) => {
            "visit the page that the CA names, then annotate the Ingress with ingress-acme.dev/renew"
        }
        (_, FailureClass::RateLimited) => "wait; it is tried again when the CA allows it",
        (kind, class) => of_flags(kind).unwrap_or(match class {
            FailureClass::AcmeServer => "it is tried again",
            _ => {
                "correct the Ingress or the operator's flags; a change of the Ingress tries again at once"
            }
        }),
    }
}

/// Advice about a refusal that a flag or an annotation mends.
fn of_flags(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "externalAccountRequired" => "name a Secret with the external account in --eab-secret",
        "userActionRequired" => {
            "agree to the CA's new terms as its answer says, then annotate the Ingress with \
             ingress-acme.dev/renew"
        }
        "invalidProfile" => "correct ingress-acme.dev/profile or --profile",
        "badPublicKey" => {
            "choose another key in --key-algorithm or ingress-acme.dev/key-algorithm, such as rsa-2048"
        }
        "badCSR" => {
            "if the CA requires a common name, set --csr-common-name; if it refuses the key, --key-algorithm"
        }
        "invalidContact" | "unsupportedContact" => {
            "give an address that the CA accepts in --contact, such as mailto:ops@example.com"
        }
        "rejectedIdentifier" | "unsupportedIdentifier" => {
            "remove the host from the Ingress, or use a CA that issues for it"
        }
        _ => return None,
    })
}

/// Converts a problem to a failure; `doing` introduces the text.
pub(super) fn failure(doing: &str, problem: &Problem, retry_after: Option<Duration>) -> Failure {
    let class = class(problem);
    let detail = format!("{doing}: {}; {}", words(problem), advice(problem, class));
    let blamed = problem.subproblems.iter().filter_map(|subproblem| subproblem.identifier.as_ref());
    let blamed = blamed
        .filter_map(|name| DnsName::parse_certified(&name.authorized(false).to_string()).ok());
    Failure { retry_after, ..Failure::new(class, detail).about(blamed) }
}

/// Converts an error of instant-acme to a port error. Must run inside the failed [`Call`].
pub(super) fn port_error(doing: &str, error: &Error) -> PortError {
    match error {
        Error::Api(problem) => of_problem(doing, problem),
        Error::Crypto | Error::KeyRejected => PortError::permanent(
            FailureClass::Rejected,
            format!(
                "{doing}: the account key cannot be used ({error}); it must be ECDSA P-256 in PKCS #8"
            ),
        ),
        Error::Http(_) | Error::InvalidUri(_) => PortError::permanent(
            FailureClass::Rejected,
            format!("{doing}: the CA returned an unusable URL ({error}); check --acme-directory"),
        ),
        Error::Unsupported(what) => PortError::permanent(
            FailureClass::Rejected,
            format!("{doing}: the CA does not support {what}"),
        ),
        _ => of_answer(doing, error),
    }
}

/// Whether a refusal with this status says nothing about the order, whose CA has named the object
/// itself. The servers of a CA lag behind each other, so that an object of a moment ago is not
/// found (Boulder issue 6549), and some CAs still issue when they name the certificate's URL. A
/// certificate that is given up would be ordered again.
fn order_outlives(status: Option<StatusCode>) -> bool {
    match (Call::last_endpoint(), status) {
        (_, None | Some(StatusCode::TOO_MANY_REQUESTS)) => false,
        (Some("certificate"), Some(status)) => status.is_client_error(),
        (Some("authorization" | "challenge" | "finalize"), Some(status)) => {
            status == StatusCode::NOT_FOUND
        }
        _ => false,
    }
}

fn of_problem(doing: &str, problem: &Problem) -> PortError {
    let wait = Call::last_retry_after();
    if order_outlives(Call::last_status()) {
        let detail = format!("{doing}: {}; it is tried again", words(problem));
        return PortError::transient_until(detail, wait);
    }
    let failure = failure(doing, problem, wait);
    let status = status_of(problem);
    // A 429 of type `rateLimited` is permanent and closes its scope. A 503, the limit of a load
    // balancer, is transient.
    let limited = status == Some(StatusCode::TOO_MANY_REQUESTS);
    let long = wait.is_some_and(|wait| wait > limits::POLL_MAX);
    let transient = match status {
        _ if failure.class == FailureClass::AcmeServer => true,
        Some(status) if status.is_server_error() => true,
        _ => limited && kind(problem) != "rateLimited" && !long,
    };
    if transient {
        return PortError::transient_until(failure.detail, wait);
    }
    let limited = failure.class == FailureClass::RateLimited;
    let limit = limited.then(|| rate_limit(&words(problem), &Call::ordered_names()));
    PortError::Permanent(Failure { limit, ..failure })
}

/// Converts an error without a problem document: another response, or none.
fn of_answer(doing: &str, error: &Error) -> PortError {
    let (wait, status) = (Call::last_retry_after(), Call::last_status());
    let refused = status.filter(|status| status.is_client_error() || status.is_server_error());
    let Some(status) = refused else {
        let detail = match status {
            Some(_) => format!("{doing}: the CA's answer cannot be used: {error}"),
            None => format!("{doing}: {error}"),
        };
        return PortError::transient_until(detail, wait);
    };
    let detail = format!("{doing}: the CA answers HTTP {} and does not say why", status.as_u16());
    let long = wait.is_some_and(|wait| wait > limits::POLL_MAX);
    let class = match status {
        StatusCode::TOO_MANY_REQUESTS if long => FailureClass::RateLimited,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            return PortError::transient_until(detail, wait);
        }
        status if status.is_server_error() || order_outlives(Some(status)) => {
            return PortError::transient_until(detail, wait);
        }
        StatusCode::NOT_FOUND => FailureClass::AcmeServer,
        _ => FailureClass::Rejected,
    };
    let detail = format!("{detail}; check --acme-directory");
    PortError::Permanent(Failure { retry_after: wait, ..Failure::new(class, detail) })
}

#[cfg(test)]
mod tests;
