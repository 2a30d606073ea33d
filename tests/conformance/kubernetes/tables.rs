//! What kubectl reads: tables, and Events in the core group. For people who look at the simulated
//! world; the operator reads neither.

use http::Request;
use http::header::ACCEPT;
use kube::Client;
use serde_json::{Value, json};

use ingress_acme_control_plane::apply_yaml;

use crate::test_cluster::TestCluster;

const NAMESPACE: &str = "tables";
const OBJECTS: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: tables}
spec:
  tls: [{hosts: [a.example.com], secretName: shop}]
  rules: [{host: a.example.com}, {host: b.example.com}, {host: c.example.com}, {host: d.example.com}]
---
apiVersion: v1
kind: Secret
metadata: {name: shop, namespace: tables}
type: Opaque
data: {a: QQ==, b: QQ==}
---
apiVersion: events.k8s.io/v1
kind: Event
metadata: {name: shop.1, namespace: tables}
eventTime: 2026-01-01T08:00:00.000000Z
type: Normal
reason: Issued
note: a certificate
action: IssueCertificate
reportingController: example.com/test
reportingInstance: test
regarding: {apiVersion: networking.k8s.io/v1, kind: Ingress, namespace: tables, name: shop, uid: u1}
";

pub(crate) async fn behave(cluster: &TestCluster) {
    cluster.namespace(NAMESPACE).await;
    apply_yaml(&cluster.admin, OBJECTS).await.unwrap();
    objects_are_rows_with_the_cells_that_kubectl_prints(&cluster.admin).await;
    the_events_of_an_object_are_found_in_the_core_group(&cluster.admin).await;
}

async fn read(client: &Client, accept: &str, path: &str) -> Value {
    let request = Request::get(path).header(ACCEPT, accept).body(Vec::new()).unwrap();
    client.request(request).await.unwrap()
}

/// Columns without `-o wide`, each with its cell in the row of this object.
async fn row(client: &Client, path: &str, name: &str) -> Vec<(String, Value)> {
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = read(client, accept, path).await;
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    let mut rows = table["rows"].as_array().unwrap().iter();
    let row = rows.find(|row| row["object"]["metadata"]["name"] == name).unwrap();
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    let columns = table["columnDefinitions"].as_array().unwrap().iter();
    let cells = columns.zip(row["cells"].as_array().unwrap());
    let shown = cells.filter(|(column, _)| column["priority"] == 0);
    shown
        .map(|(column, cell)| (column["name"].as_str().unwrap().to_owned(), cell.clone()))
        .collect()
}

async fn objects_are_rows_with_the_cells_that_kubectl_prints(client: &Client) {
    let cells = |expected: &[(&str, Value)]| -> Vec<(String, Value)> {
        expected.iter().map(|(name, cell)| ((*name).to_owned(), cell.clone())).collect()
    };
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/tables/ingresses";
    let mut of_ingress = row(client, ingresses, "shop").await;
    assert_eq!(of_ingress, row(client, &format!("{ingresses}/shop"), "shop").await);
    let object = read(client, "application/json", &format!("{ingresses}/shop")).await;
    let kind = (&json!("Ingress"), &json!("networking.k8s.io/v1"));
    assert_eq!((&object["kind"], &object["apiVersion"]), kind, "of an object made by an apply");
    assert_eq!(of_ingress.pop().unwrap().0, "Age");
    let hosts = "a.example.com,b.example.com,c.example.com + 1 more...";
    let expected = [
        ("Name", json!("shop")),
        ("Class", json!("<none>")),
        ("Hosts", json!(hosts)),
        ("Address", json!("")),
        ("Ports", json!("80, 443")),
    ];
    assert_eq!(of_ingress, cells(&expected));

    let mut of_secret = row(client, "/api/v1/namespaces/tables/secrets", "shop").await;
    assert_eq!(of_secret.pop().unwrap().0, "Age");
    let expected = [("Name", json!("shop")), ("Type", json!("Opaque")), ("Data", json!(2))];
    assert_eq!(of_secret, cells(&expected));

    let mut of_namespace = row(client, "/api/v1/namespaces", NAMESPACE).await;
    assert_eq!(of_namespace.pop().unwrap().0, "Age");
    assert_eq!(of_namespace, cells(&[("Name", json!(NAMESPACE)), ("Status", json!("Active"))]));

    for events in ["/api/v1/namespaces/tables/events", "/apis/events.k8s.io/v1/events"] {
        let of_event = row(client, events, "shop.1").await;
        assert_eq!(of_event[0].0, "Last Seen");
        let expected = [
            ("Type", json!("Normal")),
            ("Reason", json!("Issued")),
            ("Object", json!("ingress/shop")),
            ("Message", json!("a certificate")),
        ];
        assert_eq!(of_event[1..], cells(&expected), "{events}");
    }
}

async fn the_events_of_an_object_are_found_in_the_core_group(client: &Client) {
    let about =
        |selector: &str| format!("/api/v1/namespaces/tables/events?fieldSelector={selector}");
    let found = async |selector: &str| {
        let list = read(client, "application/json", &about(selector)).await;
        assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("EventList"), &json!("v1")));
        list["items"].as_array().unwrap().clone()
    };
    // As `kubectl describe` asks.
    let fields =
        "involvedObject.name=shop,involvedObject.namespace=tables,involvedObject.kind=Ingress";
    let events = found(&format!("{fields},involvedObject.uid=u1")).await;
    assert_eq!(events.len(), 1);
    for (field, value) in [
        ("message", "a certificate"),
        ("reason", "Issued"),
        ("type", "Normal"),
        ("reportingComponent", "example.com/test"),
        ("eventTime", "2026-01-01T08:00:00.000000Z"),
    ] {
        assert_eq!(events[0][field], value, "{field}");
    }
    assert_eq!(events[0]["involvedObject"]["name"], "shop");
    assert!(found(&format!("{fields},involvedObject.uid=u2")).await.is_empty());
    let one = read(client, "application/json", "/api/v1/namespaces/tables/events/shop.1").await;
    assert_eq!(one["message"], "a certificate");
}
