//! pebble-challtestsrv: resolves every name to one address, or fails on demand.

use std::net::Ipv4Addr;
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::binaries::Binaries;
use crate::directory::Directory;
use crate::error::StartError;
use crate::ports::Port;
use crate::process::{Process, Program};

const READY_WITHIN: Duration = Duration::from_secs(20);

/// The DNS server of Pebble and of the operator's probe.
#[derive(Debug)]
pub(crate) struct Dns {
    process: Process,
    /// DNS port, UDP and TCP.
    pub(crate) port: Port,
    /// Management port, plain HTTP.
    management: Port,
}

impl Dns {
    /// Starts the server; [`Dns::ready`] waits for readiness.
    pub(crate) fn start(
        binaries: &Binaries,
        directory: &Directory,
        (port, management): (Port, Port),
        address: Ipv4Addr,
    ) -> Result<Self, StartError> {
        let flag = |name: &str, value: &str| format!("-{name}={value}");
        let process = Program {
            name: "pebble-challtestsrv".into(),
            path: binaries.path("pebble-challtestsrv"),
            args: vec![
                flag("dnsserver", &port.address().to_string()),
                flag("management", &management.address().to_string()),
                flag("defaultIPv4", &address.to_string()),
                // No AAAA records, since nothing listens on IPv6.
                flag("defaultIPv6", ""),
                // These challenge servers would compete with the gateway.
                flag("http01", ""),
                flag("https01", ""),
                flag("tlsalpn01", ""),
                flag("doh", ""),
            ],
            env: Vec::new(),
            log: directory.path().join("challtestsrv.log"),
        }
        .start()?;
        Ok(Self { process, port, management })
    }

    /// Waits until both ports accept TCP connections.
    pub(crate) async fn ready(&self) -> Result<(), StartError> {
        let listens = async |port: &Port| TcpStream::connect(port.address()).await.is_ok();
        let both = async || listens(&self.port).await && listens(&self.management).await;
        self.process.readiness().wait(READY_WITHIN, both).await
    }

    /// Makes the name fail with SERVFAIL, or (`false`) resolve again.
    pub(crate) async fn set_failing(
        &self,
        http: &Client,
        host: &str,
        failing: bool,
    ) -> Result<(), reqwest::Error> {
        let action = if failing { "set-servfail" } else { "clear-servfail" };
        let url = format!("http://{}/{action}", self.management.address());
        let asked = http.post(url).json(&json!({ "host": host })).send().await?;
        asked.error_for_status().map(drop)
    }

    /// Resolves the name to one address, in place of the default.
    pub(crate) async fn resolve(
        &self,
        http: &Client,
        host: &str,
        address: Ipv4Addr,
    ) -> Result<(), reqwest::Error> {
        let url = format!("http://{}/add-a", self.management.address());
        let record = json!({ "host": host, "addresses": [address] });
        http.post(url).json(&record).send().await?.error_for_status().map(drop)
    }

    /// Adds a TXT record beside others of the name.
    pub(crate) async fn add_txt(
        &self,
        http: &Client,
        host: &str,
        value: &str,
    ) -> Result<(), reqwest::Error> {
        self.manage(http, "set-txt", &json!({ "host": host, "value": value })).await
    }

    /// Removes all TXT records of the name.
    pub(crate) async fn clear_txt(&self, http: &Client, host: &str) -> Result<(), reqwest::Error> {
        self.manage(http, "clear-txt", &json!({ "host": host })).await
    }

    /// Sets the CNAME record of the name.
    pub(crate) async fn set_alias(
        &self,
        http: &Client,
        host: &str,
        target: &str,
    ) -> Result<(), reqwest::Error> {
        self.manage(http, "set-cname", &json!({ "host": host, "target": target })).await
    }

    async fn manage(&self, http: &Client, to: &str, record: &Value) -> Result<(), reqwest::Error> {
        let url = format!("http://{}/{to}", self.management.address());
        http.post(url).json(record).send().await?.error_for_status().map(drop)
    }

    /// Process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}
