//! Secrets of accounts: read, reloaded without a restart, and refused one by one.

use ingress_acme_actors::domain::dns::account::{DnsAccounts, Namespaces, PERSIST};
use ingress_acme_actors::domain::dns::txt::{RecordName, TxtRecord};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::shared_expiries::SharedExpiries;

use crate::{Accounts, SOON, permanent, record};

/// A credential.
const TOKEN: &str = "a-token-that-nobody-sees";

/// A metric of the accounts, as it is scraped.
fn counted(accounts: &Accounts, state: &str) -> u64 {
    let registry =
        accounts.metrics.registry("0", "https://ca.example/", &SharedExpiries::default());
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let line = format!("ingress_acme_dns_accounts{{state=\"{state}\"}} ");
    text.lines().find_map(|shown| shown.strip_prefix(&line)).unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_edited_account_is_read_again_and_one_that_cannot_be_used_leaves_the_others() {
    let accounts = Accounts::start().await;
    let persist = [("provider", PERSIST), ("zones", "example.com")];
    accounts.write("persist", &persist).await;
    let read = accounts.until(|accounts| accounts.get("persist").is_some()).await;
    assert_eq!(read.get("persist").unwrap().namespaces, Namespaces::These([].into()));

    accounts.write("persist", &[persist[0], persist[1], ("namespaces", "*")]).await;
    let is_all = |namespaces: &Namespaces| *namespaces == Namespaces::All;
    accounts.until(|read| read.get("persist").is_some_and(|one| is_all(&one.namespaces))).await;

    write_unusable(&accounts).await;
    accounts.write("last", &persist).await;
    let read = accounts.until(|accounts| accounts.get("last").is_some()).await;
    let names: Vec<_> = read.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(names, ["last", "persist"]);
    assert_eq!((counted(&accounts, "usable"), counted(&accounts, "unusable")), (2, 5));

    let good = [("provider", "cloudflare"), persist[1], ("api-token", TOKEN)];
    accounts.write("no-token", &good).await;
    accounts.until(|accounts| accounts.get("no-token").is_some()).await;
    accounts.delete("no-token").await;
    accounts.until(|accounts| accounts.get("no-token").is_none()).await;
    assert_eq!((counted(&accounts, "usable"), counted(&accounts, "unusable")), (2, 4));
}

#[tokio::test]
async fn an_edit_with_a_mistake_is_told_and_the_account_stays_as_it_was() {
    let mut accounts = Accounts::start().await;
    let listed = tokio::time::timeout(SOON, accounts.read.changed()).await;
    listed.expect("the first list ends, also without an account").unwrap();
    let good = [("provider", "cloudflare"), ("zones", "example.com"), ("api-token", TOKEN)];
    accounts.account("edited", "example.com", &[good[0], good[2]]).await;
    accounts.write("edited", &[good[0], good[1], ("api-tokn", TOKEN)]).await;
    let told = tokio::time::timeout(SOON, accounts.refused.recv()).await.unwrap().unwrap();
    assert_eq!(told.name, "edited");
    assert!(told.reason.contains("the account is used as it was"), "{}", told.reason);
    assert!(!told.uid.is_empty() && !told.reason.contains(TOKEN), "{}", told.reason);
    let kept = accounts.until(|accounts| accounts.get("edited").is_some()).await;
    assert_eq!(kept.get("edited").unwrap().namespaces, Namespaces::All);
    assert_eq!((counted(&accounts, "usable"), counted(&accounts, "unusable")), (1, 1));

    accounts.account("edited", "example.org", &[good[0], good[2]]).await;
    let org = RecordName::parse("example.org").unwrap();
    let is_mended =
        |read: &DnsAccounts| read.get("edited").is_some_and(|one| one.zones.contains(&org));
    accounts.until(is_mended).await;
    assert_eq!((counted(&accounts, "usable"), counted(&accounts, "unusable")), (1, 0));
}

#[tokio::test]
async fn a_record_of_an_account_that_is_at_another_provider_now_is_to_be_removed_by_hand() {
    let accounts = Accounts::start().await;
    accounts
        .account("moved", "example.com", &[("provider", "cloudflare"), ("api-token", TOKEN)])
        .await;
    let record = TxtRecord {
        provider: Some("hetzner".to_owned()),
        ..record("moved", "example.com", "example.com", "the-value")
    };
    let error = permanent(accounts.records.remove(&record).await);
    let parts = ["`hetzner`", "Cloudflare", "by hand", "the-value", "_acme-challenge.example.com"];
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

/// Writes five accounts that cannot be used.
async fn write_unusable(accounts: &Accounts) {
    let (persist, token) = ([("provider", PERSIST), ("zones", "example.com")], TOKEN);
    let unusable = [
        ("unknown", vec![("provider", "no-such"), persist[1]]),
        ("no-token", vec![("provider", "cloudflare"), persist[1]]),
        (
            "two-tokens",
            vec![("provider", "cloudflare"), persist[1], ("api-token", token), ("tokn", token)],
        ),
        ("no-zones", vec![("provider", "cloudflare"), ("api-token", token)]),
        (
            "no-key",
            vec![
                ("provider", "rfc2136"),
                persist[1],
                ("server", "ns.example.com"),
                ("tsig-key-name", "a"),
                ("tsig-secret", "not Base64!"),
            ],
        ),
    ];
    for (name, keys) in &unusable {
        accounts.write(name, keys).await;
    }
}

#[tokio::test]
async fn an_account_that_is_gone_or_writes_nothing_is_a_permanent_error() {
    let accounts = Accounts::start().await;
    accounts.account("persist", "example.com", &[("provider", PERSIST)]).await;
    let error = permanent(
        accounts.records.add(&record("persist", "example.com", "example.com", "v")).await,
    );
    assert!(error.contains("writes nothing"), "{error}");
    accounts.delete("persist").await;
    accounts.until(|accounts| accounts.get("persist").is_none()).await;
    let error = permanent(
        accounts.records.remove(&record("persist", "example.com", "example.com", "v")).await,
    );
    assert!(error.contains("there is no DNS account persist now"), "{error}");
}

#[tokio::test]
async fn an_account_beyond_the_bound_is_read_once_another_is_gone() {
    let accounts = Accounts::start().await;
    let persist = [("provider", PERSIST), ("zones", "example.com")];
    for number in 0..=limits::DNS_ACCOUNTS {
        accounts.write(&format!("account-{number:03}"), &persist).await;
    }
    accounts.write("account-000", &[persist[0], persist[1], ("namespaces", "*")]).await;
    let served = |accounts: &DnsAccounts| {
        accounts.get("account-000").is_some_and(|one| one.namespaces == Namespaces::All)
    };
    let read = accounts.until(served).await;
    let last = format!("account-{:03}", limits::DNS_ACCOUNTS);
    assert_eq!((read.iter().count(), read.get(&last)), (limits::DNS_ACCOUNTS, None));
    accounts.delete("account-001").await;
    let read = accounts.until(|accounts| accounts.get(&last).is_some()).await;
    assert_eq!((read.iter().count(), read.get("account-001")), (limits::DNS_ACCOUNTS, None));
}
