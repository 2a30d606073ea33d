//! The status page. The page shows text written by tenants and CAs. Therefore the template escapes
//! all text, and the headers keep a browser from running or loading anything.

use std::time::Duration;

use askama::Template;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::reporting::metrics::Totals;
use ingress_acme_actors::reporting::reporter::Overview;

/// Number of names shown per certificate.
const HOSTS: usize = 3;
/// `Content-Security-Policy` of the page: a browser may only show the page with its inline style.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                                 frame-ancestors 'none'";

/// Content of the page.
#[derive(Template)]
#[template(path = "status.html")]
pub(super) struct Page<'a> {
    /// Version of this release.
    pub(super) version: &'static str,
    /// The ACME directory in use.
    pub(super) directory: &'a str,
    /// State known to the leader; `None` on a standby.
    pub(super) overview: Option<&'a Overview>,
    /// Counters.
    pub(super) totals: Totals,
}

impl Page<'_> {
    fn role(&self) -> &'static str {
        if self.overview.is_some() { "leader" } else { "standby" }
    }

    /// Certificates whose dates are known; a standby knows none.
    fn known(&self) -> usize {
        self.overview.map_or(0, |overview| overview.known)
    }

    /// A time as seen from the moment of the overview.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "a template passes fields so")]
    fn when(&self, at: &Timestamp) -> String {
        match self.overview {
            Some(overview) => when(*at, overview.now),
            None => at.to_string(),
        }
    }

    #[expect(clippy::ref_option, reason = "a template passes fields so")]
    fn when_or_none(&self, at: &Option<Timestamp>) -> String {
        at.as_ref().map_or_else(|| "none".to_owned(), |at| self.when(at))
    }

    fn fail_count(&self) -> usize {
        self.overview.map_or(0, |overview| overview.failures.values().sum())
    }

    /// Number of certificates in progress. The totals may be slightly older than the rows, so the
    /// larger number is shown.
    fn work_count(&self) -> usize {
        let rows = self.overview.map_or(0, |overview| overview.working.len());
        rows.max(self.totals.queued + self.totals.running + self.totals.parked)
    }
}

/// Formats a relative time: `in 29 d`, `3 min ago`.
fn when(at: Timestamp, now: Timestamp) -> String {
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

/// Formats the first few names of a certificate in one line.
fn few(hosts: &[String]) -> String {
    match hosts.len() {
        0 => "no hosts left".to_owned(),
        count if count > HOSTS => {
            format!("{} and {} more", hosts[..HOSTS].join(", "), count - HOSTS)
        }
        _ => hosts.join(", "),
    }
}

fn brief(text: &str) -> String {
    let mut brief: String = text.chars().take(limits::PAGE_DETAIL).collect();
    if brief.len() < text.len() {
        brief.push('…');
    }
    brief
}

#[cfg(test)]
mod tests {
    use ingress_acme_actors::domain::ingress::{IngressKey, SecretKey};
    use ingress_acme_actors::domain::status::certificate_status::CertificateStatus;
    use ingress_acme_actors::domain::validity::expiries::Validity;
    use ingress_acme_actors::reporting::reporter::{
        CertificateInProgress, ClosedDump, ExpiringCertificate, FailingCertificate, FailureDump,
    };

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn overview(host: &str, detail: &str) -> Overview {
        let (secret, hosts) = (SecretKey::new("web", "shop"), vec![host.to_owned()]);
        let failure = FailureDump {
            class: "authorization",
            detail: detail.to_owned(),
            attempts: 2,
            since: at(0),
            retry_at: at(1_600),
        };
        let validity = Validity { not_after: at(30 * 86_400 + 1_000), renewal: at(500) };
        let status = CertificateStatus::Renewing;
        Overview {
            known: 1,
            now: at(1_000),
            notices: vec!["New orders are stopped (<b>)".to_owned()],
            closed: vec![ClosedDump {
                scope: "this account".into(),
                opens: at(1_036),
                waiting: 1_700,
                last: at(62_200),
                detail: "too many new orders (300) from this account".into(),
            }],
            failures: [("authorization", 1)].into(),
            failing: vec![FailingCertificate {
                secret: secret.clone(),
                ingresses: vec![IngressKey::new("web", "shop")],
                hosts: hosts.clone(),
                failure,
                not_after: None,
            }],
            working: vec![CertificateInProgress {
                secret: secret.clone(),
                hosts: hosts.clone(),
                phase: "running",
                issuance: "ordered",
                since: at(900),
            }],
            ending: vec![ExpiringCertificate { secret, hosts, validity, status }],
        }
    }

    fn page(overview: Option<&Overview>) -> String {
        let directory = "https://ca.example/directory";
        let totals = Totals { managed: 7, issued: 5, ..Totals::default() };
        Page { version: "1.2.3", directory, overview, totals }.render().unwrap()
    }

    #[test]
    fn the_leaders_page_tells_what_fails_before_all_else() {
        let page = page(Some(&overview("shop.example.com", "no such host")));
        for text in ["leader", "1.2.3", "https://ca.example/directory", "no such host", "in 10 min"]
        {
            assert!(page.contains(text), "{text} in\n{page}");
        }
        let place = |text| page.find(text).unwrap_or_else(|| panic!("{text} in\n{page}"));
        let (failing, working) = (place("id=\"failing\""), place("id=\"working\""));
        assert!(failing < working && working < place("id=\"ending\""));
        assert!(page.contains("in 30 d"), "{page}");
        assert!(page.contains("New orders are stopped (&#60;b&#62;)."), "{page}");
        for text in ["this account", "too many new orders (300)", "1700", "in 36 s", "in 17 h"] {
            assert!(page.contains(text), "{text} in\n{page}");
        }
        for link in ["metrics", "debug/state", "api/v1/ingresses", "livez", "readyz"] {
            assert!(page.contains(&format!("href=\"{link}\"")), "{link} in\n{page}");
        }
    }

    #[test]
    fn a_standby_says_that_it_is_one() {
        let page = page(None);
        assert!(page.contains("standby") && !page.contains("id=\"ending\""), "{page}");
    }

    #[test]
    fn what_others_have_written_is_text_and_never_markup() {
        let evil = "<script>alert(1)</script>\"'&<img src=x>";
        let page = page(Some(&overview(evil, evil)));
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
        assert!(page.contains("&#60;script&#62;alert(1)"), "{page}");
        assert!(!page.contains("http-equiv=\"Content-Security"), "the policy is a header");
    }

    #[test]
    fn the_page_loads_nothing() {
        let page = page(Some(&overview("shop.example.com", "")));
        for loading in ["src=", "url(", "@import", "<link", "<script"] {
            assert!(!page.contains(loading), "{loading} in\n{page}");
        }
    }

    #[test]
    fn times_and_lists_are_short() {
        assert_eq!(when(at(119), at(0)), "in 119 s");
        assert_eq!(when(at(0), at(120)), "2 min ago");
        assert_eq!(when(at(0), at(7_200)), "2 h ago");
        assert_eq!(when(at(172_800), at(0)), "in 2 d");
        let hosts = ["a", "b", "c", "d", "e"].map(str::to_owned);
        assert_eq!(few(&hosts), "a, b, c and 2 more");
        assert_eq!(few(&hosts[..3]), "a, b, c");
        assert_eq!(
            brief(&"ä".repeat(limits::PAGE_DETAIL + 1)).chars().count(),
            limits::PAGE_DETAIL + 1
        );
    }
}
