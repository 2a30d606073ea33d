//! Names of Secrets that are ours to choose, and Ingresses with the same hosts: on fakes, over
//! restarts and from the objects of release 0.1.0, which chose the name of the Ingress.

use std::collections::BTreeSet;
use std::time::Duration;

use ingress_acme_actors::domain::desired::selection::Selection;
use ingress_acme_actors::domain::ingress::{IngressKey, IngressView, SecretKey};
use ingress_acme_actors::domain::marks::Mark;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::fakes::{
    FakeSecret, Fakes, foreign_secret, ingress, our_secret, reasons, with_tls,
};
use ingress_acme_actors::operator::Settings;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const HOST: &str = "shop.example.com";

fn shop() -> IngressView {
    ingress("web", "shop", &[HOST])
}

/// Settings of `--fill-tls false`.
fn unfilled() -> Settings {
    let selection = Selection { leaves_tls: true, ..Selection::default() };
    Settings { selection, ..Fakes::settings() }
}

/// An application's own Secret.
fn opaque() -> FakeSecret {
    let mut secret = foreign_secret();
    secret.view.is_tls = false;
    secret
}

/// Name of the Secret in `spec.tls` of an Ingress.
fn used(fakes: &Fakes, name: &str) -> String {
    let view = fakes.cluster.view("web", name).expect("it is there");
    view.tls.first().and_then(|block| block.secret_name.clone()).unwrap_or_default()
}

#[test]
fn an_ingress_with_the_name_of_its_applications_own_secret_has_a_certificate_in_name_tls() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.put_secret(&SecretKey::new("web", "shop"), opaque());
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), [HOST]);
        assert_eq!(used(&fakes, "shop"), "shop-tls");
        assert_eq!(fakes.cluster.secret("web", "shop").unwrap().chain, opaque().chain);
        assert_eq!(reasons(&fakes.cluster.events("web", "shop")), ["Issued"]);
        fakes.assert_stable().await;
    });
}

#[test]
fn filled_in_names_stay_over_a_restart_and_order_nothing_new() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.put_secret(&SecretKey::new("web", "other-tls"), opaque());
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        fakes.cluster.apply(ingress("web", "oauth2-proxy", &[HOST]));
        fakes.cluster.apply(ingress("web", "other", &["other.example.com"]));
        fakes.pass(MINUTE).await;
        let names = || ["shop", "oauth2-proxy", "other"].map(|name| used(&fakes, name));
        assert_eq!(names(), ["shop-tls", "shop-tls", "other-tls-2"]);
        fakes.kill();
        fakes.cluster.delete_secret(&SecretKey::new("web", "other-tls"));
        fakes.operator(Fakes::settings()).await;
        fakes.pass(2 * DAY).await;
        assert_eq!(names(), ["shop-tls", "shop-tls", "other-tls-2"]);
        assert_eq!(fakes.ca.orders(), 2, "one for each set of hosts");
        assert!(fakes.cluster.secret("web", "other-tls").is_none(), "the better name stays free");
        fakes.cluster.delete(&shop().key);
        fakes.pass(HOUR).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), [HOST], "its other owner keeps it");
        fakes.assert_stable().await;
    });
}

#[test]
fn a_secret_that_an_ingress_of_cert_manager_names_is_left_to_it_though_it_is_not_there_yet() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        let issuer = Some(Mark::OtherIssuer("cert-manager.io/issuer".to_owned()));
        let theirs = with_tls("shop-secure", "shop-tls", &["secure.example.com"]);
        fakes.cluster.apply(IngressView { mark: issuer, ..theirs });
        fakes.cluster.apply(shop());
        fakes.pass(HOUR).await;
        assert!(fakes.cluster.secret("web", "shop-tls").is_none());
        assert_eq!(fakes.cluster.names("web", "shop-tls-2"), [HOST]);
        assert_eq!(fakes.ca.orders(), 1);
    });
}

#[test]
fn a_consent_to_take_over_a_secret_reaches_no_certificate_of_another_site() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let (from, until) = (fakes.clock.now() - DAY, fakes.clock.now() + 300 * DAY);
        let chain = format!("key|other.example.com|{}|{}|7", from.as_millis(), until.as_millis());
        let mut other = our_secret(&chain, "key");
        other.view.ours = false;
        fakes.cluster.put_secret(&SecretKey::new("web", "shop-tls"), other);
        fakes.operator(Fakes::settings()).await;
        let mut adopting = shop();
        adopting.annotations.insert("adopt-secret".to_owned(), "true".to_owned());
        fakes.cluster.apply(adopting);
        fakes.pass(HOUR).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), ["other.example.com"]);
        assert_eq!(fakes.cluster.names("web", "shop-tls-2"), [HOST]);
    });
}

#[test]
fn a_consent_is_not_that_of_the_ingress_whose_secret_is_shared() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        // A certificate of a company's own CA, which does not serve any more.
        fakes.cluster.put_secret(&SecretKey::new("web", "corporate"), foreign_secret());
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(with_tls("app", "corporate", &[HOST]));
        let mut adopting = ingress("web", "oauth2-proxy", &[HOST]);
        adopting.annotations.insert("adopt-secret".to_owned(), "true".to_owned());
        fakes.cluster.apply(adopting);
        fakes.pass(DAY).await;
        assert_eq!(fakes.cluster.secret("web", "corporate").unwrap().chain, foreign_secret().chain);
        assert_eq!(used(&fakes, "oauth2-proxy"), "oauth2-proxy-tls", "it has its own");
    });
}

#[test]
fn where_name_tls_is_somebody_elses_the_next_number_is_taken_and_kept_when_the_better_one_is_free()
{
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.set_life(160 * HOUR);
        let better = SecretKey::new("web", "shop-tls");
        fakes.cluster.put_secret(&better, opaque());
        fakes.operator(unfilled()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls-2"), [HOST]);
        fakes.cluster.delete_secret(&better);
        for _ in 0..2 {
            fakes.kill();
            fakes.operator(unfilled()).await;
            fakes.pass(10 * DAY).await;
        }
        assert!(fakes.cluster.secret("web", "shop-tls").is_none(), "the choice stays");
        assert!(fakes.ca.orders() >= 4, "it is renewed");
    });
}

#[test]
fn ingress_a_tls_beside_a_each_has_a_secret_of_its_own_in_any_order() {
    for first in ["a", "a-tls"] {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            fakes.operator(Fakes::settings()).await;
            // As 0.1.0 left it: Ingress a-tls has Secret a-tls.
            let named = with_tls("a-tls", "a-tls", &["other.example.com"]);
            let plain = ingress("web", "a", &[HOST]);
            let both = if first == "a" { [plain, named] } else { [named, plain] };
            for view in both {
                fakes.cluster.apply(view);
            }
            fakes.pass(HOUR).await;
            assert_eq!(fakes.cluster.names("web", "a-tls"), ["other.example.com"]);
            assert_eq!(fakes.cluster.names("web", "a-tls-2"), [HOST]);
            assert_eq!(fakes.ca.orders(), 2);
            fakes.kill();
            fakes.operator(Fakes::settings()).await;
            fakes.pass(DAY).await;
            assert_eq!(fakes.ca.orders(), 2, "a restart merges nothing");
        });
    }
}

#[test]
fn what_0_1_0_issued_and_did_not_fill_in_keeps_the_name_of_the_ingress() {
    for settings in [Fakes::settings, unfilled] {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            fakes.ca.set_life(160 * HOUR);
            fakes.operator(Fakes::settings()).await;
            // The Secret of 0.1.0, owned by the Ingress; spec.tls was not filled in.
            fakes.cluster.apply(with_tls("shop", "shop", &[HOST]));
            fakes.pass(MINUTE).await;
            fakes.kill();
            fakes.cluster.apply(shop());
            fakes.operator(settings()).await;
            fakes.pass(HOUR).await;
            assert_eq!(fakes.ca.orders(), 1, "nothing is ordered for the upgrade");
            fakes.pass(20 * DAY).await;
            assert!(fakes.ca.orders() >= 4, "it is renewed: {}", fakes.ca.orders());
            assert!(fakes.cluster.secret("web", "shop-tls").is_none());
        });
    }
}

#[test]
fn an_ingress_that_is_deleted_and_made_again_takes_its_secret_up_before_it_is_collected() {
    for secret in ["shop-tls", "shop"] {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            fakes.operator(Fakes::settings()).await;
            // The Secret of 0.1.0 has the name of the Ingress.
            fakes.cluster.apply(if secret == "shop" {
                with_tls("shop", secret, &[HOST])
            } else {
                shop()
            });
            fakes.pass(MINUTE).await;
            let key = SecretKey::new("web", secret);
            let left = fakes.cluster.secret("web", secret).unwrap();
            fakes.cluster.delete(&IngressKey::new("web", "shop"));
            fakes.cluster.put_secret(&key, left);
            fakes.cluster.apply(shop());
            fakes.pass(HOUR).await;
            assert_eq!((used(&fakes, "shop").as_str(), fakes.ca.orders()), (secret, 1));
            fakes.assert_stable().await;
        });
    }
}

#[test]
fn a_right_that_is_missing_for_a_while_moves_no_certificate_and_is_told_once() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(unfilled()).await;
        // The Secret of 0.1.0 has the name of the Ingress.
        fakes.cluster.apply(with_tls("shop", "shop", &[HOST]));
        fakes.pass(MINUTE).await;
        fakes.kill();
        fakes.cluster.apply(shop());
        fakes.cluster.forbid("exists", true);
        fakes.operator(unfilled()).await;
        fakes.pass(DAY).await;
        let events = fakes.cluster.events("web", "shop");
        assert_eq!(reasons(&events), ["Issued", "Skipped"]);
        assert!(events[1].note.contains("403"), "{}", events[1].note);
        assert!(fakes.cluster.calls("exists") < 200, "{} calls", fakes.cluster.calls("exists"));
        fakes.cluster.forbid("exists", false);
        fakes.pass(DAY).await;
        assert_eq!(fakes.ca.orders(), 1);
        assert!(fakes.cluster.secret("web", "shop-tls").is_none());
    });
}

#[test]
fn a_spec_tls_that_an_edit_removes_is_filled_in_again_with_the_same_secret() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.put_secret(&SecretKey::new("web", "shop-tls"), opaque());
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        assert_eq!(used(&fakes, "shop"), "shop-tls-2");
        fakes.cluster.delete_secret(&SecretKey::new("web", "shop-tls"));
        fakes.cluster.apply(shop());
        fakes.pass(HOUR).await;
        assert_eq!((used(&fakes, "shop").as_str(), fakes.ca.orders()), ("shop-tls-2", 1));
        fakes.assert_stable().await;
    });
}

#[test]
fn six_ingresses_with_one_host_share_one_certificate_and_one_secret() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        let names: Vec<String> = (0..6).map(|number| format!("path-{number}")).collect();
        for name in &names {
            fakes.cluster.apply(ingress("web", name, &[HOST]));
        }
        fakes.pass(HOUR).await;
        assert_eq!(fakes.ca.orders(), 1);
        let secrets: BTreeSet<String> = names.iter().map(|name| used(&fakes, name)).collect();
        let [secret] = &secrets.iter().collect::<Vec<_>>()[..] else { panic!("{secrets:?}") };
        assert_eq!(fakes.cluster.secret("web", secret).unwrap().owners.len(), 6);
        fakes.assert_stable().await;
        fakes.kill();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.delete(&IngressKey::new("web", "path-0"));
        fakes.pass(DAY).await;
        assert_eq!(fakes.ca.orders(), 1, "one that goes leaves the others their certificate");
        assert_eq!(fakes.cluster.names("web", secret), [HOST]);
    });
}

#[test]
fn sharers_whose_spec_tls_is_not_filled_in_find_the_secret_of_the_one_that_chose_it() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.set_life(160 * HOUR);
        fakes.operator(unfilled()).await;
        fakes.cluster.apply(ingress("web", "one", &[HOST]));
        fakes.pass(MINUTE).await;
        // The oldest chooses for all, and has no Secret of its own name.
        let older = Timestamp::from_secs(-1_000_000);
        fakes.cluster.apply(IngressView { created: older, ..ingress("web", "two", &[HOST]) });
        fakes.pass(HOUR).await;
        for _ in 0..3 {
            fakes.kill();
            fakes.operator(unfilled()).await;
            fakes.pass(10 * DAY).await;
            assert!(fakes.cluster.secret("web", "two-tls").is_none());
        }
        assert_eq!(fakes.cluster.secret("web", "one-tls").unwrap().owners.len(), 2);
        assert!(fakes.ca.orders() >= 4, "it is renewed");
    });
}

/// Nothing in the cluster leads from the Ingresses that are left to the Secret: they do not name
/// it, and no Secret is listed.
#[test]
fn sharers_that_lose_the_one_that_chose_their_secret_order_once_after_a_restart_and_lose_nothing() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(unfilled()).await;
        for name in ["one", "two", "three"] {
            fakes.cluster.apply(ingress("web", name, &[HOST]));
            fakes.pass(MINUTE).await;
        }
        fakes.cluster.delete(&IngressKey::new("web", "one"));
        fakes.pass(DAY).await;
        let left = fakes.cluster.secret("web", "one-tls").unwrap();
        assert_eq!((left.owners.len(), fakes.ca.orders()), (2, 1), "both keep it");
        for _ in 0..2 {
            fakes.kill();
            fakes.operator(unfilled()).await;
            fakes.pass(DAY).await;
            assert_eq!(fakes.ca.orders(), 2, "one for both, and none for the second restart");
            assert_eq!(fakes.cluster.names("web", "two-tls"), [HOST]);
            assert_eq!(fakes.cluster.secret("web", "two-tls").unwrap().owners.len(), 2);
            assert!(fakes.cluster.secret("web", "three-tls").is_none());
            let chain = fakes.cluster.secret("web", "one-tls").unwrap().chain;
            assert_eq!(chain, left.chain, "programs that read the old one still can");
        }
    });
}

#[test]
fn of_ingresses_with_the_same_hosts_a_secret_that_one_names_already_is_that_of_all() {
    for first in [true, false] {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            fakes.operator(Fakes::settings()).await;
            let named = with_tls("app", "my-certificate", &[HOST]);
            let oauth = ingress("web", "oauth2-proxy", &[HOST]);
            let both = if first { [named, oauth] } else { [oauth, named] };
            for view in both {
                fakes.cluster.apply(view);
            }
            fakes.pass(HOUR).await;
            assert_eq!(fakes.ca.orders(), 1);
            assert_eq!(used(&fakes, "oauth2-proxy"), "my-certificate");
            fakes.assert_stable().await;
        });
    }
}

#[test]
fn an_ingress_that_gets_another_host_parts_from_those_that_it_shared_a_secret_with() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        for name in ["one", "two"] {
            fakes.cluster.apply(ingress("web", name, &[HOST]));
        }
        fakes.pass(HOUR).await;
        let shared = used(&fakes, "one");
        assert_eq!((used(&fakes, "two"), fakes.ca.orders()), (shared.clone(), 1));
        let mut edited = fakes.cluster.view("web", "two").unwrap();
        edited.rule_hosts = vec!["two.example.com".to_owned()];
        fakes.cluster.apply(edited);
        fakes.pass(HOUR).await;
        assert_eq!(fakes.cluster.names("web", &shared), [HOST]);
        let own = used(&fakes, "two");
        assert_ne!(own, shared);
        assert_eq!(fakes.cluster.names("web", &own), ["two.example.com"]);
        assert_eq!(fakes.ca.orders(), 2);
        fakes.assert_stable().await;
    });
}

#[test]
fn an_upgrade_leaves_ingresses_with_the_same_host_the_secrets_that_0_1_0_gave_each_of_them() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        for name in ["one", "two"] {
            fakes.cluster.apply(with_tls(name, name, &[HOST]));
        }
        fakes.pass(HOUR).await;
        fakes.kill();
        // 0.1.0 chose the names, and filled in one of them only.
        fakes.cluster.apply(ingress("web", "two", &[HOST]));
        fakes.operator(Fakes::settings()).await;
        fakes.pass(DAY).await;
        assert_eq!(fakes.ca.orders(), 2);
        assert_eq!((used(&fakes, "one").as_str(), used(&fakes, "two").as_str()), ("one", "two"));
        fakes.assert_stable().await;
    });
}

#[test]
fn an_ingress_of_the_longest_name_has_a_secret_whose_name_ends_in_a_hash() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let name = "a".repeat(253);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(ingress("web", &name, &[HOST]));
        fakes.pass(HOUR).await;
        let secret = used(&fakes, &name);
        assert!(secret.len() <= 253 && secret.contains("-tls-"), "{secret}");
        assert_eq!(fakes.cluster.names("web", &secret), [HOST]);
    });
}
