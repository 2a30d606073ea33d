//! Several CAs by `--cas-file`: which one each certificate is ordered from, and what a changed
//! annotation or file costs; on a paused clock.

use std::time::Duration;

use ingress_acme_actors::domain::cas::{Ca, Cas, DefaultCa, FallbackTo, Reissue, Scope, Source};
use ingress_acme_actors::domain::certificate::KeyAlgorithm;
use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::ingress::{IngressKey, IngressView};
use ingress_acme_actors::domain::log::segment::replay;
use ingress_acme_actors::domain::public_name::PublicCa;
use ingress_acme_actors::domain::rate_limits::{LimitScope, RateLimit};
use ingress_acme_actors::fakes::{
    DIRECTORY, FALLBACK_DIRECTORY, Fakes, THIRD_DIRECTORY, named as ingress, reasons,
};
use ingress_acme_actors::reporting::reporter::{ListIngresses, Search};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn ca(name: &str, directory: &str, allow: &[&str]) -> Ca {
    let namespaces: Vec<String> = allow.iter().map(|&one| one.to_owned()).collect();
    let allow = (!namespaces.is_empty()).then(|| Scope { namespaces, domains: Vec::new() });
    Ca {
        name: name.to_owned(),
        directory: directory.to_owned(),
        allow: allow.into_iter().collect(),
        ..Ca::default()
    }
}

/// The CAs a (the default), b (for the namespace `web` to choose), and c (for nobody).
fn file() -> Cas {
    Cas {
        first: ca("a", DIRECTORY, &[]),
        others: vec![ca("b", FALLBACK_DIRECTORY, &["web"]), ca("c", THIRD_DIRECTORY, &[])],
        defaults: Vec::new(),
        reissue: Reissue::AtRenewal,
        source: Source::File,
    }
}

/// A world with the file, and an operator.
async fn world(file: Cas) -> Fakes {
    let fakes = Fakes::default();
    fakes.write_file(file);
    fakes.operator(Fakes::settings()).await;
    fakes
}

/// `web/shop`, with a CA that its annotation asks for.
fn shop(asks: Option<&str>) -> IngressView {
    let mut view = ingress("web", "shop", &["a.example.com"]);
    view.annotations.extend(asks.map(|ca| ("ca".into(), ca.into())));
    view
}

/// Certificates of each of the CAs.
fn issued(fakes: &Fakes) -> [usize; 3] {
    [&fakes.ca, &fakes.fallback, &fakes.rehearsal].map(|ca| ca.issued().len())
}

/// Orders at each of the CAs.
fn orders(fakes: &Fakes) -> [usize; 3] {
    [&fakes.ca, &fakes.fallback, &fakes.rehearsal].map(|ca| ca.orders())
}

fn directory(fakes: &Fakes, name: &str) -> String {
    let secret = fakes.cluster.secret("web", name).expect("it is there");
    secret.view.directory.expect("its CA is noted")
}

#[test]
fn an_annotation_from_a_to_b_to_a_is_two_further_certificates_and_no_more() {
    Fakes::paused(async {
        let fakes = world(file()).await;
        fakes.cluster.apply(shop(None));
        fakes.pass(MINUTE).await;
        assert_eq!(issued(&fakes), [1, 0, 0]);
        fakes.cluster.apply(shop(Some("b")));
        fakes.pass(MINUTE).await;
        assert_eq!(issued(&fakes), [1, 1, 0], "at once, without a scan");
        assert_eq!(directory(&fakes, "shop"), FALLBACK_DIRECTORY);
        fakes.kill();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop(Some("a")));
        fakes.pass(2 * HOUR).await;
        assert_eq!(issued(&fakes), [2, 1, 0]);
        // The default is the same CA.
        fakes.cluster.apply(shop(None));
        fakes.assert_stable().await;
        assert_eq!(issued(&fakes), [2, 1, 0]);
    });
}

#[test]
fn an_annotation_that_changes_during_an_issuance_is_answered_once() {
    Fakes::paused(async {
        let fakes = world(file()).await;
        fakes.fallback.stall(true);
        fakes.cluster.apply(shop(Some("b")));
        fakes.pass(5 * MINUTE).await;
        assert_eq!(orders(&fakes), [0, 1, 0]);
        fakes.cluster.apply(shop(Some("a")));
        fakes.pass(2 * HOUR).await;
        assert_eq!(issued(&fakes), [1, 0, 0]);
        fakes.fallback.stall(false);
        fakes.assert_stable().await;
        assert_eq!(issued(&fakes), [1, 0, 0]);
    });
}

#[test]
fn other_names_and_another_order_of_the_cas_order_nothing() {
    Fakes::paused(async {
        let fakes = world(file()).await;
        fakes.cluster.apply(shop(Some("b")));
        fakes.cluster.apply(ingress("web", "other", &["b.example.com"]));
        fakes.pass(MINUTE).await;
        assert_eq!(issued(&fakes), [1, 1, 0]);
        let mut renamed = file();
        for ca in renamed.all_mut() {
            ca.name = format!("new-{}", ca.name);
        }
        let rule = DefaultCa { scope: Scope::default(), directory: DIRECTORY.to_owned() };
        let first = renamed.others.remove(0);
        renamed.others.push(std::mem::replace(&mut renamed.first, first));
        renamed.defaults = vec![rule];
        renamed.reissue = Reissue::Now;
        fakes.write_file(renamed);
        fakes.pass(2 * HOUR).await;
        // The old name is that of no CA: one Event, and the certificate stays with its CA.
        let told = reasons(&fakes.cluster.events("web", "shop"));
        assert_eq!(told.iter().filter(|reason| **reason == "Skipped").count(), 1, "{told:?}");
        fakes.cluster.apply(shop(Some("new-b")));
        fakes.assert_stable().await;
        assert_eq!(issued(&fakes), [1, 1, 0]);
    });
}

#[test]
fn a_ca_that_left_the_file_and_another_default_count_from_the_next_renewal_on() {
    Fakes::paused(async {
        let fakes = world(file()).await;
        fakes.cluster.apply(shop(None));
        fakes.pass(MINUTE).await;
        let without_a = Cas { first: ca("c", THIRD_DIRECTORY, &[]), others: Vec::new(), ..file() };
        fakes.write_file(without_a.clone());
        fakes.pass(50 * DAY).await;
        assert_eq!(issued(&fakes), [1, 0, 0]);
        fakes.pass(15 * DAY).await;
        assert_eq!(issued(&fakes), [1, 0, 1]);
        let rule = DefaultCa { scope: Scope::default(), directory: DIRECTORY.to_owned() };
        let others = vec![ca("a", DIRECTORY, &[])];
        fakes.write_file(Cas { others, defaults: vec![rule], ..without_a });
        fakes.pass(40 * DAY).await;
        assert_eq!(issued(&fakes), [1, 0, 1]);
        fakes.pass(25 * DAY).await;
        assert_eq!(issued(&fakes), [2, 0, 1]);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_ca_that_is_refused_is_told_once_orders_nothing_and_the_certificate_is_renewed_where_it_is_from()
 {
    Fakes::paused(async {
        let fakes = world(file()).await;
        fakes.cluster.apply(shop(Some("b")));
        fakes.pass(MINUTE).await;
        for asks in ["c", "unknown"] {
            fakes.cluster.apply(shop(Some(asks)));
            let mut new = ingress("web", "new", &["new.example.com"]);
            new.annotations.insert("ca".into(), asks.into());
            fakes.cluster.apply(new);
            fakes.pass(DAY / 2).await;
            assert_eq!(orders(&fakes), [0, 1, 0], "{asks}");
            for name in ["shop", "new"] {
                let events = fakes.cluster.events("web", name);
                let told = events.iter().filter(|event| event.note.contains(&format!("`{asks}`")));
                assert_eq!(told.count(), 1, "{asks} for {name}: {events:?}");
            }
        }
        fakes.pass(65 * DAY).await;
        assert_eq!(issued(&fakes), [0, 2, 0], "renewed by the CA that issued it");
        // Once it is allowed, the Ingress has its CA.
        let mut allows = file();
        allows.others[1].name = "unknown".to_owned();
        allows.others[1].allow = allows.others[0].allow.clone();
        fakes.write_file(allows);
        fakes.pass(HOUR).await;
        assert_eq!(issued(&fakes), [0, 2, 2]);
        assert_eq!(directory(&fakes, "shop"), THIRD_DIRECTORY);
        fakes.assert_stable().await;
    });
}

#[test]
fn reissue_now_is_the_most_urgent_first_within_the_limits_of_the_new_ca() {
    Fakes::paused(async {
        let fakes = world(file()).await;
        let lives = [60, 20, 40, 50, 30].map(|days| days * DAY);
        for (number, life) in lives.into_iter().enumerate() {
            fakes.ca.set_life(life);
            let host = format!("h{number}.example.com");
            fakes.cluster.apply(ingress("web", &format!("i{number}"), &[&host]));
            fakes.pass(MINUTE).await;
        }
        assert_eq!(issued(&fakes), [5, 0, 0]);
        // The new CA lets one order pass each hour.
        let (fallback, clock) = (fakes.fallback.clone(), fakes.clock.clone());
        let mut next = clock.now();
        fallback.set_policy(move |_| {
            let now = clock.now();
            let limit = RateLimit { scope: LimitScope::Account, pace: Some(HOUR) };
            let mut refusal = Failure::new(FailureClass::RateLimited, "too many orders");
            (refusal.limit, refusal.retry_after) = (Some(limit), Some(HOUR));
            if now < next {
                return Some(refusal);
            }
            next = now + HOUR - MINUTE;
            None
        });
        let mut now = file();
        let rule = DefaultCa { scope: Scope::default(), directory: FALLBACK_DIRECTORY.to_owned() };
        (now.defaults, now.reissue) = (vec![rule], Reissue::Now);
        fakes.write_file(now);
        fakes.pass(MINUTE).await;
        let served = |name: &str| fakes.cluster.names("web", name).len();
        assert_eq!([served("i0"), served("i1"), served("i2")], [1; 3], "the old ones serve");
        fakes.pass(12 * HOUR).await;
        // The second one met the limit, and comes back at a time of its own.
        let order = fakes.fallback.issued().into_iter().filter_map(|mut names| names.pop_first());
        let order: Vec<String> = order.map(|name| name.to_string()).collect();
        let others: Vec<&str> = order.iter().filter_map(|name| name.split('.').next()).collect();
        let others: Vec<&str> = others.into_iter().filter(|name| *name != "h4").collect();
        assert_eq!(others, ["h1", "h2", "h3", "h0"]);
        fakes.assert_stable().await;
        assert_eq!(issued(&fakes), [5, 5, 0]);
    });
}

#[test]
fn a_limit_of_one_ca_stops_no_order_of_another() {
    Fakes::paused(async {
        let fakes = world(file()).await;
        let limit = RateLimit { scope: LimitScope::Account, pace: None };
        let mut refusal = Failure::new(FailureClass::RateLimited, "too many orders");
        (refusal.limit, refusal.retry_after) = (Some(limit), Some(DAY));
        fakes.ca.refuse(Some(refusal));
        fakes.cluster.apply(ingress("web", "first", &["first.example.com"]));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.calls("open_order"), 1);
        fakes.cluster.apply(ingress("web", "second", &["second.example.com"]));
        fakes.cluster.apply(shop(Some("b")));
        fakes.pass(10 * MINUTE).await;
        assert_eq!((issued(&fakes), fakes.cluster.calls("open_order")), ([0, 1, 0], 2));
        let told = reasons(&fakes.cluster.events("web", "second"));
        assert!(told.contains(&"Waiting"), "{told:?}");
        // A restart knows the limit of each CA.
        fakes.kill();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(ingress("web", "third", &["third.example.com"]));
        fakes.pass(10 * MINUTE).await;
        assert_eq!(fakes.cluster.calls("open_order"), 2);
        // A certificate that waits may have another CA.
        let mut second = ingress("web", "second", &["second.example.com"]);
        second.annotations.insert("ca".into(), "b".into());
        fakes.cluster.apply(second);
        fakes.pass(HOUR + MINUTE).await;
        assert_eq!(issued(&fakes), [0, 2, 0], "a job in a queue is looked at each hour");
        fakes.ca.refuse(None);
        fakes.pass(2 * DAY).await;
        assert_eq!(issued(&fakes), [2, 2, 0]);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_file_with_the_cas_of_the_flags_orders_nothing_and_resumes_what_is_open() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(ingress("web", "other", &["b.example.com"]));
        fakes.pass(MINUTE).await;
        fakes.ca.be_silent_for("accept");
        fakes.cluster.apply(shop(None));
        fakes.pass(MINUTE / 4).await;
        assert_eq!((orders(&fakes), issued(&fakes)), ([2, 0, 0], [1, 0, 0]));
        fakes.kill();
        fakes.write_file(file());
        fakes.operator(Fakes::settings()).await;
        fakes.pass(2 * HOUR).await;
        assert_eq!((orders(&fakes), issued(&fakes)), ([2, 0, 0], [2, 0, 0]));
        fakes.assert_stable().await;
        assert_eq!(orders(&fakes), [2, 0, 0]);
    });
}

#[test]
fn fallbacks_are_asked_in_their_order_and_the_ca_itself_after_the_last() {
    Fakes::paused(async {
        let down = || Some(Failure::new(FailureClass::AcmeServer, "serverInternal"));
        let mut with_fallbacks = file();
        let fallback = |directory: &str, after| FallbackTo { directory: directory.into(), after };
        with_fallbacks.first.fallbacks =
            vec![fallback(FALLBACK_DIRECTORY, 6 * HOUR), fallback(THIRD_DIRECTORY, 12 * HOUR)];
        let fakes = world(with_fallbacks).await;
        fakes.ca.refuse(down());
        fakes.fallback.refuse(down());
        fakes.cluster.apply(shop(None));
        fakes.pass(11 * HOUR).await;
        assert_eq!(issued(&fakes), [0, 0, 0]);
        fakes.pass(6 * HOUR).await;
        assert_eq!(issued(&fakes), [0, 0, 1]);
        let secret = fakes.cluster.secret("web", "shop").unwrap();
        assert_eq!(secret.view.meant_for(), Some(DIRECTORY));
        fakes.ca.refuse(None);
        fakes.pass(50 * DAY).await;
        assert_eq!(issued(&fakes), [0, 0, 1]);
        fakes.pass(15 * DAY).await;
        assert_eq!(issued(&fakes), [1, 0, 1], "the CA itself at the next renewal");
        fakes.assert_stable().await;
    });
}

#[test]
fn each_certificate_is_renewed_in_the_window_of_its_own_ca() {
    use ingress_acme_actors::domain::validity::renewal::RenewalWindow;
    Fakes::paused(async {
        let fakes = world(file()).await;
        let now = fakes.clock.now();
        let window = RenewalWindow { start: now + 5 * DAY, end: now + 6 * DAY, explanation: None };
        fakes.fallback.set_suggestions(move |_| Some(window.clone()));
        fakes.cluster.apply(shop(Some("b")));
        fakes.cluster.apply(ingress("web", "other", &["b.example.com"]));
        fakes.pass(4 * DAY).await;
        assert_eq!(issued(&fakes), [1, 1, 0]);
        fakes.pass(3 * DAY).await;
        assert_eq!(issued(&fakes)[0], 1, "the other CA names no window");
        assert!(issued(&fakes)[1] >= 2);
    });
}

/// Writes of the metadata of Secrets.
fn metadata_writes(fakes: &Fakes) -> usize {
    fakes.cluster.calls("set_metadata")
}

#[test]
fn an_annotation_that_asks_for_the_ca_that_is_there_is_noted_once_and_a_later_file_counts_from_the_renewal_on()
 {
    Fakes::paused(async {
        let fakes = world(file()).await;
        fakes.cluster.apply(shop(None));
        fakes.pass(MINUTE).await;
        fakes.cluster.apply(shop(Some("a")));
        fakes.pass(2 * HOUR).await;
        assert_eq!((issued(&fakes), metadata_writes(&fakes)), ([1, 0, 0], 1));
        // The name is another CA's now.
        let mut moved = file();
        (moved.first.directory, moved.others[1].directory) =
            (THIRD_DIRECTORY.to_owned(), DIRECTORY.to_owned());
        fakes.write_file(moved);
        fakes.pass(50 * DAY).await;
        assert_eq!((issued(&fakes), metadata_writes(&fakes)), ([1, 0, 0], 1));
        fakes.pass(15 * DAY).await;
        assert_eq!((issued(&fakes), metadata_writes(&fakes)), ([1, 0, 1], 1));
        fakes.assert_stable().await;
    });
}

#[test]
fn an_annotation_that_went_while_the_default_was_its_ca_is_no_wish_once_the_default_is_another() {
    Fakes::paused(async {
        let fakes = world(file()).await;
        fakes.cluster.apply(shop(Some("b")));
        fakes.pass(MINUTE).await;
        let rule = DefaultCa { scope: Scope::default(), directory: FALLBACK_DIRECTORY.to_owned() };
        fakes.write_file(Cas { defaults: vec![rule], ..file() });
        fakes.pass(MINUTE).await;
        fakes.cluster.apply(shop(None));
        fakes.pass(MINUTE).await;
        fakes.kill();
        fakes.write_file(file());
        fakes.operator(Fakes::settings()).await;
        fakes.pass(50 * DAY).await;
        assert_eq!((issued(&fakes), metadata_writes(&fakes)), ([0, 1, 0], 1));
        fakes.pass(15 * DAY).await;
        assert_eq!(issued(&fakes), [1, 1, 0]);
        // One that goes while the default is another CA is a wish.
        fakes.cluster.apply(shop(Some("b")));
        fakes.pass(MINUTE).await;
        fakes.cluster.apply(shop(None));
        fakes.pass(MINUTE).await;
        assert_eq!(issued(&fakes), [2, 2, 0]);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_certificate_of_a_refused_ca_is_renewed_with_the_key_and_profile_of_the_ca_that_renews_it() {
    Fakes::paused(async {
        let mut with_keys = file();
        with_keys.first.algorithm = Some(KeyAlgorithm::EcdsaP384);
        with_keys.first.profile = Some("of-a".to_owned());
        with_keys.others[0].algorithm = Some(KeyAlgorithm::Rsa2048);
        with_keys.others[0].profile = Some("of-b".to_owned());
        let fakes = world(with_keys.clone()).await;
        fakes.cluster.apply(shop(Some("b")));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.algorithm(), Some(KeyAlgorithm::Rsa2048));
        fakes.cluster.apply(ingress("web", "other", &["b.example.com"]));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.algorithm(), Some(KeyAlgorithm::EcdsaP384));
        fakes.cluster.delete(&IngressKey::new("web", "other"));
        fakes.cluster.apply(shop(Some("unknown")));
        fakes.pass(65 * DAY).await;
        assert_eq!(issued(&fakes), [1, 2, 0]);
        assert_eq!(fakes.ca.algorithm(), Some(KeyAlgorithm::Rsa2048));
        // At a fallback CA, the key is one of that CA's.
        with_keys.first.fallbacks =
            vec![FallbackTo { directory: FALLBACK_DIRECTORY.to_owned(), after: HOUR }];
        fakes.write_file(with_keys);
        fakes.ca.refuse(Some(Failure::new(FailureClass::AcmeServer, "serverInternal")));
        fakes.cluster.apply(ingress("web", "new", &["new.example.com"]));
        fakes.pass(6 * HOUR).await;
        assert_eq!(issued(&fakes), [1, 3, 0]);
        assert_eq!(fakes.ca.algorithm(), Some(KeyAlgorithm::Rsa2048));
    });
}

/// An Ingress of `web` with the Secret `shared`.
fn sharer(name: &str, host: &str, asks: Option<&str>) -> IngressView {
    let mut view = ingress("web", name, &[host]);
    view.tls[0].secret_name = Some("shared".to_owned());
    view.annotations.extend(asks.map(|ca| ("ca".into(), ca.into())));
    view
}

#[test]
fn each_ingress_that_shares_a_secret_and_asks_for_a_refused_ca_is_told_once() {
    Fakes::paused(async {
        let mut by_domain = file();
        let domains = vec!["corp.example".to_owned()];
        by_domain.others[0].allow = vec![Scope { namespaces: Vec::new(), domains }];
        let fakes = world(by_domain).await;
        fakes.cluster.apply(sharer("fits", "a.corp.example", Some("b")));
        fakes.cluster.apply(sharer("fits-too", "b.corp.example", Some("b")));
        fakes.pass(MINUTE).await;
        assert_eq!(issued(&fakes), [0, 1, 0]);
        let told = |name: &str| {
            let events = fakes.cluster.events("web", name);
            events.iter().filter(|event| event.note.contains("names a CA that may not")).count()
        };
        // A name of a neighbour makes the CA one that none of them may have.
        fakes.cluster.apply(sharer("silent", "shop.example.com", None));
        fakes.pass(MINUTE).await;
        assert_eq!(["fits", "fits-too", "silent"].map(told), [1, 1, 0]);
        fakes.cluster.apply(sharer("asks", "other.example.com", Some("b")));
        fakes.pass(MINUTE).await;
        assert_eq!(["fits", "fits-too", "silent", "asks"].map(told), [1, 1, 0, 1]);
        assert_eq!(issued(&fakes), [0, 1, 0]);
    });
}

#[test]
fn sharers_are_told_of_a_refusal_also_where_there_is_no_certificate_yet() {
    Fakes::paused(async {
        let mut by_domain = file();
        let domains = vec!["corp.example".to_owned()];
        by_domain.others[0].allow = vec![Scope { namespaces: Vec::new(), domains }];
        let fakes = world(by_domain).await;
        fakes.cluster.apply(sharer("asks", "other.example.com", Some("b")));
        fakes.pass(MINUTE).await;
        fakes.cluster.apply(sharer("fits", "a.corp.example", Some("b")));
        fakes.pass(MINUTE).await;
        for name in ["asks", "fits"] {
            let told = reasons(&fakes.cluster.events("web", name));
            assert_eq!(told, ["Skipped"], "{name}");
        }
        assert_eq!(orders(&fakes), [0, 0, 0]);
    });
}

#[test]
fn a_public_ca_is_told_no_internal_name_that_a_refused_annotation_leads_to_it() {
    Fakes::paused(async {
        let mut with_public = file();
        with_public.first.public = Some(PublicCa::Yes);
        let fakes = world(with_public.clone()).await;
        let mut view = shop(Some("b"));
        view.rule_hosts.push("db.internal".to_owned());
        view.tls[0].hosts.push("db.internal".to_owned());
        fakes.cluster.apply(view);
        fakes.pass(MINUTE).await;
        assert_eq!(issued(&fakes), [0, 1, 0]);
        assert_eq!(fakes.cluster.names("web", "shop").len(), 2);
        // The private CA leaves the file: the default is public, and the annotation is refused.
        let private = with_public.others.remove(0);
        fakes.write_file(with_public.clone());
        fakes.pass(65 * DAY).await;
        assert_eq!(orders(&fakes), [0, 1, 0]);
        let events = fakes.cluster.events("web", "shop");
        let told = events.iter().any(|event| event.note.contains("host db.internal belongs to"));
        assert!(told, "{events:?}");
        with_public.others.insert(0, private);
        fakes.write_file(with_public);
        fakes.pass(2 * DAY).await;
        assert_eq!(issued(&fakes), [0, 2, 0]);
    });
}

/// Walks from a to b to a with an operator that is killed after `calls` port calls, and another one
/// that goes on. Returns whether the first one died on the way.
fn killed_after(calls: u64) -> bool {
    Fakes::paused(async move {
        let fakes = world(file()).await;
        fakes.cluster.apply(shop(None));
        fakes.pass(5 * MINUTE).await;
        fakes.kill();
        let crash_point = fakes.operator_crashing_after(Fakes::settings(), calls);
        let mut died = false;
        for (asks, expected) in [("b", [1, 1, 0]), ("a", [2, 1, 0])] {
            fakes.cluster.apply(shop(Some(asks)));
            fakes.pass(5 * MINUTE).await;
            if crash_point.has_ended() && !died {
                died = true;
                fakes.kill();
                fakes.operator(Fakes::settings()).await;
                fakes.pass(10 * MINUTE).await;
            }
            assert_eq!(issued(&fakes), expected, "killed after {calls}, {asks}");
            let of = if asks == "b" { FALLBACK_DIRECTORY } else { DIRECTORY };
            assert_eq!(directory(&fakes, "shop"), of, "killed after {calls}");
            let secret = fakes.cluster.secret("web", "shop").expect("it was just there");
            let leaf = secret.view.certificate.expect("it is a certificate");
            assert!(leaf.key_matches, "killed after {calls}: the key is the journaled one");
        }
        let [a, b, c] = orders(&fakes);
        assert!(a <= 3 && b <= 2 && c == 0, "killed after {calls}: {a} and {b} orders");
        assert!(a + b <= 4, "killed after {calls}: one kill costs one order at most");
        assert!(fakes.cluster.routed().is_empty(), "killed after {calls}: the routes have gone");
        assert!(replay(&fakes.segments.log()).live.is_empty(), "killed after {calls}");
        fakes.assert_stable().await;
        assert_eq!(issued(&fakes), [2, 1, 0], "killed after {calls}");
        died
    })
}

#[test]
fn killed_after_any_call_from_a_to_b_to_a_there_are_two_further_certificates_and_no_more() {
    let mut calls = 1;
    while killed_after(calls) {
        calls += 1;
    }
    assert!(calls > 24, "the whole way was walked: {calls} calls");
}

#[test]
fn the_rows_of_certificates_have_the_name_of_their_ca_where_there_are_several() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.write_file(file());
        let operator = fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop(Some("b")));
        fakes.cluster.apply(ingress("web", "other", &["b.example.com"]));
        fakes.ca.stall(true);
        fakes.pass(MINUTE).await;
        let cas = async || {
            let query = ListIngresses { search: Search::default(), limit: 9, offset: 0 };
            let listing = operator.reporter.send(query).await.expect("an answer");
            let certificates = listing.ingresses.into_iter().flat_map(|row| row.certificates);
            certificates.map(|certificate| certificate.ca).collect::<Vec<_>>()
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(cas().await, [named("a"), named("b")], "the first one is to have its CA");
        // A refused annotation changes nothing about who has issued the certificate.
        fakes.cluster.apply(shop(Some("unknown")));
        fakes.pass(MINUTE).await;
        assert_eq!(cas().await, [named("a"), named("b")]);
        fakes.write_file(Cas { others: Vec::new(), ..file() });
        fakes.pass(MINUTE).await;
        assert_eq!(cas().await, [None, None], "there is one CA only");
    });
}
