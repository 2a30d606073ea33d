//! Times, lists and links as the pages show them.

use std::time::Duration;

use ingress_acme_actors::domain::ingress::IngressKey;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::domain::validity::expiries::Validity;
use url::form_urlencoded::Serializer;

/// Number of names shown per certificate.
const HOSTS: usize = 3;

/// Formats a relative time: `in 29 d`, `3 min ago`.
pub(super) fn when(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        return format!("in {}", span(at.since(now)));
    }
    format!("{} ago", span(now.since(at)))
}

fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Formats the first few names of a certificate in one line. `left_out` more are not in `hosts`.
pub(super) fn few(hosts: &[String], left_out: usize) -> String {
    let (shown, count) = (hosts.len().min(HOSTS), hosts.len() + left_out);
    match count - shown {
        0 if count == 0 => "no hosts left".to_owned(),
        0 => hosts.join(", "),
        more => format!("{} and {more} more", hosts[..shown].join(", ")),
    }
}

/// Cuts a text for a cell of a table.
pub(super) fn brief(text: &str) -> String {
    let mut brief: String = text.chars().take(limits::PAGE_DETAIL).collect();
    if brief.len() < text.len() {
        brief.push('…');
    }
    brief
}

/// Address of the page or the explanation of an Ingress, relative to all pages.
pub(super) fn link(page: &str, key: &IngressKey) -> String {
    let mut query = Serializer::for_suffix(format!("{page}?"), page.len() + 1);
    query.append_pair("namespace", &key.namespace).append_pair("name", &key.name);
    query.finish()
}

/// Class of the style for a word about a certificate.
pub(super) fn tone(label: &str) -> &'static str {
    match label {
        "valid" => "good",
        "failing" | "expired" => "bad",
        _ => "busy",
    }
}

/// Time that a certificate has left, as a bar whose first third is the time after its renewal is
/// due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bar {
    /// Length of the bar, in percent.
    pub(super) left: u64,
    /// Class of the style.
    pub(super) tone: &'static str,
}

impl Bar {
    /// Place of the mark where a renewal is due, in percent. A third of the life is left then, or
    /// half of a short one.
    pub(super) const DUE: u64 = 33;

    pub(super) fn of(validity: Validity, now: Timestamp) -> Self {
        let Validity { not_after, renewal } = validity;
        let (left, margin) = (not_after.since(now).as_secs(), not_after.since(renewal).as_secs());
        let tone = match () {
            () if now >= not_after => "bad",
            () if now >= renewal => "busy",
            () => "good",
        };
        let left = left.saturating_mul(Self::DUE).checked_div(margin).unwrap_or(100).min(100);
        Self { left, tone }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn times_and_lists_are_short() {
        assert_eq!(when(at(119), at(0)), "in 119 s");
        assert_eq!(when(at(0), at(120)), "2 min ago");
        assert_eq!(when(at(0), at(7_200)), "2 h ago");
        assert_eq!(when(at(172_800), at(0)), "in 2 d");
        let hosts = ["a", "b", "c", "d", "e"].map(str::to_owned);
        assert_eq!(few(&hosts, 0), "a, b, c and 2 more");
        assert_eq!(few(&hosts[..3], 0), "a, b, c");
        assert_eq!(few(&hosts[..3], 7), "a, b, c and 7 more");
        assert_eq!(few(&[], 0), "no hosts left");
        assert_eq!(
            brief(&"ä".repeat(limits::PAGE_DETAIL + 1)).chars().count(),
            limits::PAGE_DETAIL + 1
        );
    }

    #[test]
    fn a_link_is_a_query_whatever_the_name() {
        assert_eq!(
            link("ingress", &IngressKey::new("web", "a.b")),
            "ingress?namespace=web&name=a.b"
        );
        let odd = IngressKey::new("a&b", "\"><script>");
        assert_eq!(link("explain", &odd), "explain?namespace=a%26b&name=%22%3E%3Cscript%3E");
    }

    #[test]
    fn a_bar_is_full_after_the_issuance_a_third_when_due_and_empty_at_the_end() {
        let validity = Validity { not_after: at(90), renewal: at(60) };
        let bars = [0, 60, 75, 90, 200].map(|now| Bar::of(validity, at(now)));
        assert_eq!(bars.map(|bar| bar.left), [99, 33, 16, 0, 0]);
        assert_eq!(bars.map(|bar| bar.tone), ["good", "busy", "busy", "bad", "bad"]);
        let no_margin = Validity { not_after: at(90), renewal: at(90) };
        assert_eq!(Bar::of(no_margin, at(0)), Bar { left: 100, tone: "good" });
        let far = Validity { not_after: at(i64::MAX), renewal: at(1) };
        assert!(Bar::of(far, at(0)).left <= 100);
    }
}
