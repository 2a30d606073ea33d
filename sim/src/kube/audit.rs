//! Request counts by user, verb, resource, status and user agent: a summary of the audit log of a
//! real server.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::User;

/// Count of equal requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Audited {
    /// User of the requests.
    pub user: User,
    /// Verb as in audit logs: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`,
    /// `deletecollection`.
    pub verb: &'static str,
    /// Plural of the resource, with the subresource (`ingresses/status`); empty for a path that is
    /// no resource (`/readyz`).
    pub resource: String,
    /// HTTP status of the answer, even if a fault kept the answer from the client.
    pub code: u16,
    /// The client's `User-Agent`.
    pub user_agent: String,
    /// Number of requests. A watch is counted at its start.
    pub count: u64,
}

/// All counters.
#[derive(Debug, Default)]
pub(crate) struct Audit(Mutex<HashMap<Audited, u64>>);

impl Audit {
    /// Counts one request; `request.count` must be 0.
    pub(crate) fn count(&self, request: Audited) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(request).or_default() += 1;
    }

    /// Returns all counters, sorted.
    pub(crate) fn all(&self) -> Vec<Audited> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = counts.iter();
        let mut all: Vec<_> =
            counted.map(|(request, count)| Audited { count: *count, ..request.clone() }).collect();
        all.sort();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_are_alike_are_counted_together() {
        let request = |code| Audited {
            user: User::Operator,
            verb: "get",
            resource: "secrets".to_owned(),
            code,
            user_agent: "x".to_owned(),
            count: 0,
        };
        let audit = Audit::default();
        for code in [200, 404, 200] {
            audit.count(request(code));
        }
        let expected = [Audited { count: 2, ..request(200) }, Audited { count: 1, ..request(404) }];
        assert_eq!(audit.all(), expected);
    }
}
