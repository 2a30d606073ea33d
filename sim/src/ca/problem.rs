//! Problem documents (RFC 7807, RFC 8555 §6.7) with Boulder's wording, because clients read the
//! texts.

use jiff::Timestamp;
use serde_json::{Value, json};

/// Reason of a refused request or a failed validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Last part of the type: `urn:ietf:params:acme:error:<this>`.
    pub(super) kind: &'static str,
    /// HTTP status of the answer.
    pub(super) status: u16,
    /// Text for people, and for clients without a better source.
    pub(super) detail: String,
    /// Problem of each name (RFC 8555 §6.7.1).
    pub(super) about: Vec<(String, Problem)>,
    /// Time at which the request may be retried.
    pub(super) retry_at: Option<Timestamp>,
    /// Account that already has the requested key (RFC 8555 §7.3.5).
    pub(super) existing: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: u16, kind: &'static str, detail: impl Into<String>) -> Self {
        let (detail, about) = (detail.into(), Vec::new());
        Self { kind, status, detail, about, retry_at: None, existing: None }
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(400, "malformed", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "malformed", detail)
    }

    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(403, "unauthorized", detail)
    }

    pub(super) fn bad_csr(detail: impl Into<String>) -> Self {
        Self::new(400, "badCSR", format!("Error finalizing order :: {}", detail.into()))
    }

    /// Rate limit that ends at `retry_at`.
    pub(super) fn rate_limited(detail: impl Into<String>, retry_at: Option<Timestamp>) -> Self {
        Self { retry_at, ..Self::new(429, "rateLimited", detail) }
    }

    /// Load balancer limit: 503 instead of 429.
    pub(super) fn busy(retry_at: Timestamp) -> Self {
        let busy = Self::new(503, "rateLimited", "Service busy; retry later.");
        Self { retry_at: Some(retry_at), ..busy }
    }

    /// Combines the problems of names. A single problem is prefixed with `what`; of several, the
    /// text quotes the first, and each becomes a subproblem.
    pub(super) fn of_names(what: &str, mut names: Vec<(String, Problem)>) -> Option<Self> {
        let (_, first) = names.first()?;
        let (kind, status, first) = (first.kind, first.status, first.detail.clone());
        let more = names.len() - 1;
        if more == 0 {
            names.clear();
            return Some(Self::new(status, kind, format!("{what} :: {first}")));
        }
        let detail = format!(
            "{what} :: {first} (and {more} more problems. Refer to sub-problems for more information.)"
        );
        Some(Self { about: names, ..Self::new(status, kind, detail) })
    }

    /// Returns the problem document.
    pub(super) fn document(&self) -> Value {
        let kind = format!("urn:ietf:params:acme:error:{}", self.kind);
        let mut document = json!({ "type": kind, "detail": self.detail, "status": self.status });
        if !self.about.is_empty() {
            let about = self.about.iter().map(|(name, problem)| {
                let mut document = problem.document();
                document["identifier"] = json!({ "type": "dns", "value": name });
                document
            });
            document["subproblems"] = about.collect();
        }
        if self.kind == "badSignatureAlgorithm" {
            document["algorithms"] = json!(["ES256"]);
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_name_is_reported_alone_and_several_each_in_a_subproblem() {
        let bad = |name: &str| (name.to_owned(), Problem::malformed(format!("{name} is bad")));
        let one = Problem::of_names("Invalid", vec![bad("a")]).unwrap();
        assert_eq!((one.detail.as_str(), one.about.len()), ("Invalid :: a is bad", 0));
        let two = Problem::of_names("Invalid", vec![bad("a"), bad("b")]).unwrap().document();
        assert_eq!(two["subproblems"][1]["identifier"]["value"], "b");
        assert!(two["detail"].as_str().unwrap().contains("a is bad (and 1 more problems"));
        assert_eq!(Problem::of_names("Invalid", Vec::new()), None);
    }
}
