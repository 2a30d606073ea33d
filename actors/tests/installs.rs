//! Two installs in one cluster, each with a CA, an account and a journal of its own, and Secrets
//! that name no install: on fakes and a paused clock.

use std::time::Duration;

use ingress_acme_actors::domain::ingress::{IngressKey, SecretKey};
use ingress_acme_actors::fakes::{
    DIRECTORY, Fakes, INSTALL, SECOND_INSTALL, named as ingress, our_secret, shop, with_tls,
};
use ingress_acme_actors::operator::Settings;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// Life of a certificate that is renewed after three to four days.
const LIFE: Duration = Duration::from_hours(160);
const STAGING: &str = "https://second.example/directory";

/// Settings of the second install, at another CA: staging beside production.
fn staging() -> Settings {
    let (install_id, directory) = (SECOND_INSTALL.to_owned(), STAGING.to_owned());
    Settings { install_id, directory, ..Fakes::settings() }
}

/// Orders and certificates of both installs.
fn counts(first: &Fakes, second: &Fakes) -> [usize; 4] {
    [first.ca.orders(), first.ca.issued().len(), second.ca.orders(), second.ca.issued().len()]
}

fn key(name: &str) -> SecretKey {
    SecretKey::new("web", name)
}

/// Before, each replaced the certificates of the other at every scan: 24 a day.
#[test]
fn two_installs_side_by_side_order_each_certificate_once_and_no_more_in_three_hours() {
    Fakes::paused(async {
        let first = Fakes::default();
        let second = first.second_install();
        first.operator(Fakes::settings()).await;
        for number in 0..10 {
            let name = format!("s{number}");
            first.cluster.apply(ingress("web", &name, &[&format!("{name}.example.com")]));
        }
        first.pass(MINUTE).await;
        assert_eq!(counts(&first, &second), [10, 10, 0, 0]);
        second.operator(staging()).await;
        first.pass(3 * HOUR).await;
        assert_eq!(counts(&first, &second), [10, 10, 0, 0]);
        assert_eq!(first.cluster.calls("install"), 10);
        for number in 0..10 {
            let name = format!("s{number}");
            let secret = first.cluster.secret("web", &name).unwrap();
            assert_eq!(secret.install.as_deref(), Some(INSTALL));
            assert_eq!(secret.view.directory.as_deref(), Some(DIRECTORY));
            let events = first.cluster.events("web", &name);
            let told = events.iter().filter(|event| event.reason == "Restricted");
            let told: Vec<&str> = told.map(|event| event.note.as_str()).collect();
            assert_eq!(told.len(), 1, "once, in three hours: {events:?}");
            for word in [INSTALL, &name, "kubectl -n web annotate secret", "install=second"] {
                assert!(told[0].contains(word), "{word} in {}", told[0]);
            }
        }
        second.ca.set_life(365 * DAY);
        first.assert_stable().await;
    });
}

/// Both order at the same moment, because neither sees the work of the other.
#[test]
fn where_both_installs_meet_an_ingress_without_a_certificate_the_first_to_write_has_it() {
    Fakes::paused(async {
        let first = Fakes::default();
        let second = first.second_install();
        first.operator(Fakes::settings()).await;
        second.operator(staging()).await;
        for number in 0..10 {
            let name = format!("s{number}");
            first.cluster.apply(ingress("web", &name, &[&format!("{name}.example.com")]));
        }
        first.pass(2 * HOUR).await;
        let (then, owners) = (counts(&first, &second), installs(&first));
        assert!(then.iter().all(|count| *count <= 10), "one order of each at most: {then:?}");
        first.pass(3 * HOUR).await;
        assert_eq!(counts(&first, &second), then);
        assert_eq!(installs(&first), owners, "no Secret changes hands");
        assert_eq!((first.ca.open_orders(), second.ca.open_orders()), (0, 0));
        second.ca.set_life(365 * DAY);
        first.assert_stable().await;
    });
}

/// The install of each Secret `s0` … `s9`.
fn installs(fakes: &Fakes) -> Vec<Option<String>> {
    let secret = |number| fakes.cluster.secret("web", &format!("s{number}"));
    (0..10).map(|number| secret(number).and_then(|secret| secret.install)).collect()
}

/// Both installs read the annotation, so each would take the Secret back, forever.
#[test]
fn adopt_secret_takes_no_secret_of_another_install() {
    Fakes::paused(async {
        let first = Fakes::default();
        let second = first.second_install();
        first.operator(Fakes::settings()).await;
        let mut adopting = shop();
        adopting.annotations.insert("adopt-secret".to_owned(), "true".to_owned());
        first.cluster.apply(adopting.clone());
        first.pass(MINUTE).await;
        second.operator(staging()).await;
        // The Secret does not serve the new host, so the second install has something to do.
        adopting.tls[0].hosts.push("b.example.com".to_owned());
        adopting.rule_hosts.push("b.example.com".to_owned());
        first.kill();
        first.cluster.apply(adopting);
        first.pass(3 * HOUR).await;
        assert_eq!(counts(&first, &second), [1, 1, 0, 0]);
        let events = first.cluster.events("web", "shop");
        let told = events.iter().filter(|event| event.reason == "Conflict");
        let told: Vec<&str> = told.map(|event| event.note.as_str()).collect();
        assert!(
            !told.is_empty() && told.iter().all(|note| note.contains("install=second")),
            "{told:?}"
        );
        first.operator(Fakes::settings()).await;
        first.pass(MINUTE).await;
        assert_eq!(counts(&first, &second), [2, 2, 0, 0], "its own install serves the new host");
        first.assert_stable().await;
    });
}

#[test]
fn a_secret_that_is_handed_over_is_renewed_by_the_other_install_from_then_on() {
    Fakes::paused(async {
        let first = Fakes::default();
        let second = first.second_install();
        first.operator(Fakes::settings()).await;
        first.cluster.apply(shop());
        first.pass(MINUTE).await;
        second.operator(staging()).await;
        second.ca.set_life(LIFE);
        first.cluster.hand_over(&key("shop"), SECOND_INSTALL);
        first.pass(3 * HOUR).await;
        assert_eq!(counts(&first, &second), [1, 1, 1, 1]);
        let secret = first.cluster.secret("web", "shop").unwrap();
        assert_eq!(secret.view.directory.as_deref(), Some(STAGING));
        first.pass(4 * DAY).await;
        assert_eq!(counts(&first, &second), [1, 1, 2, 2]);
        second.ca.set_life(365 * DAY);
        second.assert_stable().await;
    });
}

/// Starts from the objects of 0.1.0, which named neither the install nor the account.
#[test]
fn a_secret_of_0_1_0_is_renewed_and_marked_by_the_install_that_renews_it() {
    for second in [false, true] {
        Fakes::paused(async move {
            let first = Fakes::default();
            // At the CA that issued the certificate, whatever the install is called.
            let fakes = if second { first.second_install() } else { first };
            let now = fakes.clock.now();
            let (from, until) = (now.as_millis(), (now + LIFE).as_millis());
            let chain = format!("key|a.example.com|{from}|{until}|7");
            fakes.cluster.put_secret(&key("shop"), our_secret(&chain, "key"));
            fakes.cluster.apply(shop());
            fakes.ca.number_from(7);
            let install_id = fakes.install_id.to_owned();
            fakes.operator(Settings { install_id, ..Fakes::settings() }).await;
            fakes.pass(2 * DAY).await;
            assert_eq!(fakes.ca.orders(), 0, "it is good");
            fakes.pass(2 * DAY).await;
            assert_eq!(fakes.ca.orders(), 1);
            let secret = fakes.cluster.secret("web", "shop").unwrap();
            assert_eq!(secret.install.as_deref(), Some(fakes.install_id));
            assert!(secret.view.account.is_some_and(|url| url.ends_with("/account/1")));
            let replaced = fakes.ca.replaced();
            assert_eq!(replaced.len(), 1, "an unknown account may be ours");
            fakes.assert_stable().await;
        });
    }
}

#[test]
fn an_order_of_another_account_names_no_certificate_of_the_lost_one() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.set_life(LIFE);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        fakes.ca.change_account();
        fakes.pass(4 * DAY).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.replaced().len()), (2, 0));
        fakes.pass(3 * DAY).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.replaced().len()), (3, 1));
        fakes.assert_stable().await;
    });
}

#[test]
fn a_restored_secret_without_owners_is_adopted_by_an_ingress_that_is_made_again() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        let mut backup = fakes.cluster.secret("web", "shop").unwrap();
        let before = fakes.cluster.view("web", "shop").unwrap().uid;
        fakes.cluster.delete(&IngressKey::new("web", "shop"));
        assert!(fakes.cluster.secret("web", "shop").is_none(), "it goes with its owner");
        backup.owners.clear();
        backup.view.owners.clear();
        fakes.cluster.put_secret(&key("shop"), backup);
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        let uid = fakes.cluster.view("web", "shop").unwrap().uid;
        assert_ne!(uid, before);
        let secret = fakes.cluster.secret("web", "shop").unwrap();
        assert_eq!(secret.owners, [uid.to_string()].into());
        assert_eq!(fakes.ca.orders(), 1, "the restored certificate serves");
        fakes.cluster.delete(&IngressKey::new("web", "shop"));
        assert!(fakes.cluster.secret("web", "shop").is_none());
        fakes.assert_stable().await;
    });
}

#[test]
fn without_owner_references_a_secret_outlives_its_ingress_and_serves_the_next_one() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.set_life(LIFE);
        let without = || Settings { owner_references: false, ..Fakes::settings() };
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(with_tls("old", "old", &["old.example.com"]));
        fakes.pass(MINUTE).await;
        fakes.kill();
        fakes.operator(without()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        let owners = |name: &str| fakes.cluster.secret("web", name).unwrap().owners.len();
        assert_eq!((owners("shop"), owners("old")), (0, 1), "those that are set stay");
        fakes.cluster.delete(&IngressKey::new("web", "shop"));
        fakes.pass(HOUR).await;
        fakes.cluster.apply(shop());
        fakes.pass(3 * HOUR).await;
        assert_eq!((fakes.ca.orders(), fakes.cluster.calls("set_metadata")), (2, 0));
        fakes.pass(4 * DAY).await;
        assert_eq!(fakes.ca.orders(), 4, "both are renewed");
        assert_eq!((owners("shop"), owners("old")), (0, 1), "also at a renewal");

        // Back again: the next scan sets the owners.
        fakes.kill();
        fakes.operator(Fakes::settings()).await;
        fakes.pass(MINUTE).await;
        assert_eq!((owners("shop"), owners("old"), fakes.ca.orders()), (1, 1, 4));
        fakes.assert_stable().await;
    });
}
