//! Wildcards by DNS-01 on real servers: the operator with its own rights on the real API server,
//! BIND and PowerDNS as providers, and a Pebble that resolves their zones.

use std::net::SocketAddr;
use std::time::Duration;

use ingress_acme_control_plane::{
    API_KEY, Bind, PowerDns, TSIG_KEY_NAME, TSIG_SECRET, World, eventually, installed,
    retry_when_wedged,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use crate::commands::output;
use crate::sites::{PATIENCE, Site, events, namespace, secret};
use crate::{alone, operator_with};

const ZONE: &str = "example.test";
const CHALLENGE: &str = "_acme-challenge.example.test";
const RECORDS: &str = "@ IN A 127.0.0.1\n* IN A 127.0.0.1\n_acme-challenge IN TXT \"of-the-owner\"";
/// Time in which records are gone again: the cleaner looks each second.
const CLEAN: Duration = Duration::from_secs(30);

/// Whether these programs are there. CI has all of them.
fn are_installed(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|program| installed(program).is_none()).collect();
    assert!(missing.is_empty() || std::env::var_os("CI").is_none(), "not installed: {missing:?}");
    if !missing.is_empty() {
        eprintln!("passed over: {missing:?} are not installed");
    }
    missing.is_empty()
}

/// Creates a DNS account for the zone with these keys.
async fn account(client: &Client, keys: &[(&str, &str)]) {
    let common = [("zones", ZONE), ("namespaces", "web")];
    let data: serde_json::Map<_, _> =
        common.iter().chain(keys).map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let account: Secret = serde_json::from_value(json!({
        "metadata": {"name": "dns-zone", "labels": {"ingress-acme.dev/dns-account": "true"}},
        "stringData": data,
    }))
    .expect("a Secret");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "ingress-acme");
    secrets.create(&PostParams::default(), &account).await.expect("the account");
}

/// Serves a wildcard and its domain in one certificate, with two values at one name beside that of
/// the owner.
async fn served(
    world: &World,
    server: SocketAddr,
    keys: &[(&str, &str)],
    txt: impl Fn(&str) -> Vec<String>,
) {
    let client = world.admin();
    namespace(&client, "web").await;
    let pebble = world.start_pebble_with(server).await.expect("a Pebble");
    let directory = format!("--acme-directory={}", pebble.directory());
    let [nameserver, resolver] =
        ["nameserver", "dns01-resolvers"].map(|flag| format!("--{flag}={server}"));
    let _operator = operator_with(world, &[&*directory, &*nameserver, &*resolver]).await;
    let hosts = ["*.example.test", ZONE];
    let site = Site::new("web", "shop", &hosts).annotation("ingress-acme.dev/challenge", "dns-01");
    site.tls("shop", &hosts).create(&client).await;
    let first = async || events(&client, "web", "shop").await.into_iter().next();
    let (_, told) = eventually(PATIENCE, "an Event", first).await;
    assert!(told.contains("no DNS account has its zone for namespace web"), "{told}");
    assert_eq!(planned(world).await, [ZONE], "without an account");
    account(&client, keys).await;
    assert_eq!(planned(world).await, hosts, "with the account");
    let what = "a certificate with the wildcard";
    let names = eventually(PATIENCE, what, async || {
        let found = secret(&client, "web", "shop").await?;
        let chain = String::from_utf8(found.data?.remove("tls.crt")?.0).ok()?;
        let names = ingress_acme::pki::inspect(&chain, None).ok()?.names;
        names.contains("*.example.test").then_some(names)
    })
    .await;
    assert_eq!(names.into_iter().collect::<Vec<_>>(), hosts);
    eventually(CLEAN, "no record of ours", async || {
        (txt(CHALLENGE) == ["of-the-owner"]).then_some(())
    })
    .await;
    assert!(pebble.orders_created() <= 2, "one without the wildcard, before there was an account");
}

/// Names that `plan` says the site gets.
async fn planned(world: &World) -> Vec<String> {
    let text = output(world, &["plan", "-n", "web", "-o", "json", "--public-ca=false"]).await;
    let plan: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    serde_json::from_value(plan["ingresses"][0]["names"].clone()).expect("names")
}

#[tokio::test]
async fn bind_and_power_dns_prove_a_wildcard_to_pebble_and_keep_only_what_was_theirs() {
    if !are_installed(&["named", "dig", "pdns_server", "pdnsutil", "sqlite3"]) {
        return;
    }
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let bind = Bind::start(&[(ZONE, RECORDS)]).await.expect("BIND");
        let server = bind.address().to_string();
        let keys = [
            ("provider", "rfc2136"),
            ("server", &*server),
            ("tsig-key-name", TSIG_KEY_NAME),
            ("tsig-secret", TSIG_SECRET),
        ];
        served(world, bind.address(), &keys, |name| bind.txt(name)).await;
    })
    .await;
    retry_when_wedged(3, async |world: &World| {
        let power_dns = PowerDns::start(&[(ZONE, RECORDS)]).await.expect("PowerDNS");
        let api = power_dns.api();
        let keys = [("provider", "powerdns"), ("endpoint", &*api), ("api-key", API_KEY)];
        served(world, power_dns.address(), &keys, |name| power_dns.txt(name)).await;
    })
    .await;
}
