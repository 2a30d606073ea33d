//! Watches: their start, their events and their end.

use std::pin::pin;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::test_cluster::{SOON, TestCluster};

const NAMESPACE: &str = "watches";

pub(crate) async fn behave(cluster: &TestCluster) {
    cluster.namespace(NAMESPACE).await;
    let api: Api<Secret> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    let from = version(&api).await;
    make_change_and_delete(&api).await;
    a_watch_tells_what_happened_since_its_begin(&api, &from).await;
    a_watch_tells_what_happens_while_it_is_open(&api).await;
    a_selection_is_left_and_entered(&api, &from).await;
    one_object_is_watched_by_its_name(&api, &from).await;
    without_a_begin_a_watch_tells_what_is_there(&api).await;
    a_watch_tells_where_it_is_before_it_ends(cluster, &api).await;
    a_watch_from_before_what_is_remembered_is_refused(cluster, &api, &from).await;
}

async fn version(api: &Api<Secret>) -> String {
    api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap()
}

async fn make_change_and_delete(api: &Api<Secret>) {
    for name in ["one", "two"] {
        let object = json!({"metadata": {"name": name, "labels": {"tier": "web"}}});
        let object = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }
    for tier in ["db", "web"] {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"tier": tier}}}));
        api.patch("one", &PatchParams::default(), &patch).await.unwrap();
    }
    api.delete("two", &DeleteParams::default()).await.unwrap();
}

/// The first `count` events of a watch, such as `ADDED one`, without bookmarks.
async fn changes(api: &Api<Secret>, params: WatchParams, from: &str, count: usize) -> Vec<String> {
    let events = api.watch(&params.timeout(20), from).await.unwrap();
    let changes = events.filter_map(async |event| match event.unwrap() {
        WatchEvent::Added(object) => Some(format!("ADDED {}", object.name_any())),
        WatchEvent::Modified(object) => Some(format!("MODIFIED {}", object.name_any())),
        WatchEvent::Deleted(object) => Some(format!("DELETED {}", object.name_any())),
        WatchEvent::Bookmark(_) => None,
        WatchEvent::Error(status) => Some(format!("ERROR {} {}", status.code, status.reason)),
    });
    tokio::time::timeout(SOON, changes.take(count).collect()).await.unwrap()
}

async fn a_watch_tells_what_happened_since_its_begin(api: &Api<Secret>, from: &str) {
    let all = ["ADDED one", "ADDED two", "MODIFIED one", "MODIFIED one", "DELETED two"];
    assert_eq!(changes(api, WatchParams::default(), from, 5).await, all);
    let events = api.watch(&WatchParams::default().timeout(20), from).await.unwrap();
    let second = pin!(events).skip(1).next().await.unwrap().unwrap();
    let WatchEvent::Added(second) = second else { panic!("{second:?}") };
    let rest = changes(api, WatchParams::default(), &second.resource_version().unwrap(), 3).await;
    assert_eq!(rest, all[2..]);
}

async fn a_watch_tells_what_happens_while_it_is_open(api: &Api<Secret>) {
    let from = version(api).await;
    let watch = changes(api, WatchParams::default(), &from, 2);
    let write = async {
        let object = serde_json::from_value(json!({"metadata": {"name": "live"}})).unwrap();
        let made: Secret = api.create(&PostParams::default(), &object).await.unwrap();
        api.delete("live", &DeleteParams::default()).await.unwrap();
        made
    };
    let (changes, _) = tokio::join!(watch, write);
    assert_eq!(changes, ["ADDED live", "DELETED live"]);
}

async fn a_selection_is_left_and_entered(api: &Api<Secret>, from: &str) {
    let web = ["ADDED one", "ADDED two", "DELETED one", "ADDED one", "DELETED two"];
    assert_eq!(changes(api, WatchParams::default().labels("tier=web"), from, 5).await, web);
    let db = ["ADDED one", "DELETED one"];
    assert_eq!(changes(api, WatchParams::default().labels("tier=db"), from, 2).await, db);
}

async fn one_object_is_watched_by_its_name(api: &Api<Secret>, from: &str) {
    let params = WatchParams::default().fields("metadata.name=two");
    assert_eq!(changes(api, params, from, 2).await, ["ADDED two", "DELETED two"]);
}

async fn without_a_begin_a_watch_tells_what_is_there(api: &Api<Secret>) {
    assert_eq!(changes(api, WatchParams::default(), "0", 1).await, ["ADDED one"]);
}

async fn a_watch_from_before_what_is_remembered_is_refused(
    cluster: &TestCluster,
    api: &Api<Secret>,
    from: &str,
) {
    cluster.forget_history().await;
    assert_eq!(changes(api, WatchParams::default(), from, 1).await, ["ERROR 410 Expired"]);
    let now = version(api).await;
    let patch = Patch::Merge(json!({"metadata": {"labels": {"tier": "new"}}}));
    api.patch("one", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(changes(api, WatchParams::default(), &now, 1).await, ["MODIFIED one"]);
}

/// A bookmark covers changes outside the watch, so that the next watch need not read them again.
async fn a_watch_tells_where_it_is_before_it_ends(cluster: &TestCluster, api: &Api<Secret>) {
    let from = version(api).await;
    let events = api.watch(&WatchParams::default().timeout(5), &from).await.unwrap();
    let elsewhere = cluster.make("elsewhere", "Opaque", json!({})).await;
    let events = tokio::time::timeout(SOON, events.collect::<Vec<_>>()).await.unwrap();
    // There may be more than one bookmark.
    assert!(events.iter().all(|event| matches!(event, Ok(WatchEvent::Bookmark(_)))), "{events:?}");
    let Some(Ok(WatchEvent::Bookmark(mark))) = events.last() else { panic!("no bookmark") };
    let number = |version: &str| version.parse::<u64>().unwrap();
    let there = number(&elsewhere.resource_version().unwrap());
    assert!(number(&mark.metadata.resource_version) >= there);
    assert_eq!(mark.types.kind, "Secret");
}
