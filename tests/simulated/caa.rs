//! CAA records (RFC 8659, RFC 8657) by DNS: `ingress-acme caa` as users call it, and the operator's
//! look before an order.

use ingress_acme_sim::ca::CAA_IDENTITY;
use ingress_acme_sim::dns::Trouble;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use crate::account::{Cluster, Said, field};
use crate::{alone, eventually};

const HOST: &str = "new.example.com";

async fn caa(cluster: &Cluster) -> Said {
    let world = cluster.simulated.world();
    let (directory, nameserver) = (cluster.ca().directory_url(), world.dns().address().to_string());
    let args = ["caa", HOST, "--namespace", "ingress-acme", "--acme-directory", &directory];
    cluster.runs(&[&args[..], &["--nameserver", &nameserver]].concat()).await
}

#[actix::test]
async fn the_command_prints_the_locking_record_and_what_is_there_now() {
    let _alone = alone().await;
    let cluster = Cluster::start().await;
    cluster.add("shop").await;
    let account = field(&cluster.account().await, "account.url").unwrap();
    let zone = cluster.simulated.world().dns().zone().clone();
    let own = [("accounturi", account.as_str()), ("validationmethods", "http-01")];

    let said = caa(&cluster).await;
    assert!(said.success && said.words.contains("any CA may issue"), "{}", said.words);
    let locking = format!(
        "{HOST}. CAA 0 issue \"{CAA_IDENTITY}; accounturi={account}; validationmethods=http-01\""
    );
    assert!(said.words.contains(&locking), "{}", said.words);
    assert!(said.words.contains("locks out every other account"), "{}", said.words);

    zone.set_caa("example.com", &[(None, &[])]);
    let said = caa(&cluster).await;
    assert!(!said.success && said.words.contains("no record names the CA"), "{}", said.words);

    zone.set_caa("example.com", &[(Some(CAA_IDENTITY), &[("accounturi", "https://ca.example/1")])]);
    let said = caa(&cluster).await;
    assert!(!said.success && said.words.contains("another account"), "{}", said.words);

    zone.set_caa("example.com", &[(Some("other.example"), &[]), (Some(CAA_IDENTITY), &own)]);
    let said = caa(&cluster).await;
    assert!(said.success && said.words.contains("may issue by HTTP-01"), "{}", said.words);

    zone.set(HOST, Some(Trouble::ServFail));
    let said = caa(&cluster).await;
    assert!(!said.success && said.words.contains("not known"), "{}", said.words);
    assert!(cluster.simulated.end().await.unwrap().success());
}

async fn record(cluster: &Cluster, more: &[&str]) -> Said {
    let world = cluster.simulated.world();
    let (directory, nameserver) = (cluster.ca().directory_url(), world.dns().address().to_string());
    let args = ["record", "*.example.com", "--namespace", "ingress-acme"];
    let where_to = ["--acme-directory", &directory, "--nameserver", &nameserver];
    cluster.runs(&[&args[..], &where_to[..], more].concat()).await
}

#[actix::test]
async fn the_persistent_record_is_printed_with_what_the_present_ones_mean() {
    let _alone = alone().await;
    let cluster = Cluster::start().await;
    cluster.add("shop").await;
    let account = field(&cluster.account().await, "account.url").unwrap();
    let zone = cluster.simulated.world().dns().zone().clone();
    let name = "_validation-persist.example.com";
    let bare = format!("{CAA_IDENTITY}; accounturi={account}");

    let said = record(&cluster, &[]).await;
    let expected = format!("{name}. IN TXT \"{bare}; policy=wildcard\"");
    assert!(!said.success && said.words.contains(&expected), "{}", said.words);
    assert!(said.words.contains("Now: no record"), "{}", said.words);

    zone.add_txt(name, &bare);
    let said = record(&cluster, &[]).await;
    assert!(!said.success && said.words.contains("lacks policy=wildcard"), "{}", said.words);

    zone.add_txt(name, &format!("{bare}; policy=wildcard"));
    let said = record(&cluster, &["-o", "json"]).await;
    assert!(said.success && said.words.contains("\"seen\": true"), "{}", said.words);
    assert!(cluster.simulated.end().await.unwrap().success());
}

#[actix::test]
async fn a_record_that_forbids_the_ca_costs_no_order_and_one_of_this_account_does_not() {
    let _alone = alone().await;
    let cluster = Cluster::start().await;
    cluster.add("shop").await;
    let zone = cluster.simulated.world().dns().zone().clone();
    let account = field(&cluster.account().await, "account.url").unwrap();
    zone.set_caa("good.example.com", &[(Some(CAA_IDENTITY), &[("accounturi", &account)])]);
    cluster.add("good").await;

    zone.set_caa("new.example.com", &[(None, &[])]);
    let orders = cluster.ca().counts().orders;
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"namespace": "web", "name": "new"}, "spec": {"rules": [{"host": HOST}]},
    });
    cluster.simulated.world().api().load(ingress).unwrap();
    let events: Api<Event> = Api::namespaced(cluster.simulated.target().unwrap().client, "web");
    eventually("an Event that names the record", async || {
        let events = events.list(&ListParams::default()).await.unwrap();
        let mut notes = events.into_iter().filter_map(|event| event.note);
        notes.any(|note| note.contains("CAA record of new.example.com (0 issue \";\")"))
    })
    .await;
    assert_eq!(cluster.ca().counts().orders, orders);
    assert!(cluster.simulated.end().await.unwrap().success());
}
