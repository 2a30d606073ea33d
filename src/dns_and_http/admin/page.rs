//! The status page: the overview, the list of Ingresses and the page of each. The pages show text
//! written by tenants and CAs. Therefore the templates escape all text, and the headers keep a
//! browser from running or loading anything but the style and the script of this server.

mod list;
mod one_ingress;
mod words;

use askama::Template;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::domain::validity::expiries::Validity;
use ingress_acme_actors::reporting::metrics::Totals;
use ingress_acme_actors::reporting::reporter::Overview;

pub(super) use list::ListPage;
pub(super) use one_ingress::{Explanation, IngressPage};
use words::{Bar, brief, link, tone};

/// `Content-Security-Policy` of the pages: nothing inline, and nothing of another server.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                                 form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Style of the pages.
pub(super) const STYLE: &str = include_str!("../../../templates/style.css");
/// Script that keeps the pages current.
pub(super) const SCRIPT: &str = include_str!("../../../templates/script.js");

/// Content of the overview.
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
            Some(overview) => words::when(*at, overview.now),
            None => at.to_string(),
        }
    }

    #[expect(clippy::ref_option, reason = "a template passes fields so")]
    fn when_or_none(&self, at: &Option<Timestamp>) -> String {
        at.as_ref().map_or_else(|| "none".to_owned(), |at| self.when(at))
    }

    fn bar(&self, validity: &Validity) -> Bar {
        Bar::of(*validity, self.overview.map_or_else(Timestamp::default, |overview| overview.now))
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

fn some(hosts: &[String]) -> String {
    words::few(hosts, 0)
}

#[cfg(test)]
mod tests {
    use ingress_acme_actors::domain::ingress::{IngressKey, SecretKey};
    use ingress_acme_actors::domain::limits;
    use ingress_acme_actors::domain::status::certificate_status::CertificateStatus;
    use ingress_acme_actors::domain::status::history::HistoryRecord;
    use ingress_acme_actors::domain::validity::expiries::Validity;
    use ingress_acme_actors::reporting::reporter::{
        CertificateInProgress, CertificateRow, ClosedDump, ExpiringCertificate, FailingCertificate,
        FailureDump, Filter, IngressReport, IngressRow, Listing, PhaseDump, Search, WaitDump,
    };

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn failure(detail: &str) -> FailureDump {
        FailureDump {
            class: "authorization",
            detail: detail.to_owned(),
            attempts: 2,
            since: at(0),
            retry_at: at(1_600),
        }
    }

    fn record(secret: &SecretKey, text: &str) -> HistoryRecord {
        HistoryRecord {
            number: 1,
            secret: secret.clone(),
            at: at(940),
            what: "issuance failed",
            text: text.into(),
        }
    }

    fn overview(host: &str, detail: &str) -> Overview {
        let (secret, hosts) = (SecretKey::new("web", "shop"), vec![host.to_owned()]);
        let ingress = Some(IngressKey::new("web", host));
        let failure = failure(detail);
        let validity = Validity { not_after: at(30 * 86_400 + 1_000), renewal: at(500) };
        let status = CertificateStatus::Renewing;
        Overview {
            known: 1,
            now: at(1_000),
            notices: vec!["New orders are stopped (<b>)".to_owned()],
            closed: vec![ClosedDump {
                ca: None,
                scope: format!("this account {host}"),
                opens: at(1_036),
                waiting: 1_700,
                last: at(62_200),
                detail: format!("too many new orders (300) from this account {detail}"),
            }],
            failures: [("authorization", 1)].into(),
            failing: vec![FailingCertificate {
                secret: secret.clone(),
                ingresses: vec![IngressKey::new("web", "shop")],
                hosts: hosts.clone(),
                failure,
                not_after: None,
            }],
            records: vec![(record(&secret, detail), ingress.clone())],
            working: vec![CertificateInProgress {
                secret: secret.clone(),
                ingress: ingress.clone(),
                hosts: hosts.clone(),
                phase: "running",
                issuance: "ordered",
                since: at(900),
            }],
            ending: vec![ExpiringCertificate { secret, ingress, hosts, validity, status }],
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

    /// An Ingress of which every text is `text`.
    fn row(text: &str) -> IngressRow {
        let scope = text.to_owned();
        let certificate = CertificateRow {
            ca: Some(text.to_owned()),
            secret: text.into(),
            hosts: vec![text.to_owned()],
            hosts_left_out: 2,
            state: CertificateStatus::Failing,
            not_after: Some(at(90_000)),
            renewal: Some(at(60_000)),
            issuance: "failing",
            run: None,
            waits: Some(WaitDump { scope, turn: at(1_060), detail: text.to_owned() }),
            stopped: false,
            failing: Some(failure(text)),
        };
        let phase =
            PhaseDump { name: "waiting", since: None, until: Some("then".into()), again: false };
        IngressRow {
            namespace: text.into(),
            name: text.into(),
            phase: Some(phase),
            problems: vec![text.to_owned()],
            left_alone: Some(text.to_owned()),
            certificates: vec![certificate; 4],
            certificates_left_out: 30,
        }
    }

    fn list(search: &Search, offset: usize, rows: Vec<IngressRow>, total: usize) -> String {
        let (role, now, limit) = ("leader", at(1_000), limits::LIST_ROWS);
        let listing = Listing { role, now, total, offset, limit, ingresses: rows, note: None };
        ListPage { version: "1.2.3", search, listing: &listing }.render().unwrap()
    }

    fn report(text: &str) -> IngressReport {
        let history = vec![record(&SecretKey::new("web", text), text)];
        IngressReport { now: at(1_000), directory: text.to_owned(), row: row(text), history }
    }

    const EVIL: &str = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>\n\u{1b}[31m";

    #[test]
    fn a_certificate_has_the_name_of_its_ca_where_there_are_several() {
        let alone = |mut row: IngressRow| {
            row.certificates.iter_mut().for_each(|certificate| certificate.ca = None);
            row
        };
        let pages = |row: &dyn Fn(&str) -> IngressRow| {
            let report =
                IngressReport { row: row("own"), ..report("https://ca.example/directory") };
            [
                list(&Search::default(), 0, vec![row("own")], 1),
                IngressPage { version: "1.2.3", report: &report }.render().unwrap(),
                Explanation { report: &report }.render().unwrap(),
            ]
        };
        let several = pages(&row);
        let words = ["<br>CA own</small>", "<dt>CA</dt><dd>own</dd>", "  CA        own\n"];
        for (page, words) in several.iter().zip(words) {
            assert!(page.contains(words), "{page}");
        }
        assert!(!several[2].contains("The CA is"), "{}", several[2]);
        let one = pages(&|text| alone(row(text)));
        assert!(one[2].contains("The CA is https://ca.example/directory. Secrets"), "{}", one[2]);
        for (page, words) in one.iter().zip(words) {
            assert!(!page.contains(words), "{page}");
        }
    }

    #[test]
    fn what_others_have_written_is_text_and_never_markup() {
        let search = Search {
            text: Some(EVIL.to_owned()),
            namespace: Some(EVIL.to_owned()),
            filter: Some(Filter::Problem),
        };
        let without_certificate = IngressRow { certificates: Vec::new(), ..row(EVIL) };
        let (report, rows) = (report(EVIL), vec![row(EVIL), without_certificate]);
        for page in [
            page(Some(&overview(EVIL, EVIL))),
            list(&search, limits::LIST_ROWS, rows, 1_000),
            IngressPage { version: "1.2.3", report: &report }.render().unwrap(),
        ] {
            // The one script is ours; a quote in an attribute would begin another attribute.
            assert_eq!(page.matches("<script").count(), 1, "{page}");
            assert!(page.contains("<script src=\"script.js\" defer></script>"), "{page}");
            assert!(!page.contains("<img") && !page.contains("\"'&"), "{page}");
            assert!(page.contains("&#60;script&#62;alert(1)"), "{page}");
            assert!(!page.contains("http-equiv=\"Content-Security"), "the policy is a header");
        }
    }

    #[test]
    fn the_explanation_is_plain_text_without_characters_that_control_a_terminal() {
        let report = report(EVIL);
        let text = Explanation { report: &report }.render().unwrap();
        assert!(!text.contains('\u{1b}') && text.contains("<script>alert(1)"), "{text}");
        assert!(text.lines().all(|line| !line.starts_with("[31m")), "{text}");
    }

    #[test]
    fn the_explanation_has_the_layout_of_the_command() {
        let shop = IngressReport {
            row: IngressRow {
                certificates: vec![CertificateRow {
                    ca: None,
                    ..row("shop").certificates.swap_remove(0)
                }],
                certificates_left_out: 0,
                ..row("shop")
            },
            ..report("shop")
        };
        let text = Explanation { report: &shop }.render().unwrap();
        assert_eq!(
            text,
            "Ingress shop/shop\n\
             \x20 state     left alone: shop\n\
             \x20 phase     waiting until then\n\
             \x20 problem   shop\n\
             \n\
             Secret shop/shop\n\
             \x20 names     shop and 2 more\n\
             \x20 expires   1970-01-02T01:00:00Z\n\
             \x20 renewal   1970-01-01T16:40:00Z\n\
             \x20 state     failing\n\
             \x20 issuance  failing\n\
             \x20 waits     for a rate limit on shop, until about 1970-01-01T00:17:40Z: shop\n\
             \x20 failed    authorization, attempt 2 since 1970-01-01T00:00:00Z: shop\n\
             \x20 next      attempt at 1970-01-01T00:26:40Z\n\
             \n\
             Records, newest last:\n\
             \x20 1970-01-01T00:15:40Z  shop  issuance failed: shop\n\
             \n\
             The CA is shop. Secrets and Events as they are in the cluster:\n\
             \x20 ingress-acme explain --namespace shop shop"
        );
    }

    #[test]
    fn the_page_of_an_ingress_says_what_it_waits_for_and_until_when() {
        let report = report("shop");
        let page = IngressPage { version: "1.2.3", report: &report }.render().unwrap();
        for text in [
            "waits for a rate limit",
            "order expected in 60 s",
            "in 10 min",
            "issuance failed",
            "30 more certificates",
            "explain?namespace=shop&#38;name=shop",
        ] {
            assert!(page.contains(text), "{text} in\n{page}");
        }
    }

    #[test]
    fn a_long_list_has_pages_that_keep_the_search() {
        let search = Search { text: Some("a&b".to_owned()), ..Search::default() };
        let rows = vec![row("shop"); limits::LIST_ROWS];
        let page = list(&search, limits::LIST_ROWS, rows.clone(), 250);
        assert!(page.contains("101 to 200 of 250 managed"), "{page}");
        for link in ["ingresses?search=a%26b&#38;page=1", "ingresses?search=a%26b&#38;page=3"] {
            assert!(page.contains(link), "{link} in\n{page}");
        }
        let last = list(&search, limits::LIST_ROWS, rows, 200);
        assert!(last.contains("page=1") && !last.contains("page=3"), "{last}");
        assert!(list(&search, 0, Vec::new(), 0).contains("0 match"));
    }

    #[test]
    fn the_pages_load_nothing_but_their_own_style_and_script() {
        let search = Search::default();
        let report = report("shop");
        for page in [
            page(Some(&overview("shop.example.com", ""))),
            list(&search, 0, vec![row("shop")], 1),
            IngressPage { version: "1.2.3", report: &report }.render().unwrap(),
        ] {
            assert_eq!((page.matches("src=").count(), page.matches("<link").count()), (1, 1));
            for loading in ["url(", "@import", "<style", "style=", "onclick"] {
                assert!(!page.contains(loading), "{loading} in\n{page}");
            }
        }
        for loading in ["url(", "@import"] {
            assert!(!STYLE.contains(loading), "{loading}");
        }
    }
}
