//! DNS and the hosts of the Ingresses within the process, with faults, as the probe sees them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use ingress_acme::dns_and_http::probe::{ChallengeRecord, Connection, Network};
use ingress_acme_actors::domain::caa::CaaRecord;
use ingress_acme_sim::dns::{Trouble, Zone};
use ingress_acme_sim::exchange::{Body, InProcess, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::faults::{Fault, STALL, Schedule};

/// Answer about a name that does not exist, as `dig` says it.
const NXDOMAIN: &str = "NXDOMAIN";
/// Bytes on their way in each direction of a connection.
const IN_FLIGHT: usize = 16 * 1024;

/// DNS, and the gateway in front of the cluster.
pub(crate) struct Hosts {
    pub(crate) zone: Zone,
    pub(crate) gateway: InProcess,
    pub(crate) faults: Arc<Schedule>,
}

impl Hosts {
    async fn resolve(&self, host: &str) -> Result<IpAddr, String> {
        let (_, fault) = self.faults.turn(&format!("dns {host}")).await;
        match (self.zone.resolve(host), fault) {
            (Err(Trouble::NxDomain), _) => Err(NXDOMAIN.to_owned()),
            (Err(_), _) | (_, Some(Fault::Refused(..))) => Err("Server Failure".to_owned()),
            (_, Some(Fault::Dropped | Fault::Stalled)) => {
                Err("the nameserver does not answer".to_owned())
            }
            (Ok(address), _) => Ok(address.into()),
        }
    }
}

#[async_trait(?Send)]
impl Network for Hosts {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        Ok(vec![self.resolve(host.trim_end_matches('.')).await?])
    }

    async fn caa(&self, domain: &str) -> Result<Vec<CaaRecord>, String> {
        self.resolve(domain).await.map(|_| Vec::new())
    }

    async fn challenge(&self, name: &str, kind: ChallengeRecord) -> Result<Vec<String>, String> {
        match self.resolve(name).await {
            Ok(_) => {}
            Err(why) if why == NXDOMAIN => return Ok(Vec::new()),
            Err(why) => return Err(why),
        }
        Ok(match kind {
            ChallengeRecord::Alias => self.zone.alias(name).into_iter().collect(),
            ChallengeRecord::Zone => {
                self.zone.servers(name).map(|_| name.to_owned()).into_iter().collect()
            }
            ChallengeRecord::Text => self.zone.txt(name).unwrap_or_default(),
        })
    }

    async fn connect(&self, server: SocketAddr) -> io::Result<Box<dyn Connection>> {
        let (_, fault) = self.faults.turn("connect").await;
        if fault == Some(Fault::Stalled) {
            tokio::time::sleep(STALL).await;
        }
        let is_there = server.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST);
        if !is_there || fault == Some(Fault::Dropped) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (client, server) = tokio::io::duplex(IN_FLIGHT);
        actix::spawn(serve(server, self.gateway.clone(), fault));
        Ok(Box::new(client))
    }
}

/// Answers one request over HTTP/1.1, and closes.
async fn serve(mut connection: DuplexStream, gateway: InProcess, fault: Option<Fault>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = connection.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or("/");
    let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let response = gateway(Request::new("GET", host, path)).await;
    let Body::Whole(body) = response.body else { return };
    let (status, length) = (response.status, body.len());
    let answer = format!("HTTP/1.1 {status} .\r\ncontent-length: {length}\r\n\r\n");
    let all = [answer.as_bytes(), &body].concat();
    let sent = match fault {
        Some(Fault::Unanswered) => 0,
        Some(Fault::Cut) => all.len() / 2,
        _ => all.len(),
    };
    _ = connection.write_all(&all[..sent]).await; // the probe may have given up
}
