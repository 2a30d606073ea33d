//! Ingresses as people write them: with marks of other programs, without a `secretName`, with
//! public and internal hosts. `docs/ingresses.md` says what happens with each kind, and why.

use std::time::Duration;

use ingress_acme_actors::domain::aliases::Alias;
use ingress_acme_actors::domain::certificate::SecretView;
use ingress_acme_actors::domain::copied::Copied;
use ingress_acme_actors::domain::desired::selection::Selection;
use ingress_acme_actors::domain::ingress::{
    Edition, FILL_TLS, FILLED_TLS, IngressClass, IngressView, SecretKey, TlsBlock,
};
use ingress_acme_actors::domain::marks::Mark;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::public_name::PublicCa;
use ingress_acme_actors::fakes::{
    FakeSecret, Fakes, foreign_secret, ingress, named, our_secret, reasons,
};
use ingress_acme_actors::operator::Settings;

const CANARY: &str = "nginx.ingress.kubernetes.io/canary";
const MINION: &str = "nginx.org/mergeable-ingress-type";
const HOST: &str = "shop.example.com";
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn shop() -> IngressView {
    ingress("web", "shop", &[HOST])
}

fn marked(mark: Mark) -> IngressView {
    IngressView { mark: Some(mark), ..shop() }
}

fn annotated(mut view: IngressView, name: &str, value: &str) -> IngressView {
    view.annotations.insert(name.to_owned(), value.to_owned());
    view
}

fn elsewhere() -> Mark {
    Mark::MadeElsewhere("alb.ingress.kubernetes.io/certificate-arn".to_owned())
}

fn selecting(selection: Selection) -> Settings {
    Settings { selection, ..Fakes::settings() }
}

/// Runs `settings` on these Ingresses for two days. Returns the number of orders.
async fn orders(
    fakes: &Fakes,
    settings: Settings,
    views: impl IntoIterator<Item = IngressView>,
) -> usize {
    fakes.operator(settings).await;
    views.into_iter().for_each(|view| fakes.cluster.apply(view));
    fakes.pass(2 * DAY).await;
    fakes.ca.orders()
}

/// The objects that release 0.1.0 leaves behind for `web/shop`, which it served whatever its marks:
/// a Secret of ours, named in `spec.tls` by us. Certificates live for 160 hours.
async fn left_by_0_1_0(fakes: &Fakes) -> IngressView {
    fakes.ca.set_life(160 * HOUR);
    fakes.operator(Fakes::settings()).await;
    let filled = annotated(named("web", "shop", &[HOST]), FILLED_TLS, HOST);
    fakes.cluster.apply(filled);
    fakes.pass(MINUTE).await;
    fakes.kill();
    assert_eq!(fakes.ca.orders(), 1);
    fakes.cluster.view("web", "shop").expect("it is there")
}

#[test]
fn a_canary_gets_no_certificate_of_its_own_and_its_spec_tls_stays_empty() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let main = ingress("web", "main", &["shop.example.com"]);
        assert_eq!(
            orders(&fakes, Fakes::settings(), [main, marked(Mark::Canary(CANARY))]).await,
            1
        );
        let canary = fakes.cluster.view("web", "shop").unwrap();
        assert!(canary.tls.is_empty() && fakes.cluster.secret("web", "shop").is_none());
        assert!(fakes.cluster.events("web", "shop").is_empty());
        fakes.assert_stable().await;
    });
}

#[test]
fn a_minion_is_never_filled_because_its_controller_would_drop_its_paths() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let minion = annotated(marked(Mark::Minion(MINION)), FILL_TLS, "true");
        let minion = annotated(minion, "enabled", "true");
        assert_eq!(orders(&fakes, Fakes::settings(), [minion]).await, 0);
        assert_eq!(fakes.cluster.calls("fill_tls"), 0);
        fakes.assert_stable().await;
    });
}

#[test]
fn what_0_1_0_filled_into_a_minion_is_taken_back_once_with_an_event_and_the_renewals_go_on() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let filled = left_by_0_1_0(&fakes).await;
        fakes.cluster.apply(IngressView { mark: Some(Mark::Minion(MINION)), ..filled });
        fakes.operator(Fakes::settings()).await;
        fakes.pass(HOUR).await;
        let minion = fakes.cluster.view("web", "shop").unwrap();
        assert!(minion.tls.is_empty() && minion.annotations.is_empty(), "{minion:?}");
        fakes.pass(30 * DAY).await;
        assert_eq!(fakes.cluster.calls("take_back_tls"), 1);
        assert!(fakes.ca.orders() >= 4, "{} certificates", fakes.ca.orders());
        let events = fakes.cluster.events("web", "shop");
        fakes.kill();
        fakes.operator(Fakes::settings()).await;
        let before = fakes.ca.orders();
        fakes.pass(30 * DAY).await;
        assert!(fakes.ca.orders() >= before + 4, "after a restart, too");
        let taken: Vec<_> = events.iter().filter(|event| event.reason == "TakenBack").collect();
        assert_eq!(taken.len(), 1);
        assert!(taken[0].note.contains("a minion with spec.tls"), "{}", taken[0].note);
    });
}

#[test]
fn an_upgrade_renews_what_0_1_0_issued_for_ingresses_that_would_get_no_certificate_now() {
    for mark in [Mark::Canary(CANARY), Mark::TlsAcmeOff, elsewhere()] {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            let filled = left_by_0_1_0(&fakes).await;
            fakes.cluster.apply(IngressView { mark: Some(mark.clone()), ..filled.clone() });
            fakes.operator(Fakes::settings()).await;
            fakes.pass(30 * DAY).await;
            assert!(fakes.ca.orders() >= 4, "{mark:?}: {} certificates", fakes.ca.orders());
            let after = fakes.cluster.view("web", "shop").unwrap();
            assert_eq!(after.tls, filled.tls, "{mark:?}: spec.tls stays");
            let events = fakes.cluster.events("web", "shop");
            let renewed = |note: &str| note.contains("It is renewed because it was there before");
            assert!(events.iter().any(|event| renewed(&event.note)), "{mark:?}: {events:?}");
        });
    }
}

#[test]
fn tls_acme_true_is_served_and_stays_cert_managers_where_that_is_in_the_cluster() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        assert_eq!(orders(&fakes, Fakes::settings(), [marked(Mark::TlsAcme)]).await, 1);
        let fakes = Fakes::default();
        let beside = || selecting(Selection { cert_manager: true, ..Selection::default() });
        assert_eq!(orders(&fakes, beside(), [marked(Mark::TlsAcme)]).await, 0);
        fakes.cluster.apply(annotated(marked(Mark::TlsAcme), "enabled", "true"));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.orders(), 1, "our own annotation decides over it");
    });
}

#[test]
fn a_certificate_of_before_cert_manager_came_is_renewed() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.set_life(160 * HOUR);
        assert_eq!(orders(&fakes, Fakes::settings(), [marked(Mark::TlsAcme)]).await, 1);
        fakes.kill();
        fakes.operator(selecting(Selection { cert_manager: true, ..Selection::default() })).await;
        fakes.pass(30 * DAY).await;
        assert!(fakes.ca.orders() >= 4, "{} certificates", fakes.ca.orders());
    });
}

#[test]
fn tls_acme_false_and_tls_made_elsewhere_are_left_alone_unless_our_annotation_says_otherwise() {
    for mark in [Mark::TlsAcmeOff, elsewhere()] {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            assert_eq!(orders(&fakes, Fakes::settings(), [marked(mark.clone())]).await, 0);
            assert!(fakes.cluster.events("web", "shop").is_empty());
            fakes.assert_stable().await;
            fakes.cluster.apply(annotated(marked(mark), "enabled", "true"));
            fakes.pass(MINUTE).await;
            assert_eq!(fakes.ca.orders(), 1);
        });
    }
}

#[test]
fn with_fill_tls_false_certificates_are_issued_and_no_ingress_is_changed() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let settings = selecting(Selection { leaves_tls: true, ..Selection::default() });
        let asks = ingress("web", "asks", &["asks.example.com"]);
        let asks = annotated(asks, FILL_TLS, "true");
        assert_eq!(orders(&fakes, settings, [shop(), asks]).await, 2);
        assert!(fakes.cluster.view("web", "shop").unwrap().tls.is_empty());
        assert_eq!(fakes.cluster.view("web", "asks").unwrap().tls.len(), 1, "its annotation wins");
        assert_eq!(fakes.cluster.calls("fill_tls"), 1);
        fakes.assert_stable().await;
    });
}

#[test]
fn an_ingress_that_opts_out_of_filling_gets_its_spec_tls_back_and_keeps_its_certificate() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.set_life(160 * HOUR);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        let filled = fakes.cluster.view("web", "shop").unwrap();
        assert_eq!(filled.tls.len(), 1);
        fakes.cluster.apply(annotated(filled, FILL_TLS, "false"));
        fakes.pass(MINUTE).await;
        assert!(fakes.cluster.view("web", "shop").unwrap().tls.is_empty());
        let events = fakes.cluster.events("web", "shop");
        assert_eq!(reasons(&events), ["Issued", "TakenBack"]);
        assert_eq!(fakes.ca.orders(), 1);
        fakes.pass(10 * DAY).await;
        assert!(fakes.ca.orders() > 1, "it is renewed");
        fakes.cluster.apply(annotated(shop(), FILL_TLS, "true"));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.view("web", "shop").unwrap().tls.len(), 1, "and filled again");
    });
}

#[test]
fn a_spec_tls_that_another_writer_has_applied_too_is_told_once_and_left_until_an_edit() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        let filled = fakes.cluster.view("web", "shop").unwrap();
        fakes.cluster.co_own_tls(&filled.key);
        fakes.cluster.apply(annotated(filled.clone(), FILL_TLS, "false"));
        fakes.pass(10 * DAY).await;
        assert_eq!(reasons(&fakes.cluster.events("web", "shop")), ["Issued", "Incomplete"]);
        assert_eq!(fakes.cluster.calls("take_back_tls"), 1);
        fakes.assert_stable().await;
        let edited = IngressView { edition: Edition::default(), ..filled };
        fakes.cluster.apply(annotated(annotated(edited, FILL_TLS, "false"), "note", "x"));
        fakes.pass(DAY).await;
        assert_eq!(fakes.cluster.calls("take_back_tls"), 2, "an edit may have mended it");
    });
}

#[test]
fn an_ingress_that_opts_out_is_told_once_what_stays_of_what_we_filled_in() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.set_life(160 * HOUR);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        let filled = fakes.cluster.view("web", "shop").unwrap();
        fakes.cluster.apply(annotated(filled.clone(), "enabled", "false"));
        fakes.pass(10 * DAY).await;
        let events = fakes.cluster.events("web", "shop");
        assert_eq!(reasons(&events), ["Issued", "LeftAlone"]);
        assert!(events[1].note.contains("Secret shop-tls stay"), "{}", events[1].note);
        assert_eq!(fakes.cluster.view("web", "shop").unwrap().tls, filled.tls);
        assert_eq!(fakes.ca.orders(), 1, "nothing is renewed");
        fakes.assert_stable().await;
    });
}

#[test]
fn a_switch_to_fill_tls_false_leaves_what_was_filled_in() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let filled = left_by_0_1_0(&fakes).await;
        fakes.operator(selecting(Selection { leaves_tls: true, ..Selection::default() })).await;
        fakes.pass(30 * DAY).await;
        assert_eq!(fakes.cluster.view("web", "shop").unwrap().tls, filled.tls);
        assert!(fakes.ca.orders() >= 4, "{} certificates", fakes.ca.orders());
    });
}

#[test]
fn a_spec_tls_without_secret_name_is_told_once_and_an_annotation_silences_it() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let hosts = vec!["shop.example.com".to_owned()];
        let tls = vec![TlsBlock { hosts, secret_name: None }];
        let bare = IngressView { tls, ..shop() };
        assert_eq!(orders(&fakes, Fakes::settings(), [bare.clone()]).await, 0);
        let events = fakes.cluster.events("web", "shop");
        assert_eq!(reasons(&events), ["Skipped"]);
        assert!(
            events[0].note.contains("ingress-acme.dev/fill-tls: \"false\""),
            "{}",
            events[0].note
        );
        fakes.kill();
        fakes.cluster.apply(annotated(bare, FILL_TLS, "false"));
        fakes.operator(Fakes::settings()).await;
        fakes.pass(2 * DAY).await;
        assert_eq!(fakes.cluster.events("web", "shop").len(), 1);
        fakes.assert_stable().await;
    });
}

#[test]
fn of_public_and_internal_hosts_the_public_ones_have_a_certificate_at_once_and_the_others_are_told_once()
 {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let public = Selection { public_ca: PublicCa::Yes, ..Selection::default() };
        fakes.operator(selecting(public)).await;
        fakes.cluster.apply(ingress("web", "app", &["app.example.com", "app.home.arpa"]));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), 1);
        fakes.pass(10 * DAY).await;
        let events = fakes.cluster.events("web", "app");
        let told = events.iter().filter(|event| event.note.contains("app.home.arpa")).count();
        assert_eq!((told, fakes.ca.orders()), (1, 1));
        fakes.assert_stable().await;
    });
}

/// The Secret of a chart, with a certificate that it has made itself.
fn of_a_chart(chain: &str) -> FakeSecret {
    let mut secret = our_secret(chain, "key");
    (secret.view.ours, secret.view.untrusted, secret.view.directory) = (false, true, None);
    secret
}

#[test]
fn a_charts_self_signed_certificate_is_told_once_and_replaced_when_it_is_handed_over() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let (from, until) = (fakes.clock.now() - DAY, fakes.clock.now() + 300 * DAY);
        let chain = format!("key|{HOST}|{}|{}|7", from.as_millis(), until.as_millis());
        fakes.cluster.put_secret(&SecretKey::new("web", "shop"), of_a_chart(&chain));
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(named("web", "shop", &[HOST]));
        fakes.pass(2 * DAY).await;
        let events = fakes.cluster.events("web", "shop");
        assert_eq!((reasons(&events), fakes.ca.orders()), (vec!["Restricted"], 0));
        assert!(events[0].note.contains("adopt-secret"), "{}", events[0].note);
        fakes.assert_stable().await;
        let adopting = |value| annotated(named("web", "shop", &[HOST]), "adopt-secret", value);
        fakes.cluster.apply(adopting("true"));
        fakes.pass(DAY).await;
        assert_eq!(
            fakes.ca.orders(),
            0,
            "consents of before an upgrade replace nothing that serves"
        );
        fakes.cluster.apply(adopting("now"));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.orders(), 1);
        assert_ne!(fakes.cluster.secret("web", "shop").unwrap().chain, chain);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_secret_that_is_handed_over_is_renewed_by_the_scan_once_it_is_due() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let (from, until) = (fakes.clock.now() - DAY, fakes.clock.now() + 89 * DAY);
        let chain = format!("key|{HOST}|{}|{}|7", from.as_millis(), until.as_millis());
        let certificate = our_secret(&chain, "key").view.certificate;
        let view = SecretView { certificate, ..foreign_secret().view };
        let handed_over = FakeSecret { view, chain, ..foreign_secret() };
        fakes.cluster.put_secret(&SecretKey::new("web", "shop"), handed_over);
        fakes.cluster.apply(annotated(named("web", "shop", &[HOST]), "adopt-secret", "true"));
        fakes.operator(Fakes::settings()).await;
        fakes.pass(50 * DAY).await;
        assert_eq!(fakes.ca.orders(), 0, "it serves, and is not due");
        fakes.pass(10 * DAY).await;
        assert_eq!(fakes.ca.orders(), 1, "no edit has called a job");
        fakes.assert_stable().await;
    });
}

#[test]
fn an_ingress_is_served_within_a_minute_of_the_edit_that_takes_its_mark_away() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let mark = Some(Mark::MadeElsewhere("label kcert.dev/ingress".to_owned()));
        fakes.cluster.apply(IngressView { mark, ..named("web", "shop", &[HOST]) });
        fakes.operator(Fakes::settings()).await;
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.orders(), 0);
        fakes.cluster.apply(named("web", "shop", &[HOST]));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.orders(), 1);
    });
}

#[test]
fn a_class_annotation_with_a_slash_is_served() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let class = IngressClass::Annotated("azure/application-gateway".into());
        assert_eq!(orders(&fakes, Fakes::settings(), [IngressView { class, ..shop() }]).await, 1);
        assert_eq!(reasons(&fakes.cluster.events("web", "shop")), ["Issued"]);
    });
}

#[test]
fn a_name_that_an_annotation_serves_beside_the_hosts_is_told_once_and_the_hosts_are_served() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let mut view = shop();
        let annotation = "nginx.ingress.kubernetes.io/from-to-www-redirect";
        let name = DnsName::parse("www.shop.example.com").unwrap();
        view.aliases = vec![Alias { annotation, name }];
        assert_eq!(orders(&fakes, Fakes::settings(), [view]).await, 1);
        let events = fakes.cluster.events("web", "shop");
        let told: Vec<_> = events.iter().filter(|event| event.reason == "Restricted").collect();
        assert_eq!(told.len(), 1, "{events:?}");
        assert!(told[0].note.contains("www.shop.example.com"), "{}", told[0].note);
        fakes.assert_stable().await;
    });
}

#[test]
fn cert_manager_that_is_installed_later_answers_tls_acme_from_then_on_and_renewals_go_on() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.set_life(160 * HOUR);
        let asks = |name: &str, host: &str| {
            let view = ingress("web", name, &[host]);
            IngressView { mark: Some(Mark::TlsAcme), ..view }
        };
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(asks("before", "before.example.com"));
        fakes.pass(MINUTE).await;
        fakes.cluster.install_cert_manager(true);
        fakes.cluster.apply(asks("after", "after.example.com"));
        fakes.pass(30 * DAY).await;
        let issued = |host: &str| {
            let all = fakes.ca.issued();
            all.iter().filter(|names| names.iter().any(|name| name.as_str() == host)).count()
        };
        assert!(issued("before.example.com") >= 4, "renewed");
        assert_eq!(issued("after.example.com"), 0, "left to cert-manager");
        fakes.cluster.install_cert_manager(false);
        fakes.pass(MINUTE).await;
        assert_eq!(issued("after.example.com"), 1, "cert-manager is gone");
    });
}

#[test]
fn a_secret_that_cert_manager_has_stays_its_own_and_the_event_names_the_annotation_that_says_so() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let mut theirs = foreign_secret();
        theirs.view.other_issuer = Some("cert-manager.io/certificate-name".to_owned());
        let before = theirs.chain.clone();
        fakes.cluster.put_secret(&SecretKey::new("web", "shop"), theirs);
        let asks = IngressView { mark: Some(Mark::TlsAcme), ..named("web", "shop", &[HOST]) };
        assert_eq!(orders(&fakes, Fakes::settings(), [asks]).await, 0);
        let events = fakes.cluster.events("web", "shop");
        let names_it = |note: &str| note.contains("annotation cert-manager.io/certificate-name");
        assert!(events.iter().any(|event| names_it(&event.note)), "{events:?}");
        assert_eq!(fakes.cluster.secret("web", "shop").unwrap().chain, before);
    });
}

#[test]
fn what_0_1_0_issued_beside_annotations_of_an_old_cert_manager_is_renewed() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let filled = left_by_0_1_0(&fakes).await;
        // The adapter finds no mark in `certmanager.k8s.io/…`: it is another edition of the
        // Ingress.
        fakes.cluster.apply(IngressView { edition: Edition(9), ..filled.clone() });
        fakes.operator(Fakes::settings()).await;
        fakes.pass(30 * DAY).await;
        assert!(fakes.ca.orders() >= 4, "{} certificates", fakes.ca.orders());
        assert_eq!(fakes.cluster.view("web", "shop").unwrap().tls, filled.tls);
        assert!(fakes.cluster.secret("web", "shop-tls").is_none(), "it keeps its name");
    });
}

/// The annotation that lets a program copy the Secret, as the adapter reads it from an Ingress.
fn allows_copies(value: &str) -> Copied {
    let name = "reflector.v1.k8s.emberstack.com/reflection-allowed";
    Copied::of(&["reflector.v1.k8s.emberstack.com".to_owned()], [(name, value)])
}

#[test]
fn annotations_for_programs_that_copy_secrets_are_on_the_secret_and_an_edit_of_them_orders_nothing()
{
    Fakes::paused(async {
        let fakes = Fakes::default();
        let with = |value| IngressView { copied: allows_copies(value), ..shop() };
        assert_eq!(orders(&fakes, Fakes::settings(), [with("true")]).await, 1);
        let mark = || fakes.cluster.secret("web", "shop-tls").and_then(|secret| secret.view.copied);
        assert_eq!(mark(), allows_copies("true").mark());
        assert_eq!(fakes.cluster.calls("set_metadata"), 0, "they come with the certificate");
        let now = fakes.cluster.view("web", "shop").unwrap();
        fakes.cluster.apply(IngressView { copied: allows_copies("false"), ..now.clone() });
        fakes.pass(MINUTE).await;
        assert_eq!(mark(), allows_copies("false").mark());
        fakes.kill();
        fakes.cluster.apply(IngressView { copied: Copied::default(), ..now });
        fakes.operator(Fakes::settings()).await;
        fakes.pass(2 * HOUR).await;
        assert_eq!(mark(), None, "the flag is gone, and so are the annotations");
        let writes = (fakes.ca.orders(), fakes.cluster.calls("set_metadata"));
        assert_eq!(writes, (1, 2));
        fakes.assert_stable().await;
    });
}
