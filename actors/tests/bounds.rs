//! Ingresses and Secrets of any size: what is new is bounded, what is there is renewed, and the
//! neighbours are served.

use std::time::Duration;

use ingress_acme_actors::domain::certificate::SecretView;
use ingress_acme_actors::domain::ingress::{
    IngressClass, IngressKey, IngressView, SecretKey, TlsBlock,
};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::fakes::{FakeSecret, Fakes, foreign_secret, ingress, with_tls};
use ingress_acme_actors::operator::Settings;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

fn block(secret: &str, host: &str) -> TlsBlock {
    TlsBlock { hosts: vec![host.to_owned()], secret_name: Some(secret.to_owned()) }
}

fn number_issued(fakes: &Fakes, host: &str) -> usize {
    let issued = fakes.ca.issued();
    issued.iter().filter(|names| names.iter().any(|name| name.as_str() == host)).count()
}

fn told(fakes: &Fakes, name: &str, text: &str) -> usize {
    let events = fakes.cluster.events("web", name);
    events.iter().filter(|event| event.note.contains(text)).count()
}

/// Certificates of 160 hours, so that they are renewed within days, and a scan a day.
async fn operator(fakes: &Fakes) {
    fakes.ca.set_life(160 * HOUR);
    fakes.operator(Settings { scan_interval: 12 * HOUR, ..Fakes::settings() }).await;
}

#[test]
fn blocks_beyond_the_bound_that_have_certificates_are_renewed_and_new_ones_are_not_served() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        operator(&fakes).await;
        let old = |n: usize| block(&format!("old{n}"), &format!("old{n}.example.com"));
        // As in 0.1.0, which knew no bound.
        let tls: Vec<TlsBlock> = (0..5).map(old).collect();
        fakes.cluster.apply(IngressView { tls, ..ingress("web", "shop", &[]) });
        fakes.pass(5 * MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), 5);
        let mut tls = vec![block("many", "many.example.com"); limits::TLS_BLOCKS];
        tls.extend((0..6).map(old));
        fakes.cluster.apply(IngressView { tls, ..ingress("web", "shop", &[]) });
        fakes.cluster.apply(ingress("web", "neighbour", &["neighbour.example.com"]));
        fakes.pass(10 * HOUR).await;
        fakes.kill();
        operator(&fakes).await; // knows nothing of the certificates
        fakes.pass(150 * HOUR).await;
        for n in 0..5 {
            assert!(number_issued(&fakes, &format!("old{n}.example.com")) >= 2, "old{n}");
        }
        assert_eq!(number_issued(&fakes, "old5.example.com"), 0);
        assert!(number_issued(&fakes, "neighbour.example.com") >= 2);
        assert_eq!(told(&fakes, "shop", "1006 spec.tls blocks"), 2, "once by each process");
        assert!(fakes.cluster.secret("web", "old5").is_none());
    });
}

#[test]
fn a_secret_with_hundreds_of_owners_of_an_older_release_keeps_its_certificate() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        for n in 0..300 {
            let view = with_tls(&format!("i{n:03}"), "shared", &["shared.example.com"]);
            fakes.cluster.apply(view);
        }
        operator(&fakes).await;
        fakes.pass(5 * MINUTE).await;
        let secret = fakes.cluster.secret("web", "shared").expect("it is there");
        assert_eq!(secret.owners.len(), limits::SHARERS);
        assert_eq!(fakes.ca.orders(), 1);
        fakes.kill();
        // All sharers are owners, as in 0.1.0.
        let mut old = secret;
        let uid =
            |n: usize| fakes.cluster.view("web", &format!("i{n:03}")).expect("it is there").uid;
        old.owners = (0..300).map(|n| uid(n).to_string()).collect();
        old.view.owners.clone_from(&old.owners);
        fakes.cluster.put_secret(&SecretKey::new("web", "shared"), old);
        operator(&fakes).await;
        fakes.pass(100 * HOUR).await;
        assert_eq!(number_issued(&fakes, "shared.example.com"), 2, "it is renewed");
        let one_event: usize =
            (0..300).map(|n| told(&fakes, &format!("i{n:03}"), "more than 100 Ingresses")).sum();
        assert_eq!(one_event, 2, "one of each start");
        for n in 0..299 {
            fakes.cluster.delete(&IngressKey::new("web", &format!("i{n:03}")));
            fakes.pass(MINUTE / 6).await;
        }
        let last = fakes.cluster.secret("web", "shared").expect("the last sharer keeps it");
        assert_eq!((last.owners.len(), fakes.ca.orders()), (1, 2));
    });
}

#[test]
fn a_group_of_hundreds_is_filled_in_a_few_at_a_time() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        operator(&fakes).await;
        for n in 0..250 {
            let mut view = ingress("web", &format!("i{n:03}"), &["www.example.com"]);
            view.annotations.insert("group".to_owned(), "true".to_owned());
            fakes.cluster.apply(view);
        }
        fakes.pass(10 * MINUTE).await;
        let filled = |n: usize| {
            fakes.cluster.view("web", &format!("i{n:03}")).is_some_and(|view| !view.tls.is_empty())
        };
        assert_eq!((0..250).filter(|n| filled(*n)).count(), 250);
        assert_eq!(fakes.ca.orders(), 1);
    });
}

/// An Ingress with one certificate, and with a block of hosts that has no Secret.
fn large(name: &str) -> IngressView {
    let host = format!("{name}.example.com");
    let hosts = vec![host.clone(); limits::NAMESPACE_ROOM / limits::LARGE_SHARE / 3 / 250];
    let tls = vec![block(name, &host), TlsBlock { hosts, secret_name: None }];
    IngressView { tls, ..ingress("web", name, &[]) }
}

#[test]
fn an_ingress_without_room_in_its_namespace_is_told_and_is_served_once_there_is_room() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        operator(&fakes).await;
        for name in ["one", "two", "late"] {
            fakes.cluster.apply(large(name));
        }
        fakes.cluster.apply(ingress("web", "small", &["small.example.com"]));
        fakes.pass(5 * MINUTE).await;
        let issued = |name: &str| number_issued(&fakes, &format!("{name}.example.com"));
        assert_eq!(["one", "two", "late", "small"].map(issued), [1, 1, 0, 1]);
        assert_eq!(told(&fakes, "late", "too large together"), 1);
        fakes.cluster.delete(&IngressKey::new("web", "one"));
        fakes.pass(limits::ROOM_LOOK + MINUTE).await;
        assert_eq!(["one", "two", "late", "small"].map(issued), [1, 1, 1, 1]);
    });
}

/// Ingresses beyond one bound, the name of the one that is told, and words of its Event.
type Beyond = (Vec<IngressView>, &'static str, &'static str);

fn shop_with(tls: Vec<TlsBlock>) -> IngressView {
    IngressView { tls, ..ingress("web", "shop", &[]) }
}

/// Sharers of one Secret, each with this class.
fn sharers(count: usize, class: impl Fn(usize) -> String) -> Vec<IngressView> {
    let sharer = |n: usize| IngressView {
        class: IngressClass::Named(class(n).into()),
        ..with_tls(&format!("i{n:03}"), "shared", &["shared.example.com"])
    };
    (0..count).map(sharer).collect()
}

/// Ingresses of one tenant beyond each bound.
fn beyond_each_bound() -> Vec<Beyond> {
    let shop = || ingress("web", "shop", &["shop.example.com"]);
    let many = |host: fn(usize) -> String, count| TlsBlock {
        hosts: (0..count).map(host).collect(),
        secret_name: Some("shop".to_owned()),
    };
    let names = many(|n| format!("h{n}.example.com"), limits::MAX_NAMES + 1);
    let bad = many(|n| format!("-{n}-"), 10 * limits::BAD_HOSTS);
    let blocks = vec![block("shop", "shop.example.com"); limits::TLS_BLOCKS + 1];
    let long = IngressClass::Annotated("x".repeat(limits::ANNOTATION + 1).into());
    let one = |view: IngressView, words| (vec![view], "shop", words);
    vec![
        one(IngressView { long_annotations: vec!["profile"], ..shop() }, "longer than 253 bytes"),
        one(IngressView { class: long, ..shop() }, "is longer than 253 bytes"),
        one(shop_with(blocks), "1001 spec.tls blocks"),
        one(shop_with(vec![names]), "more than 100 names"),
        one(shop_with(vec![bad]), "more problems"),
        one(shop_with(vec![block(&"x".repeat(300), "shop.example.com")]), "253 characters at most"),
        (sharers(limits::SHARERS + 1, |_| "nginx".to_owned()), "i000", "more than 100 Ingresses"),
        (sharers(limits::CLASSES_PER_HOST + 1, |n| format!("c{n}")), "i008", "more than 8 classes"),
    ]
}

/// Applies an Ingress of the same namespace and one of another namespace.
fn apply_neighbours(fakes: &Fakes) {
    for namespace in ["web", "other"] {
        let host = format!("{namespace}.example.net");
        fakes.cluster.apply(ingress(namespace, "neighbour", &[&host]));
    }
}

fn assert_neighbours_are_served(fakes: &Fakes, case: &str) {
    for namespace in ["web", "other"] {
        let names = fakes.cluster.names(namespace, "neighbour-tls");
        assert_eq!(names, [format!("{namespace}.example.net")], "{case}");
    }
}

#[test]
fn what_is_beyond_a_bound_is_told_with_the_limit_and_its_neighbours_are_served() {
    for (tenant, name, words) in beyond_each_bound() {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            operator(&fakes).await;
            for view in tenant {
                fakes.cluster.apply(view);
            }
            apply_neighbours(&fakes);
            fakes.pass(5 * MINUTE).await;
            assert_eq!(
                told(&fakes, name, words),
                1,
                "{words}: {:?}",
                fakes.cluster.events("web", name)
            );
            assert_neighbours_are_served(&fakes, words);
        });
    }
}

#[test]
fn a_secret_that_cannot_be_used_is_told_or_replaced_and_its_neighbours_are_served() {
    let secret = |view: SecretView| FakeSecret { view, ..foreign_secret() };
    let foreign = || foreign_secret().view;
    let ours = || SecretView { ours: true, ..foreign() };
    let too_many = Err("it has 30000 names, but at most 2000 are read".to_owned());
    let cases = [
        (foreign(), Some("was not made by ingress-acme")),
        (SecretView { immutable: true, ..ours() }, Some("is immutable")),
        (SecretView { is_tls: false, ..ours() }, Some("is not of type")),
        (SecretView { certificate: too_many, ..ours() }, None),
    ];
    for (view, words) in cases {
        let found = secret(view);
        Fakes::paused(async move {
            let fakes = Fakes::default();
            fakes.cluster.put_secret(&SecretKey::new("web", "shop"), found);
            operator(&fakes).await;
            fakes.cluster.apply(with_tls("shop", "shop", &["shop.example.com"]));
            apply_neighbours(&fakes);
            fakes.pass(5 * MINUTE).await;
            let replaced = fakes.cluster.names("web", "shop") == ["shop.example.com"];
            assert_eq!(replaced, words.is_none(), "{words:?}");
            if let Some(words) = words {
                assert!(
                    told(&fakes, "shop", words) >= 1,
                    "{:?}",
                    fakes.cluster.events("web", "shop")
                );
            }
            assert_neighbours_are_served(&fakes, words.unwrap_or("replaced"));
        });
    }
}
