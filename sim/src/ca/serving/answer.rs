//! HTTP answers with the headers ACME requires (RFC 8555 §6.5, §7.1).

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::super::documents::Urls;
use super::super::problem::Problem;
use super::super::target::Target;
use crate::exchange::Response;

/// An answer not yet sent.
#[derive(Clone, Debug)]
pub(in crate::ca) struct Answer {
    pub(super) status: u16,
    content_type: &'static str,
    body: String,
    location: Option<String>,
    links: Vec<String>,
    retry_after: Option<String>,
}

impl Answer {
    pub(super) fn empty(status: u16) -> Self {
        let (content_type, body) = ("", String::new());
        let (location, links, retry_after) = (None, Vec::new(), None);
        Self { status, content_type, body, location, links, retry_after }
    }

    pub(super) fn json(status: u16, document: Value) -> Self {
        let body = document.to_string();
        drop(document);
        Self { body, content_type: "application/json", ..Self::empty(status) }
    }

    pub(super) fn text(text: &str) -> Self {
        Self { body: text.to_owned(), content_type: "text/plain", ..Self::empty(200) }
    }

    pub(super) fn chain(pem: String) -> Self {
        let content_type = "application/pem-certificate-chain";
        Self { body: pem, content_type, ..Self::empty(200) }
    }

    pub(super) fn problem(problem: &Problem) -> Self {
        let answer = Self::json(problem.status, problem.document());
        Self { content_type: "application/problem+json", ..answer }
    }

    /// Sets `Location`, the URL of the resource.
    pub(super) fn at(self, location: String) -> Self {
        Self { location: Some(location), ..self }
    }

    pub(super) fn link(mut self, url: &str, relation: &str) -> Self {
        self.links.push(format!("<{url}>;rel=\"{relation}\""));
        self
    }

    /// Sets `Retry-After` in seconds.
    pub(super) fn retry_after(self, seconds: Option<u64>) -> Self {
        Self { retry_after: seconds.map(|seconds| seconds.to_string()), ..self }
    }

    /// Sets `Retry-After` in seconds, rounded up, or as a date (RFC 9110 §10.2.3).
    pub(super) fn retry_at(self, at: Timestamp, now: Timestamp, as_date: bool) -> Self {
        let up = at + SignedDuration::from_millis(999);
        let text = if as_date {
            up.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
        } else {
            up.duration_since(now).as_secs().max(1).to_string()
        };
        Self { retry_after: Some(text), ..self }
    }

    pub(super) fn respond(
        self,
        nonce: Option<String>,
        urls: &Urls,
        target: Target<'_>,
    ) -> Response {
        let mut response = Response::new(self.status, self.body);
        let mut add = |name, value: Option<String>| {
            response.headers.extend(value.map(|value| (name, value)));
        };
        add("cache-control", Some("public, max-age=0, no-cache".to_owned()));
        add("replay-nonce", nonce);
        add("location", self.location);
        add("retry-after", self.retry_after);
        self.links.into_iter().for_each(|link| add("link", Some(link)));
        let index = format!("<{}>;rel=\"index\"", urls.directory_url());
        add("link", (target != Target::Directory).then_some(index));
        let content_type = self.content_type;
        add("content-type", (!content_type.is_empty()).then(|| content_type.to_owned()));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_rounded_up_in_both_forms() {
        let now: Timestamp = "2026-11-24T09:00:00Z".parse().unwrap();
        let at = now + SignedDuration::from_millis(36_001);
        let answer = Answer::empty(429).retry_at(at, now, false);
        assert_eq!(answer.retry_after.as_deref(), Some("37"));
        let answer = Answer::empty(429).retry_at(at, now, true);
        assert_eq!(answer.retry_after.as_deref(), Some("Tue, 24 Nov 2026 09:00:37 GMT"));
    }
}
