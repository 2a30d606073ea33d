//! An HTTP server whose clients are not trusted: each connection has a seat, a deadline and a
//! largest request, so that no client keeps others out or takes memory.

mod connection;
mod seats;
mod text;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use actix_http::body::MessageBody;
use actix_http::{ConnectionType, HttpService, KeepAlive};
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::{AppConfig, Server, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{App, Error};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::reporting::metrics::Metrics;
use socket2::SockRef;
use tokio::net::TcpSocket;

use super::SHUTDOWN_SECS;
use connection::{Connection, Crowd};
pub(super) use text::SharedText;

/// Bounds of one port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Largest number of connections.
    pub(super) connections: usize,
    /// Largest number of connections from one address.
    pub(super) per_peer: usize,
    /// Longest request, in bytes.
    pub(super) request_bytes: usize,
    /// Time that an idle connection is kept; `None` if a connection carries one request.
    pub(super) keep_alive: Option<Duration>,
    /// Longest time until a connection ends: after its last answer if connections are kept, after
    /// its begin if not.
    pub(super) ends_within: Duration,
}

impl Bounds {
    /// Bounds of a port for health, metrics or administration.
    pub(super) const ONE_REQUEST: Self = Self {
        connections: limits::CONNECTIONS,
        per_peer: limits::CONNECTIONS_PER_PEER,
        request_bytes: limits::REQUEST_BYTES,
        keep_alive: None,
        ends_within: limits::CONNECTION_LIFE,
    };
    /// Bounds of the solver port.
    pub(super) const SOLVER: Self = Self {
        connections: limits::SOLVER_CONNECTIONS,
        per_peer: limits::SOLVER_CONNECTIONS_PER_PEER,
        request_bytes: limits::REQUEST_BYTES,
        keep_alive: Some(limits::SOLVER_KEEP_ALIVE),
        ends_within: limits::SOLVER_ANSWERS_WITHIN,
    };
}

/// Serves on a listening socket. Returns the server, which must be awaited, and its address. The
/// server has a thread of its own, ignores signals and is stopped by its handle. `port` names the
/// server in metrics.
pub(super) fn serve<F>(
    port: &'static str,
    listener: TcpListener,
    bounds: Bounds,
    metrics: &Metrics,
    routes: F,
) -> io::Result<(Server, SocketAddr)>
where
    F: Fn(&mut ServiceConfig) + Send + Clone + 'static,
{
    let address = listener.local_addr()?;
    let crowd = Crowd::new(port, &bounds, metrics.clone());
    let builder = Server::build()
        .workers(1)
        .max_concurrent_connections(bounds.connections + limits::CONNECTIONS_ACCEPTED)
        .shutdown_timeout(SHUTDOWN_SECS)
        .disable_signals();
    let draining = builder.graceful_shutdown_signal();
    let server = builder.listen(port, listener, move || {
        let (accepting, crowd, draining) = (crowd.clone(), crowd.clone(), draining.clone());
        let app = App::new()
            .app_data(Data::new(crowd))
            .wrap(from_fn(close_when_crowded))
            .configure(routes.clone());
        let http = HttpService::build()
            .keep_alive(bounds.keep_alive.map_or(KeepAlive::Disabled, KeepAlive::Timeout))
            .client_request_timeout(limits::REQUEST_WITHIN)
            .graceful_shutdown_signal(move || {
                let draining = draining.clone();
                async move { draining.notified().await }
            })
            .h1(map_config(app, |()| AppConfig::default()));
        fn_service(move |stream: TcpStream| {
            let peer = stream.peer_addr().ok();
            let connection = Connection::new(stream, accepting.clone(), bounds);
            std::future::ready(Ok((connection, peer)))
        })
        .and_then(http)
    })?;
    Ok((server.run(), address))
}

/// The address of all interfaces: that of IPv6, which takes IPv4 too, unless the host has no IPv6.
pub fn any_address() -> IpAddr {
    let v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let has_v6 = TcpListener::bind((v6, 0)).is_ok();
    if has_v6 { v6 } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) }
}

/// Opens the socket. Accepted connections inherit its send buffer.
pub(super) fn listener(bind: SocketAddr) -> io::Result<TcpListener> {
    let socket = if bind.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if bind.is_ipv6() {
        // Whatever the host's default is (`net.ipv6.bindv6only`).
        SockRef::from(&socket).set_only_v6(false)?;
    }
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(limits::SEND_BUFFER)?;
    socket.bind(bind)?;
    socket.listen(limits::CONNECTIONS_BACKLOG)?.into_std()
}

/// Ends a connection after its answer while many are open, so that idle ones take no seat.
async fn close_when_crowded(
    crowd: Data<Crowd>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let mut answer = next.call(request).await?;
    if crowd.is_crowded() {
        answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn all_interfaces_are_those_of_both_families_where_the_host_has_ipv6() {
        let any = any_address();
        let port = listener(SocketAddr::new(any, 0)).unwrap();
        let port = port.local_addr().unwrap().port();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok(), "over IPv4");
        let over_v6 = TcpStream::connect((Ipv6Addr::LOCALHOST, port));
        assert_eq!(over_v6.is_ok(), any.is_ipv6(), "{over_v6:?}");
    }
}
