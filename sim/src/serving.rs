//! Runs a server in a thread with an actix system of its own, independent of the caller's runtime.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::rt::System;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer};

use crate::SimError;

/// Keep-alive time, long enough for clients to keep connections through a pause in a load test.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Length of the accept queue; a load test opens many connections at once.
const BACKLOG: u32 = 4096;

/// A running HTTP server. Dropping the value closes the socket and joins the thread.
#[derive(Debug)]
pub(crate) struct Serving {
    address: SocketAddr,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Starts a server on `address`, with TLS if given; port 0 means any free port. `beside` runs
    /// in the same thread for as long as the server.
    pub(crate) fn start<C, B, F>(
        name: &'static str,
        address: SocketAddr,
        tls: Option<rustls::ServerConfig>,
        configure: C,
        beside: B,
    ) -> Result<Self, SimError>
    where
        C: Fn(&mut ServiceConfig) + Clone + Send + 'static,
        B: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let failed = || SimError::io(format!("start the {name} on {address}"));
        let (started, server) = mpsc::channel();
        let run = move || {
            System::new().block_on(async move {
                match listen(address, tls, configure) {
                    Ok((server, address)) => {
                        let beside = actix_web::rt::spawn(beside());
                        // The receiver waits for exactly this message, so the send succeeds.
                        _ = started.send(Ok((server.handle(), address)));
                        _ = server.await;
                        beside.abort();
                    }
                    Err(error) => _ = started.send(Err(error)),
                }
            });
        };
        let thread = thread::Builder::new().name(name.into()).spawn(run).map_err(failed())?;
        let gone = || Err(io::Error::other("its thread ended"));
        let (server, address) = server.recv().unwrap_or_else(|_| gone()).map_err(failed())?;
        Ok(Self { address, server, thread: Some(thread) })
    }

    /// Address of the server.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // The call sends the command; the future only waits for completion.
        drop(self.server.stop(false));
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

fn listen(
    address: SocketAddr,
    tls: Option<rustls::ServerConfig>,
    configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> io::Result<(Server, SocketAddr)> {
    let server = HttpServer::new(move || App::new().configure(configure.clone()))
        .workers(1)
        .backlog(BACKLOG)
        .keep_alive(KEEP_ALIVE)
        .disable_signals();
    let server = match tls {
        Some(tls) => server.bind_rustls_0_23(address, tls)?,
        None => server.bind(address)?,
    };
    let address = server.addrs().first().copied();
    let address = address.ok_or_else(|| io::Error::other("no socket"))?;
    Ok((server.run(), address))
}
