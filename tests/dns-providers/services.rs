//! Providers that are services: each is asked over HTTPS at its own host, by way of a proxy that
//! stands in for all of them. The environment names the proxy and its roots, so that the test is a
//! process of its own.

mod apis;
mod server;
mod zone;

use std::process::Command;

use ingress_acme::dns_providers::catalog::PROVIDERS;
use ingress_acme::dns_providers::provider::Key;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;

use crate::{Accounts, permanent, record, transient};
use apis::{ACCESS, APIS, Api, TOKEN};
pub(crate) use server::Asked;
use server::Services;
use zone::{OWNERS, ZONE};

/// Environment variable of the process that asks: file of the certificate's key.
const KEY_FILE: &str = "DNS_PROVIDERS_TEST_KEY";

/// Providers with tests of another kind: real servers, the API server, servers of one protocol.
const ELSEWHERE: [&str; 7] =
    ["acme-dns", "dns-persist-01", "external-dns", "httpreq", "powerdns", "rfc2136", "webhook"];

#[test]
fn every_provider_has_a_test() {
    let mut tested: Vec<&str> = APIS.iter().map(|api| api.provider).chain(ELSEWHERE).collect();
    tested.sort_unstable();
    let mut all: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
    all.sort_unstable();
    assert_eq!(tested, all);
}

#[test]
fn the_page_lists_each_provider_with_its_keys() {
    let page = include_str!("../../docs/dns.md");
    for provider in PROVIDERS {
        let key =
            |key: &Key| format!("`{}`{}", key.name, if key.is_required { "" } else { " (option)" });
        let keys: Vec<_> = provider.keys.iter().map(key).collect();
        let keys = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
        let begin = format!("| `{}` | ", provider.name);
        let row = page.lines().find(|line| line.starts_with(&begin));
        let row = row.unwrap_or_else(|| panic!("docs/dns.md has no row of {}", provider.name));
        assert_eq!(row.split(" | ").nth(2), Some(keys.as_str()), "{row}");
    }
}

#[test]
fn services_are_changed_value_by_value_and_no_error_shows_a_credential() {
    let place = tempfile::tempdir().unwrap();
    let hosts = APIS.iter().flat_map(|api| api.hosts).map(|host| (*host).to_owned());
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(hosts.collect::<Vec<_>>()).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let [roots, key_file] = ["roots.pem", "key.pem"].map(|name| place.path().join(name));
    std::fs::write(&roots, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "services::asked_through_the_proxy", "--nocapture"]);
    for name in ["NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "https_proxy", "SSL_CERT_DIR"] {
        child.env_remove(name);
    }
    child.env("HTTPS_PROXY", format!("http://127.0.0.1:{port}"));
    child.env("SSL_CERT_FILE", &roots).env(KEY_FILE, &key_file);
    assert!(child.status().unwrap().success(), "see above");
}

/// The process that asks; started by the test above.
#[tokio::test]
#[ignore = "needs the environment of services_are_changed_value_by_value_and_no_error_shows_a_credential"]
async fn asked_through_the_proxy() {
    let services = serve().await;
    let accounts = Accounts::start().await;
    for api in APIS {
        let keys = [&[("provider", api.provider)], api.keys].concat();
        accounts.account(api.provider, ZONE, &keys).await;
        two_values_come_and_go(&accounts, &services, api.provider).await;
        errors_are_clear(&accounts, &services, api).await;
    }
}

async fn serve() -> Services {
    let roots = std::fs::read_to_string(std::env::var("SSL_CERT_FILE").unwrap()).unwrap();
    let key = std::fs::read_to_string(std::env::var(KEY_FILE).unwrap()).unwrap();
    let key = KeyPair::from_pem(&key).unwrap();
    let der = roots.lines().filter(|line| !line.starts_with("-----")).collect::<String>();
    let der = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, der).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    let tls = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.unwrap().with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let tls = tls.with_single_cert(vec![der.into()], key).unwrap();
    let proxy = std::env::var("HTTPS_PROXY").unwrap();
    let listener = TcpListener::bind(proxy.trim_start_matches("http://")).await.unwrap();
    let services = Services::default();
    tokio::spawn(services.clone().serve(listener, tls));
    services
}

/// Adds two values beside the owner's, one of them twice, and removes one after the other, also
/// twice.
async fn two_values_come_and_go(accounts: &Accounts, services: &Services, provider: &'static str) {
    let [one, other] = ["value-1", "value-2"].map(|value| record(provider, ZONE, ZONE, value));
    for added in [&one, &other, &other] {
        let done = accounts.records.add(added).await;
        done.unwrap_or_else(|error| panic!("{provider}: {error}"));
    }
    assert_eq!(services.values(provider), [OWNERS, "value-1", "value-2"], "{provider}");
    for _ in 0..2 {
        let done = accounts.records.remove(&one).await;
        done.unwrap_or_else(|error| panic!("{provider}: {error}"));
        assert_eq!(services.values(provider), [OWNERS, "value-2"], "{provider}");
    }
    accounts.records.remove(&other).await.unwrap();
    assert_eq!(services.values(provider), [OWNERS], "{provider}");
    assert_eq!(services.count(provider), 2, "{provider}: the record of another name stays");
}

/// Refusals are permanent with advice, a busy service is not, and no echo of a request shows a
/// credential.
async fn errors_are_clear(accounts: &Accounts, services: &Services, api: &Api) {
    let value = record(api.provider, ZONE, ZONE, "value-3");
    let add = async |status| {
        services.trouble(Some(status));
        let done = accounts.records.add(&value).await;
        services.trouble(None);
        done
    };
    let mut errors = Vec::new();
    for status in [401, 403] {
        errors.push(permanent(add(status).await));
    }
    for status in [429, 503] {
        // Its client takes any error of the first request for a zone that is not there.
        errors.push(match api.provider {
            "ovh" => permanent(add(status).await),
            _ => transient(add(status).await),
        });
    }
    for error in errors {
        assert!(
            error.contains("could not add the TXT record _acme-challenge.example.test"),
            "{error}"
        );
        assert!(!error.contains(TOKEN) && !error.contains(ACCESS), "{error}");
    }
}
