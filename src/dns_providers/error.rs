//! Errors of DNS providers, in classes that decide what follows.

use std::time::Duration;

use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::dns::txt::TxtRecord;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::PortError;
use ingress_acme_dns::dns_update;

use super::credentials::Redaction;

/// Error of a provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ProviderError {
    pub(super) kind: Kind,
    /// Words of the provider, which may contain credentials.
    pub(super) words: String,
    /// Retry-After of the answer, if there was one.
    pub(super) retry_after: Option<Duration>,
}

/// What an error means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The credentials are refused, or have no right to the zone.
    Credentials,
    /// The account has no such zone.
    Zone,
    /// The provider refuses the request, and would refuse a retry.
    Request,
    /// The same request may succeed soon: a timeout, HTTP 5xx.
    Passing,
    /// The provider limits the requests of the account.
    Busy,
}

impl ProviderError {
    pub(super) fn new(kind: Kind, words: impl Into<String>) -> Self {
        Self { kind, words: words.into(), retry_after: None }
    }

    /// The error of an answer with this status of HTTP.
    pub(super) fn of_status(status: u16, words: impl Into<String>) -> Self {
        Self::new(Kind::of_status(status), words)
    }

    /// The error for the actors: no credential is in its text, and every text is bounded.
    pub(super) fn into_port_error(
        self,
        (doing, provider): (&str, &str),
        record: &TxtRecord,
        redaction: &Redaction,
    ) -> PortError {
        let words = cut(redaction.redact(&self.words), limits::QUOTED_MAX);
        let TxtRecord { account, zone, name, .. } = record;
        let advice = match self.kind {
            Kind::Credentials => format!(
                "; check the keys of the Secret {account} in the operator's namespace, and whether they may edit zone {zone}"
            ),
            Kind::Zone => format!(
                "; check that zone {zone} is at {provider}, and that the keys of the Secret {account} may edit it"
            ),
            Kind::Request => format!("; check the Secret {account} in the operator's namespace"),
            Kind::Passing | Kind::Busy => String::new(),
        };
        let detail = format!("{provider} could not {doing} the TXT record {name}: {words}{advice}");
        match self.kind {
            Kind::Passing | Kind::Busy => PortError::transient_until(detail, self.retry_after),
            _ => PortError::permanent(FailureClass::Dns, detail),
        }
    }
}

impl Kind {
    fn of_status(status: u16) -> Self {
        match status {
            401 | 403 | 407 => Self::Credentials,
            404 => Self::Zone,
            429 => Self::Busy,
            408 | 425 | 500.. => Self::Passing,
            _ => Self::Request,
        }
    }
}

impl From<dns_update::Error> for ProviderError {
    fn from(error: dns_update::Error) -> Self {
        use dns_update::Error;
        let kind = match &error {
            Error::Unauthorized => Kind::Credentials,
            Error::NotFound => Kind::Zone,
            Error::Api(words) => of_words(words),
            Error::Protocol(_) | Error::Response(_) | Error::Serialize(_) => Kind::Passing,
            _ => Kind::Request,
        };
        Self::new(kind, error.to_string())
    }
}

/// Class of an error of which `dns-update` gives the text alone: `HTTP 403: …`, `BadRequest …`, or
/// words of its own.
fn of_words(words: &str) -> Kind {
    let after =
        |mark: &str| words.split_once(mark).and_then(|(_, rest)| rest.get(..3)?.parse().ok());
    let status = words.strip_prefix("HTTP ").and_then(|rest| rest.get(..3)?.parse().ok());
    if let Some(status) = status.or_else(|| after("API error: ")) {
        return Kind::of_status(status);
    }
    let lower = words.to_ascii_lowercase();
    let has = |some: &[&str]| some.iter().any(|part| lower.contains(part));
    let broken =
        ["failed to send request", "failed to read response", "token exchange failed: error"];
    if has(&broken) {
        Kind::Passing
    } else if has(&["authenticat", "unauthorized", "forbidden", "access token", "login failed"]) {
        Kind::Credentials
    } else if has(&["zone", "domain"]) && has(&["no ", "not found", "unknown", "not exist"]) {
        Kind::Zone
    } else {
        Kind::Request
    }
}

#[cfg(test)]
mod tests {
    use dns_update::Error;

    use super::*;

    #[test]
    fn each_error_of_the_library_has_its_class() {
        let api = |words: &str| Error::Api(words.to_owned());
        let cases = [
            (Error::Unauthorized, Kind::Credentials),
            (api("HTTP 403: {\"message\": \"no access\"}"), Kind::Credentials),
            (api("HTTP 429: slow down"), Kind::Busy),
            (api("HTTP 503"), Kind::Passing),
            (api("Route53 API error: 403 Forbidden - no access"), Kind::Credentials),
            (api("HTTP 409: exists"), Kind::Request),
            (api("BadRequest {\"message\": \"name is invalid\"}"), Kind::Request),
            (api("Failed to send request to https://dns.example/: timed out"), Kind::Passing),
            (api("No Cloudflare zone found for example.org"), Kind::Zone),
            (api("Linode domain example.org not found"), Kind::Zone),
            (api("Authentication failed"), Kind::Credentials),
            (Error::NotFound, Kind::Zone),
            (Error::BadRequest, Kind::Request),
            (Error::Serialize("not JSON".to_owned()), Kind::Passing),
        ];
        for (error, kind) in cases {
            let text = error.to_string();
            assert_eq!(ProviderError::from(error).kind, kind, "{text}");
        }
    }
}
