//! The HTTP header `Retry-After` (RFC 9110 §10.2.3): seconds or a date.

use std::time::Duration;

use http::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use ingress_acme_actors::domain;
use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// Returns the `Retry-After` of a response, counted from the time of sending. A date is relative to
/// the response's own `Date`, so that clock skew does no harm; without `Date` (required by RFC 9110
/// §6.6.1) the date is ignored.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let (until, sent) = (date(headers, &RETRY_AFTER)?, date(headers, &DATE)?);
    Some(Duration::try_from(until.duration_since(sent)).unwrap_or_default())
}

/// Time at which a server has sent its answer (`Date`), by its own clock.
pub fn sent_at(headers: &HeaderMap) -> Option<domain::time::Timestamp> {
    let sent = date(headers, &DATE)?;
    Some(domain::time::Timestamp::from_millis(sent.as_millisecond()))
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    let text = headers.get(name)?.to_str().ok()?;
    rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(after: &str, sent: Option<&str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, after.parse().unwrap());
        if let Some(sent) = sent {
            headers.insert(DATE, sent.parse().unwrap());
        }
        retry_after(&headers)
    }

    #[test]
    fn seconds_are_read() {
        assert_eq!(wait("120", None), Some(Duration::from_mins(2)));
        assert_eq!(wait(" 0 ", None), Some(Duration::ZERO));
        assert_eq!(wait("soon", None), None);
        assert_eq!(wait("-1", None), None);
    }

    #[test]
    fn a_date_counts_from_the_date_of_the_answer() {
        let sent = Some("Tue, 24 Nov 2026 08:00:00 GMT");
        assert_eq!(wait("Tue, 24 Nov 2026 09:00:30 GMT", sent), Some(Duration::from_secs(3630)));
        assert_eq!(wait("Tue, 24 Nov 2026 07:00:00 GMT", sent), Some(Duration::ZERO));
        assert_eq!(wait("Tue, 24 Nov 2026 09:00:30 GMT", None), None);
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read_or_passed_over(after in "[ -~]{0,60}", sent in "[ -~]{0,60}") {
            let named = wait(&after, Some(&sent));
            proptest::prop_assert!(named.is_none() || !after.trim().is_empty());
        }
    }
}
