//! Reports of the operator on fakes: the Ingress list by page and namespace, the overview and the
//! metrics.

use std::time::Duration;

use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::ingress::{IngressKey, IngressView, SecretKey, TlsBlock};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::status::certificate_status::CertificateStatus;
use ingress_acme_actors::fakes::{DIRECTORY, Fakes, named as ingress};
use ingress_acme_actors::operator::{Operator, Settings};
use ingress_acme_actors::reporting::reporter::{
    Describe, Filter, GetIngress, GetOverview, IngressReport, ListIngresses, Listing, Overview,
    Search,
};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

fn site(namespace: &str, name: &str) -> IngressView {
    ingress(namespace, name, &[&format!("{name}.example.com")])
}

async fn listed(operator: &Operator, namespace: Option<&str>, offset: usize) -> Listing {
    let namespace = namespace.map(str::to_owned);
    let search = Search { namespace, ..Search::default() };
    let query = ListIngresses { search, limit: 2, offset };
    operator.reporter.send(query).await.expect("a listing")
}

async fn surveyed(operator: &Operator) -> Overview {
    operator.reporter.send(GetOverview { rows: 2 }).await.expect("an overview")
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.ingresses.iter().map(|row| &*row.name).collect()
}

fn scraped(fakes: &Fakes) -> String {
    let (mut text, registry) =
        (String::new(), fakes.shown.metrics.registry("0", DIRECTORY, &fakes.shown.expiries));
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
    text
}

#[test]
fn ingresses_are_listed_in_order_page_by_page_and_by_namespace() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        for (namespace, name) in [("web", "b"), ("api", "z"), ("web", "a")] {
            fakes.cluster.apply(site(namespace, name));
        }
        let operator = fakes.operator(Fakes::settings()).await;
        fakes.pass(MINUTE).await;
        let first = listed(&operator, None, 0).await;
        assert_eq!((first.total, names(&first)), (3, vec!["z", "a"]));
        assert_eq!(names(&listed(&operator, None, 2).await), ["b"]);
        assert!(listed(&operator, None, 3).await.ingresses.is_empty());
        let web = listed(&operator, Some("web"), 0).await;
        assert_eq!((web.total, names(&web)), (2, vec!["a", "b"]));
        assert_eq!(listed(&operator, Some("none"), 0).await.total, 0);
        let certificate = &first.ingresses[0].certificates[0];
        assert_eq!(certificate.state, CertificateStatus::Valid);
        assert_eq!((&*certificate.secret, certificate.issuance), ("z", "idle"));
        assert_eq!(certificate.hosts, ["z.example.com"]);
        assert!(certificate.not_after.is_some() && certificate.run.is_none());
    });
}

async fn searched(operator: &Operator, search: Option<&str>, filter: Option<Filter>) -> Listing {
    let search = Search { text: search.map(str::to_owned), filter, ..Search::default() };
    let query = ListIngresses { search, limit: 10, offset: 0 };
    operator.reporter.send(query).await.expect("a listing")
}

async fn reported(operator: &Operator, name: &str) -> Option<IngressReport> {
    operator.reporter.send(GetIngress(IngressKey::new("web", name))).await.expect("an answer")
}

#[test]
fn ingresses_are_found_by_a_part_of_their_names_and_by_their_state() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.apply(site("web", "shop"));
        fakes.cluster.apply(ingress("api", "wide", &["*.example.com", "deep.example.org"]));
        let mut off = site("web", "off");
        off.annotations.insert("enabled".to_owned(), "false".to_owned());
        fakes.cluster.apply(off);
        let operator = fakes.operator(Fakes::settings()).await;
        fakes.pass(MINUTE).await;
        fakes.ca.refuse(Some(Failure::new(FailureClass::Caa, "CAA forbids it")));
        fakes.cluster.apply(site("web", "refused"));
        fakes.pass(MINUTE).await;
        let of = async |search, filter| searched(&operator, search, filter).await;
        let status = |status| Some(Filter::Certificate(status));
        for (search, filter, expected) in [
            (None, None, vec!["wide", "refused", "shop"]),
            (Some("sho"), None, vec!["shop"]),
            (Some("web/"), None, vec!["refused", "shop"]),
            (Some("example.org"), None, vec!["wide"]),
            (Some("none"), None, vec![]),
            (None, status(CertificateStatus::Valid), vec!["wide", "shop"]),
            (Some("shop"), status(CertificateStatus::Failing), vec![]),
            (None, status(CertificateStatus::Failing), vec!["refused"]),
            (None, Some(Filter::Problem), vec!["wide"]),
            (None, Some(Filter::LeftAlone), vec!["off"]),
        ] {
            let found = of(search, filter).await;
            assert_eq!(names(&found), expected, "{search:?} {filter:?}");
            assert_eq!(found.total, expected.len(), "{search:?} {filter:?}");
        }
        let why = of(None, Some(Filter::LeftAlone)).await.ingresses[0].left_alone.clone();
        assert!(why.expect("a reason").contains("ingress-acme.dev/enabled"));
    });
}

#[test]
fn an_ingress_has_its_history_which_a_restart_reads_from_the_journal() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.refuse(Some(Failure::new(FailureClass::Caa, "CAA forbids it")));
        fakes.cluster.apply(site("web", "shop"));
        let operator = fakes.operator(Fakes::settings()).await;
        fakes.pass(MINUTE).await;
        let report = reported(&operator, "shop").await.expect("a known Ingress");
        let kinds: Vec<&str> = report.history.iter().map(|record| record.what).collect();
        assert_eq!(kinds, ["issuance failed", "issuance started"]);
        assert!(report.history[0].text.contains("CAA forbids it"), "{:?}", report.history[0]);
        assert!(reported(&operator, "none").await.is_none());
        assert_eq!(surveyed(&operator).await.records[0].0, report.history[0]);
        fakes.kill();
        let next = fakes.operator(Fakes::settings()).await;
        fakes.pass(Duration::from_secs(1)).await;
        let report = reported(&next, "shop").await.expect("a known Ingress");
        assert_eq!(report.history[0].what, "issuance failed");
    });
}

#[test]
fn an_ingress_of_five_thousand_certificates_leaves_a_page_its_other_rows_and_is_counted() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let hosts: Vec<String> = (0..101).map(|number| format!("h{number}.example.com")).collect();
        let block = |number: usize| TlsBlock {
            hosts: hosts.clone(),
            secret_name: Some(format!("tls-{number}")),
        };
        let tls = (0..5_000).map(block).collect();
        fakes.cluster.apply(IngressView { tls, ..site("many", "wide") });
        fakes.cluster.apply(site("few", "shop"));
        // No real Ingress has as many hosts; it would have no room.
        let operator = fakes.operator(Settings { room: usize::MAX, ..Fakes::settings() }).await;
        fakes.pass(Duration::from_millis(100)).await;
        let page = listed(&operator, None, 0).await;
        let [few, many] = &page.ingresses[..] else { panic!("{} rows", page.ingresses.len()) };
        assert_eq!(few.certificates[0].hosts, ["shop.example.com"]);
        assert_eq!((few.certificates_left_out, few.certificates[0].hosts_left_out), (0, 0));
        assert_eq!((many.certificates.len(), many.certificates_left_out), (1_999, 3_001));
        let hosts: usize = many.certificates.iter().map(|row| row.hosts.len()).sum();
        let left_out: usize = many.certificates.iter().map(|row| row.hosts_left_out).sum();
        assert!(hosts <= limits::LISTED_HOSTS && hosts + left_out == 1_999 * 101, "{hosts}");
        let note = page.note.expect("it is not whole");
        assert!(note.starts_with("3001 certificates and "), "{note}");
    });
}

#[test]
fn a_namespace_of_thousands_of_failing_certificates_leaves_the_dump_the_rows_of_others() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.refuse(Some(Failure::new(FailureClass::Caa, "CAA forbids it")));
        for number in 0..limits::DUMPED {
            fakes.cluster.apply(site("many", &format!("i{number}")));
        }
        fakes.cluster.apply(site("tiny", "shop"));
        let operator = fakes.operator(Fakes::settings()).await;
        fakes.pass(DAY / 8).await;
        let state = operator.reporter.send(Describe).await.unwrap();
        assert_eq!((state.streams.len(), state.ingresses.len()), (limits::DUMPED, limits::DUMPED));
        let note = state.note.as_deref().expect("it is not whole");
        assert!(note.starts_with("1 ingresses, 0 runs and 1 streams are left out"), "{note}");
        let text = serde_json::to_string(&state.streams).unwrap();
        assert!(text.contains("tiny/shop"));
    });
}

#[test]
fn what_fails_is_reported_with_its_reason_and_its_next_try() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.refuse(Some(Failure::new(FailureClass::Caa, "CAA forbids <it>")));
        fakes.cluster.apply(site("web", "shop"));
        let operator = fakes.operator(Fakes::settings()).await;
        fakes.pass(Duration::from_secs(30)).await;
        let row = listed(&operator, None, 0).await.ingresses.remove(0);
        let phase = row.phase.expect("it waits");
        assert!(phase.name == "waiting" && phase.until.is_some(), "{phase:?}");
        let certificate = &row.certificates[0];
        assert_eq!(
            (certificate.state, certificate.issuance),
            (CertificateStatus::Failing, "failing")
        );
        assert_eq!(certificate.not_after, None);
        let failing = certificate.failing.as_ref().expect("it failed");
        assert_eq!((failing.class, failing.attempts), ("caa", 1));
        let overview = surveyed(&operator).await;
        assert_eq!(overview.failures, [("caa", 1)].into());
        let worst = &overview.failing[0];
        assert_eq!(worst.ingresses, [IngressKey::new("web", "shop")]);
        assert_eq!(worst.failure.detail, "CAA forbids <it>");
        assert!(worst.failure.retry_at > overview.now);
    });
}

#[test]
fn what_is_in_the_pool_is_in_progress() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.unresolve("shop.example.com", true);
        fakes.cluster.apply(site("web", "shop"));
        let operator = fakes.operator(Fakes::settings()).await;
        fakes.pass(Duration::from_secs(3)).await;
        let overview = surveyed(&operator).await;
        let working = &overview.working[0];
        assert_eq!(working.secret, SecretKey::new("web", "shop"));
        assert_eq!((working.phase, working.issuance), ("parked", "idle"));
        let row = listed(&operator, None, 0).await.ingresses.remove(0);
        assert_eq!(row.phase.map(|phase| phase.name), Some("in flight"));
        assert_eq!(row.certificates[0].state, CertificateStatus::Pending);
        assert_eq!(row.certificates[0].run.as_ref().map(|run| run.phase), Some("parked"));
    });
}

#[test]
fn the_page_and_the_metrics_tell_the_same_dates_until_the_ingress_goes() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.set_life(30 * DAY);
        fakes.cluster.apply(site("web", "later"));
        let operator = fakes.operator(Fakes::settings()).await;
        fakes.pass(MINUTE).await;
        fakes.ca.set_life(20 * DAY);
        fakes.cluster.apply(site("web", "sooner"));
        fakes.pass(MINUTE).await;
        let overview = surveyed(&operator).await;
        let order: Vec<&str> = overview.ending.iter().map(|row| &*row.secret.name).collect();
        assert_eq!(order, ["sooner", "later"]);
        let ends = overview.ending[0].validity.not_after.as_secs();
        let series = format!("seconds{{namespace=\"web\",secret=\"sooner\"}} {ends}\n");
        assert!(scraped(&fakes).contains(&series), "{series} in\n{}", scraped(&fakes));
        fakes.cluster.delete(&IngressKey::new("web", "sooner"));
        fakes.pass(MINUTE).await;
        assert!(!scraped(&fakes).contains("sooner"));
        assert_eq!(surveyed(&operator).await.ending.len(), 1);
    });
}

#[test]
fn the_state_names_the_role_and_the_directory() {
    Fakes::paused(async {
        let operator = Fakes::default().operator(Fakes::settings()).await;
        let state = operator.reporter.send(Describe).await.unwrap();
        assert_eq!((state.role, &*state.directory), ("leader", DIRECTORY));
    });
}
