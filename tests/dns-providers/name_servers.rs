//! Real name servers as providers: two values of one name, of which only ours is removed, and the
//! errors of wrong keys, unknown zones and servers that do not answer.

use ingress_acme_control_plane::{API_KEY, Bind, PowerDns, TSIG_KEY_NAME, TSIG_SECRET};

use crate::{Accounts, are_installed, permanent, record, transient};

/// The zone, with a record of its owner at the name of a challenge.
const ZONE: &str = "example.test";
const RECORDS: &str = "_acme-challenge IN TXT \"of-the-owner\"";
const NAME: &str = "_acme-challenge.example.test";
/// Another Base64 of the length of a key.
const WRONG_SECRET: &str = "d3JvbmctbG9uZy1zZWNyZXQtbG9uZy1lbm91Z2g=";

/// Adds two values beside the owner's, one of them twice, and removes one after the other, also
/// twice. `txt` asks the server.
async fn two_values_come_and_go(accounts: &Accounts, account: &str, txt: impl Fn() -> Vec<String>) {
    let [one, other] = ["value-1", "value-2"].map(|value| record(account, ZONE, ZONE, value));
    for added in [&one, &other, &other] {
        accounts.records.add(added).await.unwrap();
    }
    assert_eq!(txt(), ["of-the-owner", "value-1", "value-2"]);
    for _ in 0..2 {
        accounts.records.remove(&one).await.unwrap();
        assert_eq!(txt(), ["of-the-owner", "value-2"]);
    }
    accounts.records.remove(&other).await.unwrap();
    assert_eq!(txt(), ["of-the-owner"]);
}

#[tokio::test]
async fn bind_is_updated_value_by_value_and_its_errors_say_what_to_do() {
    if !are_installed(&["named", "dig"]) {
        return;
    }
    let mut bind = Bind::start(&[(ZONE, RECORDS)]).await.unwrap();
    let accounts = Accounts::start().await;
    let (v4, v6) = (bind.address().to_string(), format!("[::1]:{}", bind.address().port()));
    let by_name = format!("localhost:{}", bind.address().port());
    let key = [("provider", "rfc2136"), ("tsig-key-name", TSIG_KEY_NAME)];
    let with = |server, secret| [key[0], key[1], ("server", server), ("tsig-secret", secret)];
    for (name, server) in [("v4", &v4), ("v6", &v6), ("by-name", &by_name)] {
        accounts.account(name, ZONE, &with(server, TSIG_SECRET)).await;
        two_values_come_and_go(&accounts, name, || bind.txt(NAME)).await;
    }

    accounts.account("wrong-secret", ZONE, &with(&v4, WRONG_SECRET)).await;
    let error = permanent(accounts.records.add(&record("wrong-secret", ZONE, ZONE, "v")).await);
    assert!(error.contains("check the keys of the Secret wrong-secret"), "{error}");
    assert!(!error.contains(WRONG_SECRET), "{error}");
    let unknown = [("tsig-key-name", "nobody"), ("provider", "rfc2136")];
    let unknown = [&unknown[..], &[("server", &v4), ("tsig-secret", TSIG_SECRET)]].concat();
    accounts.account("wrong-name", ZONE, &unknown).await;
    let error = permanent(accounts.records.add(&record("wrong-name", ZONE, ZONE, "v")).await);
    assert!(error.contains("check the keys of the Secret wrong-name"), "{error}");

    let elsewhere = record("v4", "example.org", "example.org", "v");
    let error = permanent(accounts.records.add(&elsewhere).await);
    assert!(error.contains("zone example.org"), "{error}");
    assert_eq!(bind.txt(NAME), ["of-the-owner"]);

    bind.kill();
    let error = transient(accounts.records.add(&record("v4", ZONE, ZONE, "v")).await);
    assert!(error.contains("no answer of 127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn power_dns_is_changed_value_by_value_and_its_errors_say_what_to_do() {
    if !are_installed(&["pdns_server", "pdnsutil", "sqlite3", "dig"]) {
        return;
    }
    let mut server = PowerDns::start(&[(ZONE, RECORDS)]).await.unwrap();
    let (accounts, api) = (Accounts::start().await, server.api());
    let with = |key| [("provider", "powerdns"), ("endpoint", api.as_str()), ("api-key", key)];
    accounts.account("right", ZONE, &with(API_KEY)).await;
    two_values_come_and_go(&accounts, "right", || server.txt(NAME)).await;

    accounts.account("wrong", ZONE, &with("a-wrong-key-of-the-api")).await;
    let error = permanent(accounts.records.add(&record("wrong", ZONE, ZONE, "v")).await);
    assert!(error.contains("check the keys of the Secret wrong"), "{error}");
    assert!(!error.contains("a-wrong-key-of-the-api"), "{error}");

    let elsewhere = record("right", "example.org", "example.org", "v");
    let error = permanent(accounts.records.add(&elsewhere).await);
    assert!(error.contains("check that zone example.org is at PowerDNS"), "{error}");
    assert_eq!(server.txt(NAME), ["of-the-owner"]);

    server.kill();
    let error = transient(accounts.records.add(&record("right", ZONE, ZONE, "v")).await);
    assert!(error.contains("PowerDNS could not add the TXT record"), "{error}");
}
