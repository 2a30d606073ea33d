//! Pebble, the ACME CA: configuration, counts from its log, and detection of a wedged Pebble.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Client;
use serde_json::{Map, Value, json};

use crate::error::StartError;
use crate::options::Options;
use crate::ports::Port;
use crate::process::{Program, Readiness};
use crate::setup::Setup;

const READY_WITHIN: Duration = Duration::from_secs(30);
/// Timeout of the directory, which needs no database and answers in time on any machine.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// Time after which a database access hangs on a lock; without a lock, an access takes
/// microseconds.
const WEDGED_AFTER: Duration = Duration::from_secs(8);

/// The three ports of Pebble.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) acme: Port,
    pub(crate) management: Port,
    /// Validation port of TLS-ALPN-01, on which nothing answers.
    pub(crate) tls_alpn: Port,
}

impl Ports {
    /// Chooses the ports.
    pub(crate) fn reserve(
        reserve: impl Fn() -> Result<Port, StartError>,
    ) -> Result<Self, StartError> {
        Ok(Self { acme: reserve()?, management: reserve()?, tls_alpn: reserve()? })
    }

    /// URL of the directory (RFC 8555 §7.1.1).
    pub(crate) fn directory_url(&self) -> String {
        format!("https://localhost:{}/dir", self.acme.number())
    }

    /// URL of the root of the issued certificates, which is new at each start. Number 0 is the root
    /// of the default chain, the others are roots of its alternates.
    pub(crate) fn roots_url(&self, number: u32) -> String {
        format!("https://localhost:{}/roots/{number}", self.management.number())
    }

    fn set_renewal_info_url(&self) -> String {
        format!("https://localhost:{}/set-renewal-info/", self.management.number())
    }

    /// Waits until Pebble answers on the ACME and management ports.
    pub(crate) async fn ready(&self, ca: Readiness, http: &Client) -> Result<(), StartError> {
        let (acme, management) = (self.directory_url(), self.roots_url(0));
        let ready = async || {
            gets_within(http, &acme, ANSWERS_WITHIN).await
                && gets_within(http, &management, ANSWERS_WITHIN).await
        };
        ca.wait(READY_WITHIN, ready).await
    }

    /// Whether Pebble answers, but hangs on requests that need its database. In that case a lock is
    /// held for ever (Pebble issue 554), and only a restart helps.
    ///
    /// A new account would hang too, but needs a signed request. Setting the renewal information of
    /// an unknown certificate takes the same lock for writing, needs no signature and changes
    /// nothing.
    pub(crate) async fn wedged(&self, http: &Client, unknown_certificate: &str) -> bool {
        if !gets_within(http, &self.directory_url(), ANSWERS_WITHIN).await {
            return false;
        }
        let body = json!({ "certificate": unknown_certificate, "ariResponse": "" });
        let request = http.post(self.set_renewal_info_url()).json(&body);
        tokio::time::timeout(WEDGED_AFTER, request.send()).await.is_err()
    }
}

async fn gets_within(http: &Client, url: &str, deadline: Duration) -> bool {
    let answer = tokio::time::timeout(deadline, http.get(url).send()).await;
    answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status().is_success()))
}

/// Writes the files of the Pebble `name` and returns its command line.
pub(crate) fn program(
    name: &str,
    setup: &Setup,
    ports: &Ports,
    (validation_port, dns): (u16, SocketAddr),
    options: &Options,
) -> Result<Program, StartError> {
    let Setup { binaries, directory, root_ca, .. } = setup;
    let leaf = root_ca.leaf("pebble")?;
    let certificate = directory.write(&format!("{name}.pem"), &leaf.certificate_pem)?;
    let key = directory.write(&format!("{name}-key.pem"), &leaf.key_pem)?;
    let config = config(ports, validation_port, &certificate, &key, options);
    let config = directory.write(&format!("{name}.json"), &config.to_string())?;
    let mut env = vec![("PEBBLE_VA_NOSLEEP".to_owned(), "1".to_owned())];
    if let Some(percent) = options.nonce_reject_percent {
        env.push(("PEBBLE_WFE_NONCEREJECT".to_owned(), percent.to_string()));
    }
    env.extend(options.ca_env.iter().cloned());
    Ok(Program {
        name: name.into(),
        path: binaries.path("pebble"),
        args: vec![format!("-config={}", config.display()), format!("-dnsserver={dns}")],
        env,
        log: directory.path().join(format!("{name}.log")),
    })
}

fn config(
    ports: &Ports,
    validation_port: u16,
    certificate: &PathBuf,
    key: &PathBuf,
    options: &Options,
) -> Value {
    let profiles: Map<String, Value> = options
        .profiles
        .iter()
        .map(|(name, life)| {
            (name.clone(), json!({ "description": name, "validityPeriod": life.as_secs() }))
        })
        .collect();
    let external: Map<String, Value> = options
        .external_accounts
        .iter()
        .map(|(kid, mac)| (kid.clone(), mac.clone().into()))
        .collect();
    json!({ "pebble": {
        "listenAddress": ports.acme.address(),
        "managementListenAddress": ports.management.address(),
        "certificate": certificate,
        "privateKey": key,
        "httpPort": validation_port,
        "tlsPort": ports.tls_alpn.number(),
        "ocspResponderURL": "",
        "externalAccountBindingRequired": !options.external_accounts.is_empty(),
        "externalAccountMACKeys": external,
        "keyAlgorithm": "ecdsa",
        "retryAfter": { "authz": options.retry_after_seconds, "order": options.retry_after_seconds },
        "profiles": profiles,
    }})
}

/// Number of certificates issued according to a log, over all restarts in the log.
pub(crate) fn certificates_issued(log: &str) -> usize {
    count(log, "Issued certificate serial ")
}

/// Number of orders created according to a log, over all restarts in the log.
pub(crate) fn orders_created(log: &str) -> usize {
    count(log, "Added order ")
}

/// Number of authorizations that a failed validation has made invalid, according to a log, over all
/// restarts in the log.
pub(crate) fn validations_failed(log: &str) -> usize {
    messages(log).filter(|text| text.contains(" set INVALID by completed challenge ")).count()
}

fn count(log: &str, message: &str) -> usize {
    messages(log).filter(|text| text.starts_with(message)).count()
}

/// Messages without their `Pebble DATE TIME`; text elsewhere in a line may come from a client.
fn messages(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter_map(|line| line.strip_prefix("Pebble ")?.splitn(3, ' ').nth(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
Pebble 2026/01/31 10:00:00 Starting Pebble ACME server
2026/01/31 10:00:00 Configured to reject 5% of good nonces
Pebble 2026/01/31 10:00:01 Added order \"a1\" to the db
Pebble 2026/01/31 10:00:01 There are now 1 orders in the db
Pebble 2026/01/31 10:00:02 Pulled a task: \"Added order Issued certificate serial \"
Pebble 2026/01/31 10:00:02 Issued certificate serial 2b for order a1
Pebble 2026/01/31 10:00:03 Starting Pebble ACME server
Pebble 2026/01/31 10:00:04 Added order \"b1\" to the db
Pebble 2026/01/31 10:00:04 There are now 1 orders in the db
";

    #[test]
    fn orders_are_counted_over_restarts() {
        assert_eq!(orders_created(LOG), 2);
    }

    #[test]
    fn certificates_are_counted_and_words_of_clients_are_not() {
        assert_eq!(certificates_issued(LOG), 1);
    }
}
