//! Network of the probe: DNS and TCP of this machine, or those of a simulated world in this
//! process.

use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use ingress_acme_actors::domain::caa::CaaRecord;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection to a server.
pub trait Connection: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection for T {}

/// Type of a record that a challenge needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChallengeRecord {
    /// Target of a CNAME record.
    Alias,
    /// Zone whose SOA record is there.
    Zone,
    /// Texts of TXT records, behind all CNAME records.
    Text,
}

/// DNS and connections of a world in this process.
#[async_trait(?Send)]
pub trait Network: Send + Sync {
    /// Addresses of a host.
    ///
    /// # Errors
    /// Why there are none, as `dig` says it (`NXDOMAIN`).
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String>;

    /// CAA records of this very domain (RFC 8659).
    ///
    /// # Errors
    /// Why the nameserver has not answered.
    async fn caa(&self, domain: &str) -> Result<Vec<CaaRecord>, String>;

    /// Records of challenges at this very name.
    ///
    /// # Errors
    /// Why the nameserver has not answered.
    async fn challenge(&self, name: &str, kind: ChallengeRecord) -> Result<Vec<String>, String>;

    /// Connects to a server.
    ///
    /// # Errors
    /// As of a TCP connection.
    async fn connect(&self, server: SocketAddr) -> io::Result<Box<dyn Connection>>;
}

/// Connects over TCP.
pub(super) async fn connect(server: SocketAddr) -> io::Result<Box<dyn Connection>> {
    Ok(Box::new(TcpStream::connect(server).await?))
}
