//! Challenges that are answered in DNS: wildcards, records that never stay behind, and providers
//! that fail.

use std::time::Duration;

use ingress_acme_actors::domain::dns::account::{DnsAccount, Namespaces, PERSIST};
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::ingress::{IngressKey, IngressView};
use ingress_acme_actors::domain::log::segment::replay;
use ingress_acme_actors::fakes::{
    Fakes, dns_account, ingress, named, reasons, record_name, with_tls,
};
use ingress_acme_actors::ports::PortError;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn pair() -> IngressView {
    named("web", "shop", &["*.example.com", "example.com"])
}

/// Fakes with an account for `example.com`.
fn with_account() -> Fakes {
    let fakes = Fakes::default();
    fakes.dns.set_accounts(vec![dns_account("bind", "example.com")]);
    fakes
}

#[test]
fn a_wildcard_and_its_domain_are_in_one_certificate_and_no_record_stays() {
    Fakes::paused(async {
        let fakes = with_account();
        fakes.dns.set_lag(Duration::from_secs(3));
        fakes.dns.put("_acme-challenge.example.com", "the user's own");
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(pair());
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["*.example.com", "example.com"]);
        let own = ("_acme-challenge.example.com".to_owned(), "the user's own".to_owned());
        assert_eq!(fakes.dns.records(), [own]);
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));
        let calls = |call| fakes.cluster.calls(call);
        assert_eq!((calls("dns_add"), calls("dns_remove")), (1, 1), "HTTP-01 proves the domain");
        assert!(calls("dns_has") <= 7, "{} looks", calls("dns_has"));
        fakes.assert_stable().await;
    });
}

#[test]
fn names_that_the_user_wants_proved_in_dns_take_no_route_and_two_values_stand_at_one_name() {
    Fakes::paused(async {
        let fakes = with_account();
        fakes.operator(Fakes::settings()).await;
        let mut view = pair();
        view.annotations.insert("challenge".into(), "dns-01".into());
        fakes.cluster.apply(view);
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["*.example.com", "example.com"]);
        let calls = |call| fakes.cluster.calls(call);
        assert_eq!((calls("dns_add"), calls("dns_remove"), calls("probe")), (2, 2, 0));
        assert_eq!(fakes.dns.records(), []);
    });
}

#[test]
fn a_host_that_requests_do_not_reach_is_proved_in_dns_where_an_account_is_granted() {
    Fakes::paused(async {
        let fakes = with_account();
        fakes.cluster.cut("inside.example.com", true);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(named("web", "inside", &["inside.example.com"]));
        fakes.pass(5 * MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "inside"), ["inside.example.com"]);
        assert_eq!((fakes.ca.orders(), fakes.cluster.calls("dns_add")), (1, 1));
    });
}

#[test]
fn without_a_grant_the_wildcard_is_told_once_and_the_other_hosts_are_served() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let others = DnsAccount {
            namespaces: Namespaces::These(["api".to_owned()].into()),
            ..dns_account("bind", "example.com")
        };
        fakes.dns.set_accounts(vec![others]);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(pair());
        fakes.pass(2 * HOUR).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["example.com"]);
        let events = fakes.cluster.events("web", "shop");
        let told: Vec<_> = events.iter().filter(|one| one.note.contains("*.example.com")).collect();
        assert_eq!(told.len(), 1, "{events:?}");
        assert!(told[0].note.contains("for namespace web"), "{}", told[0].note);
        fakes.dns.set_accounts(vec![dns_account("bind", "example.com")]);
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["*.example.com", "example.com"]);
        fakes.assert_stable().await;
    });
}

#[test]
fn an_account_that_goes_leaves_the_certificate_and_the_other_names_are_renewed() {
    Fakes::paused(async {
        let fakes = with_account();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(pair());
        fakes.pass(MINUTE).await;
        fakes.dns.set_accounts(Vec::new());
        fakes.pass(DAY).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["*.example.com", "example.com"]);
        assert_eq!(fakes.ca.orders(), 1, "it has plenty of its life left");
        fakes.pass(88 * DAY).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["example.com"]);
        fakes.assert_stable().await;
    });
}

#[test]
fn killed_after_any_call_no_record_stays_and_there_is_one_certificate() {
    let mut calls = 1;
    loop {
        let died = Fakes::paused(async move {
            let fakes = with_account();
            let mut view = pair();
            view.annotations.insert("challenge".into(), "dns-01".into());
            fakes.cluster.apply(view);
            let crash_point = fakes.operator_crashing_after(Fakes::settings(), calls);
            fakes.pass(5 * MINUTE).await;
            let died = crash_point.has_ended();
            fakes.kill();
            fakes.operator(Fakes::settings()).await;
            fakes.pass(10 * MINUTE).await;
            let names = fakes.cluster.names("web", "shop");
            assert_eq!(names, ["*.example.com", "example.com"], "killed after {calls}");
            assert_eq!(fakes.dns.records(), [], "killed after {calls}");
            assert_eq!(fakes.ca.issued().len(), 1, "killed after {calls}");
            assert!(fakes.ca.orders() <= 2, "killed after {calls}: {}", fakes.ca.orders());
            assert!(replay(&fakes.segments.log()).live.is_empty(), "killed after {calls}");
            fakes.assert_stable().await;
            died
        });
        if !died {
            break;
        }
        calls += 1;
    }
    assert!(calls > 20, "the whole way was walked: {calls} calls");
}

#[test]
fn a_record_goes_also_where_its_ingress_goes_or_its_order_fails() {
    Fakes::paused(async {
        let fakes = with_account();
        fakes.ca.never_validate();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(pair());
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.dns.records().len(), 1, "the CA has not looked yet");
        fakes.cluster.delete(&IngressKey::new("web", "shop"));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.dns.records(), []);
        fakes.cluster.apply(pair());
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.dns.records().len(), 1);
        fakes.ca.forget_orders();
        fakes.pass(10 * MINUTE).await;
        assert!(
            fakes.dns.records().len() <= 1,
            "that of the next order: {:?}",
            fakes.dns.records()
        );
    });
}

#[test]
fn a_provider_that_refuses_is_told_once_and_the_order_is_kept() {
    Fakes::paused(async {
        let fakes = with_account();
        let refusal = PortError::permanent(FailureClass::Dns, "403: the key may not write");
        fakes.dns.refuse("bind", Some(refusal));
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(pair());
        fakes.pass(30 * MINUTE).await;
        assert_eq!(fakes.ca.orders(), 1, "the order waits");
        let told = fakes.cluster.events("web", "shop");
        let about: Vec<_> = told.iter().filter(|one| one.note.contains("403")).collect();
        assert_eq!(about.len(), 1, "{told:?}");
        assert!(about[0].note.contains("DNS account bind"), "{}", about[0].note);
        fakes.dns.refuse("bind", None);
        let version = "2".to_owned();
        fakes.dns.set_accounts(vec![DnsAccount { version, ..dns_account("bind", "example.com") }]);
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["*.example.com", "example.com"]);
        assert_eq!((fakes.ca.orders(), fakes.dns.records()), (1, Vec::new()));
        fakes.assert_stable().await;
    });
}

#[test]
fn a_provider_that_never_answers_delays_nobody_else() {
    Fakes::paused(async {
        let fakes = with_account();
        fakes.dns.be_silent("bind");
        fakes.operator(Fakes::settings()).await;
        for number in 0..40 {
            let host = format!("*.a{number}.example.com");
            fakes.cluster.apply(named("stalls", &format!("s{number}"), &[&host]));
        }
        fakes.pass(MINUTE).await;
        fakes.cluster.apply(ingress("web", "good", &["good.example.org"]));
        fakes.pass(Duration::from_secs(30)).await;
        assert_eq!(fakes.cluster.names("web", "good-tls"), ["good.example.org"]);
        assert!(fakes.cluster.calls("dns_add") <= 12, "{}", fakes.cluster.calls("dns_add"));
    });
}

#[test]
fn a_record_that_cannot_be_removed_is_tried_again_and_no_certificate_waits_for_it() {
    Fakes::paused(async {
        let fakes = with_account();
        fakes.cluster.fail("dns_remove", 3);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(pair());
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["*.example.com", "example.com"]);
        fakes.pass(HOUR).await;
        assert_eq!(fakes.dns.records(), []);
        assert_eq!(fakes.cluster.calls("dns_remove"), 4);
    });
}

#[test]
fn a_cname_leads_to_a_zone_for_challenges_and_to_no_other() {
    Fakes::paused(async {
        let fakes = with_account();
        fakes.dns.put_cname("_acme-challenge.example.com", "example-com.acme.example.net");
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(with_tls("wild", "wild", &["*.example.com"]));
        fakes.pass(10 * MINUTE).await;
        assert_eq!((fakes.ca.orders(), fakes.dns.records()), (0, Vec::new()));
        let told = fakes.cluster.events("web", "wild");
        assert!(told[0].note.contains("delegation-zones"), "{}", told[0].note);
        let delegated = DnsAccount {
            delegation_zones: [record_name("acme.example.net")].into(),
            ..dns_account("bind", "example.com")
        };
        fakes.dns.set_accounts(vec![delegated]);
        fakes.pass(2 * MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "wild"), ["*.example.com"]);
        assert_eq!(fakes.dns.records(), []);
    });
}

#[test]
fn a_persistent_record_proves_a_wildcard_without_a_write() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let persist =
            DnsAccount { provider: PERSIST.to_owned(), ..dns_account("persist", "example.com") };
        fakes.dns.set_accounts(vec![persist]);
        let mut settings = Fakes::settings();
        settings.dns_persist_01 = true;
        fakes.operator(settings).await;
        fakes.cluster.apply(pair());
        fakes.pass(5 * MINUTE).await;
        let told = fakes.cluster.events("web", "shop");
        assert!(reasons(&told).contains(&"Unreachable"), "{told:?}");
        assert!(told[0].note.contains("_validation-persist.example.com"), "{}", told[0].note);
        let record = "ca.example; accounturi=https://ca.example/account/1; policy=wildcard";
        fakes.dns.persist("_validation-persist.example.com", &[record]);
        fakes.pass(15 * MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["*.example.com", "example.com"]);
        assert_eq!(fakes.cluster.calls("dns_add"), 0);
        assert!(fakes.ca.orders() <= 2, "one without the wildcard while its record was missing");
    });
}

#[test]
fn an_account_that_does_not_work_takes_no_host_of_the_certificate_that_is_there() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        let hosts = ["*.example.com", "example.com", "a.example.com"];
        fakes.cluster.apply(named("web", "shop", &hosts));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["a.example.com", "example.com"]);
        fakes.dns.put_cname("_acme-challenge.example.com", "www.example.com");
        fakes.dns.set_accounts(vec![dns_account("bind", "example.com")]);
        fakes.pass(85 * DAY).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["a.example.com", "example.com"]);
        let secret = fakes.cluster.secret("web", "shop").expect("it was just there");
        let ends = secret.view.certificate.expect("a certificate").not_after;
        assert!(ends.since(fakes.clock.now()) > 30 * DAY, "it is renewed: {ends}");
    });
}

#[test]
fn a_wildcard_certificate_that_serves_its_hosts_outlives_its_account() {
    Fakes::paused(async {
        let fakes = with_account();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(named("web", "shop", &["*.example.com", "a.example.com"]));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["*.example.com"]);
        fakes.dns.set_accounts(Vec::new());
        fakes.pass(DAY).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["*.example.com"]);
        assert_eq!(fakes.ca.orders(), 1);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_wildcard_stays_in_the_secret_of_two_ingresses_when_its_account_goes() {
    Fakes::paused(async {
        let fakes = with_account();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(with_tls("wild", "both", &["*.example.com"]));
        fakes.cluster.apply(with_tls("apex", "both", &["example.com"]));
        fakes.pass(5 * MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "both"), ["*.example.com", "example.com"]);
        let orders = fakes.ca.orders();
        fakes.dns.set_accounts(Vec::new());
        fakes.pass(DAY).await;
        assert_eq!(fakes.cluster.names("web", "both"), ["*.example.com", "example.com"]);
        fakes.cluster.delete(&IngressKey::new("web", "wild"));
        fakes.cluster.apply(with_tls("wild", "both", &["*.example.com"]));
        fakes.pass(DAY).await;
        assert_eq!(fakes.cluster.names("web", "both"), ["*.example.com", "example.com"]);
        assert_eq!(fakes.ca.orders(), orders, "the certificate has plenty of its life left");
        fakes.pass(88 * DAY).await;
        assert_eq!(fakes.cluster.names("web", "both"), ["example.com"], "renewed without it");
        fakes.assert_stable().await;
    });
}

#[test]
fn a_record_is_written_again_where_its_order_is_opened_again_while_it_is_removed() {
    Fakes::paused(async {
        let fakes = with_account();
        fakes.ca.reuse_orders();
        fakes.dns.set_lag(MINUTE);
        fakes.dns.set_removal(Duration::from_secs(19));
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(pair());
        fakes.pass(Duration::from_secs(10)).await;
        assert_eq!(fakes.dns.records().len(), 1, "it waits for the servers");
        fakes.cluster.delete(&IngressKey::new("web", "shop"));
        while fakes.cluster.calls("dns_remove") == 0 {
            fakes.pass(Duration::from_secs(1)).await;
        }
        fakes.cluster.apply(pair());
        fakes.pass(4 * MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["*.example.com", "example.com"]);
        assert_eq!((fakes.ca.orders(), fakes.dns.records()), (1, Vec::new()));
        assert_eq!(fakes.cluster.calls("dns_add"), 3, "two of the jobs, and one of the cleaner");
    });
}

#[test]
fn an_error_of_one_zone_delays_no_other_zone_of_its_account() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let account = dns_account("bind", "example.com");
        let zones = ["example.com", "example.org"].map(record_name).into();
        fakes.dns.set_accounts(vec![DnsAccount { zones, ..account }]);
        fakes.dns.refuse("example.com", Some(PortError::transient("SERVFAIL")));
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(named("bad", "shop", &["*.example.com"]));
        fakes.pass(Duration::from_secs(5)).await;
        fakes.cluster.apply(named("web", "shop", &["*.example.org"]));
        fakes.pass(Duration::from_secs(10)).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["*.example.org"]);
        fakes.pass(HOUR).await;
        let told = fakes.cluster.events("bad", "shop");
        let about: Vec<_> = told.iter().filter(|one| one.note.contains("SERVFAIL")).collect();
        assert_eq!(about.len(), 1, "{told:?}");
        assert_eq!(fakes.ca.orders(), 2, "that of the zone with errors waits");
    });
}
