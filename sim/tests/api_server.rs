//! Controls of the simulated API server, over sockets: faults, stale and broken watches, freezing,
//! counts.
//!
//! Conformance with a real server is tested in `tests/conformance`.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::pin::pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use ingress_acme_sim::clock::Clock;
use ingress_acme_sim::faults::Chances;
use ingress_acme_sim::kube::{ApiServer, User};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);
/// Time to wait for an answer that should not come.
const A_WHILE: Duration = Duration::from_millis(300);

fn server() -> ApiServer {
    ApiServer::start(Clock::default(), 7).unwrap()
}

fn secrets(server: &ApiServer, user: User) -> Api<Secret> {
    let mut config = server.config(user);
    config.default_retry = false;
    Api::namespaced(Client::try_from(config).unwrap(), "default")
}

fn secret(name: &str) -> Secret {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

async fn create(api: &Api<Secret>, name: &str) -> Result<Secret, kube::Error> {
    api.create(&PostParams::default(), &secret(name)).await
}

type Event = Result<WatchEvent<Secret>, kube::Error>;

async fn watch(api: &Api<Secret>, from: &str) -> impl Stream<Item = Event> {
    api.watch(&WatchParams::default().timeout(60), from).await.unwrap()
}

fn name(event: Option<Event>) -> Option<String> {
    match event?.unwrap() {
        WatchEvent::Added(object) => Some(object.name_any()),
        WatchEvent::Error(status) => Some(status.code.to_string()),
        other => panic!("{other:?}"),
    }
}

fn code<T: std::fmt::Debug>(answer: Result<T, kube::Error>) -> u16 {
    match answer {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn faults_meet_the_operator_and_nobody_else() {
    let server = server();
    let (admin, operator) = (secrets(&server, User::Admin), secrets(&server, User::Operator));
    let always = |set: fn(&mut Chances)| {
        let mut chances = Chances::default();
        set(&mut chances);
        server.faults().set(chances);
    };
    always(|chances| chances.dropped = 1.0);
    assert!(create(&operator, "dropped").await.is_err());
    create(&admin, "dropped").await.unwrap();
    always(|chances| chances.unanswered = 1.0);
    assert!(create(&operator, "unanswered").await.is_err());
    admin.get("unanswered").await.unwrap();
    always(|chances| chances.throttled = 1.0);
    assert_eq!(code(operator.get("dropped").await), 429);
    always(|chances| chances.failed = 1.0);
    assert_eq!(code(operator.get("dropped").await), 500);
    always(|_| {});
    operator.get("dropped").await.unwrap();
    assert_eq!(server.faults().met(), 4);
}

#[tokio::test]
async fn held_watches_are_stale_and_then_tell_everything() {
    let server = server();
    let api = secrets(&server, User::Operator);
    let mut events = pin!(watch(&api, "0").await);
    server.hold_watches(true);
    create(&api, "one").await.unwrap();
    create(&api, "two").await.unwrap();
    assert!(timeout(A_WHILE, events.next()).await.is_err());
    server.hold_watches(false);
    let names =
        timeout(SOON, async { [name(events.next().await), name(events.next().await)] }).await;
    assert_eq!(names.unwrap().map(Option::unwrap), ["one", "two"]);
}

#[tokio::test]
async fn cut_watches_end_and_go_on_from_where_they_were_until_history_is_forgotten() {
    let server = server();
    let api = secrets(&server, User::Operator);
    let from = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut events = pin!(watch(&api, &from).await);
    create(&api, "one").await.unwrap();
    assert_eq!(name(timeout(SOON, events.next()).await.unwrap()).unwrap(), "one");
    server.cut_watches();
    assert!(timeout(SOON, events.next()).await.unwrap().is_none());
    let mut again = pin!(watch(&api, &from).await);
    assert_eq!(name(timeout(SOON, again.next()).await.unwrap()).unwrap(), "one");
    server.forget_history();
    create(&api, "two").await.unwrap();
    let mut late = pin!(watch(&api, &from).await);
    assert_eq!(name(timeout(SOON, late.next()).await.unwrap()).unwrap(), "410");
}

#[tokio::test]
async fn a_list_that_is_too_old_is_expired() {
    let server = server();
    let api = secrets(&server, User::Operator);
    for name in ["one", "two"] {
        create(&api, name).await.unwrap();
    }
    let pages = ListParams::default().limit(1);
    let token = api.list(&pages).await.unwrap().metadata.continue_.unwrap();
    server.forget_history();
    assert_eq!(code(api.list(&pages.continue_token(&token)).await), 410);
}

#[tokio::test]
async fn frozen_it_answers_the_operator_nothing_until_it_is_thawed() {
    let server = server();
    let (admin, operator) = (secrets(&server, User::Admin), secrets(&server, User::Operator));
    server.freeze(true);
    let mut asking = pin!(create(&operator, "late"));
    assert!(timeout(A_WHILE, &mut asking).await.is_err());
    assert!(admin.get_opt("late").await.unwrap().is_none());
    server.freeze(false);
    timeout(SOON, asking).await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_are_counted_by_who_asked_for_what_and_loaded_objects_are_not() {
    let server = server();
    let load = |name: &str| {
        server.load(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}))
    };
    assert_eq!(load("loaded").unwrap()["metadata"]["namespace"], "default");
    assert_eq!(load("loaded").unwrap_err().code(), 409);
    let api = secrets(&server, User::Operator);
    for _ in 0..2 {
        api.get("loaded").await.unwrap();
    }
    assert!(api.get_opt("none").await.unwrap().is_none());
    let counted: Vec<_> = server
        .audit()
        .into_iter()
        .map(|one| (one.user, one.verb, one.resource, one.code, one.count))
        .collect();
    let secrets = || "secrets".to_owned();
    let expected =
        [(User::Operator, "get", secrets(), 200, 2), (User::Operator, "get", secrets(), 404, 1)];
    assert_eq!(counted, expected);
}

#[tokio::test]
async fn dropped_it_answers_no_more_though_watches_are_open() {
    let server = server();
    let api = secrets(&server, User::Operator);
    let mut events = pin!(watch(&api, "0").await);
    drop(server);
    assert!(!matches!(timeout(SOON, events.next()).await.unwrap(), Some(Ok(_))));
    assert!(api.get("any").await.is_err());
}

/// kubectl sends no token over plain HTTP; the URL of its kubeconfig names the token.
#[tokio::test]
async fn a_kubeconfig_lets_in_a_client_that_sends_no_token() {
    let server = server();
    let kubeconfig = serde_json::from_str(&server.kubeconfig(User::Admin)).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    config.auth_info = kube::config::AuthInfo::default();
    let of_path = Api::<Secret>::namespaced(Client::try_from(config).unwrap(), "default");
    create(&of_path, "of-kubectl").await.unwrap();
    assert_eq!(
        secrets(&server, User::Admin).list(&ListParams::default()).await.unwrap().items.len(),
        1
    );

    let mut config = server.config(User::Admin);
    config.auth_info = kube::config::AuthInfo::default();
    let nobody = Api::<Secret>::namespaced(Client::try_from(config).unwrap(), "default");
    assert_eq!(code(create(&nobody, "of-nobody").await), 401);
}
