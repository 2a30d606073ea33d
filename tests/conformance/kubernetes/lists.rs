//! Lists: pages, selectors, metadata only.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, PostParams};
use kube::core::ObjectList;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::test_cluster::{TestCluster, refusal};

const NAMESPACE: &str = "lists";

pub(crate) async fn behave(cluster: &TestCluster) {
    cluster.namespace(NAMESPACE).await;
    let api: Api<Secret> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    for number in 0..7 {
        let labels = json!({"parity": if number % 2 == 0 { "even" } else { "odd" }});
        let labels = if number == 6 { json!({}) } else { labels };
        let secret = json!({"metadata": {"name": format!("s{number}"), "labels": labels}, "data": {"a": "QQ=="}});
        let secret: Secret = serde_json::from_value(secret).unwrap();
        api.create(&PostParams::default(), &secret).await.unwrap();
    }
    pages_lose_nothing_and_double_nothing(&api).await;
    selectors_select(&api).await;
    a_list_of_all_namespaces_has_this_one(&cluster.admin).await;
    metadata_come_alone_where_they_are_asked_for(&cluster.admin, &api).await;
}

fn names<K: ResourceExt + Clone>(list: &ObjectList<K>) -> Vec<String> {
    list.items.iter().map(ResourceExt::name_any).collect()
}

async fn pages_lose_nothing_and_double_nothing(api: &Api<Secret>) {
    let (mut params, mut sizes, mut all) = (ListParams::default().limit(3), Vec::new(), Vec::new());
    let mut versions = Vec::new();
    loop {
        let page = api.list(&params).await.unwrap();
        sizes.push(page.items.len());
        all.extend(names(&page));
        versions.push(page.metadata.resource_version.clone());
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!((sizes, all), (vec![3, 3, 1], (0..7).map(|number| format!("s{number}")).collect()));
    versions.dedup();
    assert_eq!(versions.len(), 1, "a list has one version, however many pages");
    let exact = api.list(&ListParams::default().limit(7)).await.unwrap();
    assert_eq!(
        (exact.items.len(), exact.metadata.continue_.unwrap_or_default()),
        (7, String::new())
    );
    let nonsense = ListParams::default().limit(3).continue_token("nonsense");
    assert_eq!(refusal(api.list(&nonsense).await).0, 400);
}

async fn selectors_select(api: &Api<Secret>) {
    let cases: [(&str, &[&str]); 6] = [
        ("parity=even", &["s0", "s2", "s4"]),
        ("parity!=even", &["s1", "s3", "s5", "s6"]),
        ("!parity", &["s6"]),
        ("parity,parity!=odd", &["s0", "s2", "s4"]),
        ("parity in (odd,other)", &["s1", "s3", "s5"]),
        ("parity notin (odd,even)", &["s6"]),
    ];
    for (selector, expected) in cases {
        let list = api.list(&ListParams::default().labels(selector)).await.unwrap();
        assert_eq!(names(&list), expected, "{selector}");
    }
    let pages = ListParams::default().labels("parity=odd").limit(2);
    let first = api.list(&pages).await.unwrap();
    assert_eq!(names(&first), ["s1", "s3"]);
    let rest = api.list(&pages.clone().continue_token(&first.metadata.continue_.unwrap())).await;
    assert_eq!(names(&rest.unwrap()), ["s5"]);
    let one = api.list(&ListParams::default().fields("metadata.name=s3")).await.unwrap();
    assert_eq!(names(&one), ["s3"]);
    assert_eq!(refusal(api.list(&ListParams::default().labels("a b")).await).0, 400);
    assert_eq!(refusal(api.list(&ListParams::default().fields("spec.x=1")).await).0, 400);
}

async fn a_list_of_all_namespaces_has_this_one(admin: &Client) {
    let all: Api<Secret> = Api::all(admin.clone());
    let list = all.list(&ListParams::default().labels("parity=odd")).await.unwrap();
    assert_eq!(names(&list), ["s1", "s3", "s5"]);
    let here = ListParams::default().fields(&format!("metadata.namespace={NAMESPACE}"));
    assert_eq!(all.list(&here).await.unwrap().items.len(), 7);
}

async fn metadata_come_alone_where_they_are_asked_for(admin: &Client, api: &Api<Secret>) {
    let list = api.list_metadata(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(names(&list), ["s0", "s1"]);
    assert_eq!(list.items[0].labels()["parity"], "even");
    let one = api.get_metadata("s1").await.unwrap();
    assert_eq!(
        (one.types.unwrap().kind, one.metadata.uid.is_some()),
        ("PartialObjectMetadata".into(), true)
    );
    let request = http::Request::get(format!("/api/v1/namespaces/{NAMESPACE}/secrets?limit=1"));
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let request = request.header("accept", accept).body(Vec::new()).unwrap();
    let list: Value = admin.request(request).await.unwrap();
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&json!("PartialObjectMetadataList"), &json!("meta.k8s.io/v1"))
    );
    assert_eq!(list["items"][0]["data"], Value::Null);
}
