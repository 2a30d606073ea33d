//! Renewal on a paused clock: within the CA's renewal window, and by age for a CA without ARI.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ingress_acme_actors::domain::certificate::CertId;
use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::domain::validity::renewal::RenewalWindow;
use ingress_acme_actors::fakes::{Fakes, named as ingress, our_secret};
use ingress_acme_actors::operator::Settings;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Days until the second certificate, to the hour.
async fn days_until_renewed(fakes: &Fakes) -> f64 {
    let mut waited = Duration::ZERO;
    while fakes.ca.issued().len() < 2 {
        fakes.pass(HOUR).await;
        waited += HOUR;
        assert!(waited < 200 * DAY, "it is not renewed");
    }
    waited.as_secs_f64() / 86_400.0
}

async fn one_shop(fakes: &Fakes) {
    one_shop_with(fakes, Fakes::settings()).await;
}

async fn one_shop_with(fakes: &Fakes, settings: Settings) {
    fakes.operator(settings).await;
    fakes.cluster.apply(ingress("web", "shop", &["a.example.com"]));
    fakes.pass(MINUTE).await;
    assert_eq!(fakes.ca.issued().len(), 1);
}

/// A renewal window that is the same for every certificate.
fn always(start: Timestamp, length: Duration, explanation: Option<&str>) -> RenewalWindow {
    let explanation = explanation.map(str::to_owned);
    RenewalWindow { start, end: start + length, explanation }
}

#[test]
fn without_suggestions_each_life_is_renewed_by_its_age() {
    for (hours, earliest, latest) in
        [(2160, 57.0, 60.2), (1536, 40.5, 42.9), (1080, 28.5, 30.2), (160, 2.9, 3.6)]
    {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            fakes.ca.set_life(Duration::from_hours(hours));
            let settings = Settings { scan_interval: 4 * HOUR, ..Fakes::settings() };
            one_shop_with(&fakes, settings).await;
            let days = days_until_renewed(&fakes).await;
            assert!(days >= earliest && days <= latest, "{hours} h: after {days} days");
            assert!(fakes.cluster.calls("renewal_info") <= 1, "it has none");
        });
    }
}

#[test]
fn it_is_renewed_within_the_window_and_the_order_says_what_it_replaces() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let start = fakes.clock.now() + 20 * DAY;
        fakes.ca.set_suggestions(move |_| Some(always(start, DAY, None)));
        one_shop(&fakes).await;
        let days = days_until_renewed(&fakes).await;
        assert!((20.0..21.2).contains(&days), "after {days} days");
        let replaced: Vec<String> = fakes.ca.replaced().iter().map(ToString::to_string).collect();
        assert_eq!(replaced, ["fake.1"]);
        let polls = fakes.cluster.calls("renewal_info");
        assert!((78..=90).contains(&polls), "{polls} polls in 20 days");
    });
}

#[test]
fn a_certificate_that_the_ca_wants_back_is_replaced_within_hours_and_the_user_is_given_the_reason()
{
    Fakes::paused(async {
        let fakes = Fakes::default();
        let revoked = Rc::new(Cell::new(false));
        let (known, began) = (revoked.clone(), fakes.clock.now());
        fakes.ca.set_suggestions(move |id| {
            let gone = known.get() && id.as_str() == "fake.1";
            let start = if gone { began } else { began + 60 * DAY };
            Some(always(start, HOUR, gone.then_some("https://ca.example/incident")))
        });
        one_shop(&fakes).await;
        fakes.pass(2 * DAY).await;
        revoked.set(true);
        let days = days_until_renewed(&fakes).await;
        assert!(days <= 0.26, "after {days} days");
        let events = fakes.cluster.events("web", "shop");
        let page = |note: &str| note.contains("https://ca.example/incident");
        assert!(events.iter().any(|one| one.reason == "Issuing" && page(&one.note)), "{events:?}");
        fakes.pass(2 * DAY).await;
        assert_eq!(fakes.ca.issued().len(), 2, "the new one is not the old one");
    });
}

/// Creates `count` Ingresses in ten namespaces, each with a certificate of ID `fake.NUMBER`.
/// Certificates with higher numbers expire sooner.
fn shops_with_certificates(fakes: &Fakes, count: usize) {
    let now = fakes.clock.now();
    for number in 1..=count {
        let (namespace, name) = (format!("n{}", number % 10), format!("i{number}"));
        let host = format!("www.shop-{number}.example");
        fakes.cluster.apply(ingress(&namespace, &name, &[&host]));
        let ends = now + 60 * DAY - u32::try_from(number).expect("a small number") * MINUTE;
        let chain = format!("key|{host}|{}|{}|{number}", now.as_millis(), ends.as_millis());
        fakes.cluster.put_secret(&SecretKey::new(&namespace, &name), our_secret(&chain, "key"));
    }
}

/// Number of consecutive renewals of one namespace that are in the wrong order.
fn out_of_order(replaced: &[CertId]) -> usize {
    let number = |id: &CertId| id.as_str()["fake.".len()..].parse::<usize>().expect("a number");
    let numbers: Vec<usize> = replaced.iter().map(number).collect();
    (0..10)
        .map(|namespace| numbers.iter().filter(move |number| **number % 10 == namespace))
        .map(|of_one| of_one.clone().zip(of_one.skip(1)).filter(|(one, next)| one < next).count())
        .sum()
}

#[test]
fn when_the_ca_wants_all_of_them_back_they_are_replaced_at_a_pace_and_those_that_end_first_go_first()
 {
    Fakes::paused(async {
        const ALL: usize = 10_000;
        let fakes = Fakes::default();
        let began = fakes.clock.now();
        fakes.ca.set_suggestions(move |id| {
            let number: usize = id.as_str().trim_start_matches("fake.").parse().unwrap();
            let is_new = number > ALL;
            Some(always(if is_new { began + 60 * DAY } else { began - HOUR }, HOUR, None))
        });
        fakes.ca.number_from(1_000_000);
        shops_with_certificates(&fakes, ALL);
        fakes.operator(Settings { issuers: 64, ..Fakes::settings() }).await;
        let mut most = 0;
        while fakes.ca.issued().len() < ALL {
            let before = fakes.ca.issued().len();
            fakes.pass(MINUTE).await;
            most = most.max(fakes.ca.issued().len() - before);
            assert!(fakes.clock.now() < began + HOUR, "{} are renewed", fakes.ca.issued().len());
        }
        assert!(most <= 310, "{most} in one minute");
        let wrong = out_of_order(&fakes.ca.replaced());
        assert!(wrong < ALL / 100, "{wrong} were renewed before one that ends sooner");
        fakes.pass(HOUR).await;
        assert_eq!(fakes.ca.issued().len(), ALL, "each once");
    });
}

/// Orders in six of the last eight hours of a certificate whose renewal has failed for long with
/// this class, and whether it is renewed once the CA takes orders again.
fn tried_at_the_end(class: FailureClass, asked: std::ops::RangeInclusive<usize>, renewed: usize) {
    Fakes::paused(async move {
        let fakes = Fakes::default();
        fakes.ca.set_life(Duration::from_hours(160));
        one_shop(&fakes).await;
        fakes.ca.refuse(Some(Failure::new(class, "the words of the CA")));
        // 152 of its 160 hours have passed, so 8 are left. Retries came after 1, 10 and 100
        // minutes, then daily.
        fakes.pass(152 * HOUR).await;
        let before = fakes.cluster.calls("open_order");
        assert!(before < 12, "{before} orders");
        fakes.pass(6 * HOUR).await;
        let orders = fakes.cluster.calls("open_order") - before;
        assert!(asked.contains(&orders), "{orders} orders");
        fakes.ca.refuse(None);
        fakes.pass(HOUR + 5 * MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), renewed);
    });
}

#[test]
fn a_certificate_about_to_end_is_tried_each_hour_after_a_failure_of_the_ca() {
    tried_at_the_end(FailureClass::AcmeServer, 4..=8, 2);
}

#[test]
fn a_certificate_about_to_end_whose_domain_leads_elsewhere_is_tried_once_a_day() {
    tried_at_the_end(FailureClass::Authorization, 0..=1, 1);
}

#[test]
fn a_replacement_within_its_window_passes_a_closed_account() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let start = fakes.clock.now() + 10 * DAY;
        fakes.ca.set_suggestions(move |_| Some(always(start, HOUR, None)));
        one_shop(&fakes).await;
        fakes.pass(9 * DAY).await;
        fakes.ca.set_policy(|names| {
            let names: Vec<&str> = names.iter().map(DnsName::as_str).collect();
            let detail = "too many new orders (300) from this account";
            let limited = Failure::new(FailureClass::RateLimited, detail);
            let limited = Failure { retry_after: Some(5 * DAY), ..limited };
            (names == ["new.example.com"]).then_some(limited)
        });
        fakes.cluster.apply(ingress("web", "new", &["new.example.com"]));
        let days = days_until_renewed(&fakes).await;
        assert!(days < 1.2, "after {days} days");
    });
}
