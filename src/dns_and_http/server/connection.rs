//! A client's connection with its bounds: a seat, a deadline and a largest request. The HTTP
//! library has none of these for a client that reads slowly, or that sends the headers of its
//! second request a byte at a time.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use actix_web::rt::net::TcpStream;
use actix_web::rt::time::{Instant, Sleep, sleep};
use ingress_acme_actors::reporting::metrics::Metrics;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::Bounds;
use super::seats::Seats;

/// Open connections of one port, shared between its connections.
#[derive(Clone)]
pub(super) struct Crowd {
    port: &'static str,
    seats: Arc<Mutex<Seats<oneshot::Sender<()>>>>,
    metrics: Metrics,
}

impl Crowd {
    /// No connections yet. `metrics` shows their number under the name of the port.
    pub(super) fn new(port: &'static str, bounds: &Bounds, metrics: Metrics) -> Self {
        metrics.connections(port, 0);
        let seats = Seats::new(bounds.connections, bounds.per_peer);
        Self { port, seats: Arc::new(Mutex::new(seats)), metrics }
    }

    /// Whether so many connections are open that none is kept without a request.
    pub(super) fn is_crowded(&self) -> bool {
        self.seats().is_crowded()
    }

    fn enter(&self, peer: IpAddr) -> (u64, oneshot::Receiver<()>) {
        let (end, ended) = oneshot::channel();
        let mut seats = self.seats();
        let (number, leaver) = seats.enter(peer, end);
        if let Some(leaver) = leaver {
            self.metrics.connection_dropped(self.port);
            _ = leaver.send(()); // fails if that connection is ending by itself
        }
        self.metrics.connections(self.port, seats.len());
        (number, ended)
    }

    fn leave(&self, number: u64) {
        let mut seats = self.seats();
        _ = seats.leave(number); // None if the connection had to leave
        self.metrics.connections(self.port, seats.len());
    }

    fn seats(&self) -> MutexGuard<'_, Seats<oneshot::Sender<()>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's connection.
pub(super) struct Connection {
    stream: TcpStream,
    peer: IpAddr,
    crowd: Crowd,
    bounds: Bounds,
    /// Seat, and the order to leave. Taken at the first read: a client whose request has arrived by
    /// then is answered in the same poll, however many connections follow.
    seat: Option<(u64, oneshot::Receiver<()>)>,
    deadline: Pin<Box<Sleep>>,
    /// Bytes read since the last answer.
    unanswered: usize,
    over: bool,
}

impl Connection {
    /// Wraps a connection that was just accepted.
    pub(super) fn new(stream: TcpStream, crowd: Crowd, bounds: Bounds) -> Self {
        // A connection that has been reset already has no peer.
        let unknown = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let peer = stream.peer_addr().map_or(unknown, |peer| peer.ip().to_canonical());
        let deadline = Box::pin(sleep(bounds.ends_within));
        Self { stream, peer, crowd, bounds, seat: None, deadline, unanswered: 0, over: false }
    }

    /// Whether the connection must end: its seat or its time is gone, or its request is too long.
    /// Registers the task to be woken when that happens.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let Self { crowd, peer, .. } = self;
        let (_, leave) = self.seat.get_or_insert_with(|| crowd.enter(*peer));
        self.over = self.over
            || self.unanswered > self.bounds.request_bytes
            || Pin::new(leave).poll(cx).is_ready()
            || self.deadline.as_mut().poll(cx).is_ready();
        self.over
    }

    fn answered(&mut self) {
        self.unanswered = 0;
        if let Some((number, _)) = &self.seat {
            self.crowd.seats().answered(*number);
        }
        if self.bounds.keep_alive.is_some() {
            let next = Instant::now() + self.bounds.ends_within;
            self.deadline.as_mut().reset(next);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some((number, _)) = &self.seat {
            self.crowd.leave(*number);
        }
    }
}

impl AsyncRead for Connection {
    /// Reads from the client. The end of the connection is an end of the stream and no error,
    /// because the HTTP library would log an error.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over(cx) {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.unanswered += buffer.filled().len() - before;
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(_)) = written {
            self.answered();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A client, and the server's end of its connection.
    async fn pair(crowd: &Crowd, bounds: Bounds) -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (client, Connection::new(stream, crowd.clone(), bounds))
    }

    fn crowd(bounds: &Bounds) -> Crowd {
        Crowd::new("solver", bounds, Metrics::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_dropped_and_its_seat_is_free() {
        let crowd = crowd(&Bounds::SOLVER);
        let (_client, mut connection) = pair(&crowd, Bounds::SOLVER).await;
        assert_eq!(connection.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(crowd.seats().len(), 1);
        drop(connection);
        assert_eq!(crowd.seats().len(), 0);
    }

    /// Sends byte after byte until the server ends the connection.
    async fn trickle(client: &mut TcpStream, connection: &mut Connection) {
        let sent = async {
            while let 1.. = connection.read(&mut [0; 8]).await.unwrap() {
                client.write_all(b"x").await.unwrap();
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), sent).await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_sends_byte_after_byte_is_dropped_also_after_an_answer() {
        let bounds = Bounds { ends_within: Duration::from_millis(100), ..Bounds::SOLVER };
        let crowd = crowd(&bounds);
        for is_answered in [false, true] {
            let (mut client, mut connection) = pair(&crowd, bounds).await;
            client.write_all(b"request").await.unwrap();
            if is_answered {
                connection.write_all(b"answer").await.unwrap();
            }
            trickle(&mut client, &mut connection).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_dropped() {
        let bounds = Bounds::ONE_REQUEST;
        let (_client, mut connection) = pair(&crowd(&bounds), bounds).await;
        let text = vec![b'x'; 64 * 1024 * 1024];
        let error = connection.write_all(&text).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_request_without_an_end_is_cut() {
        let bounds = Bounds { request_bytes: 100, ..Bounds::ONE_REQUEST };
        let (mut client, mut connection) = pair(&crowd(&bounds), bounds).await;
        client.write_all(&[b'x'; 1_000]).await.unwrap();
        let mut received = Vec::new();
        let mut chunk = [0; 60];
        while let read @ 1.. = connection.read(&mut chunk).await.unwrap() {
            received.extend_from_slice(&chunk[..read]);
        }
        assert_eq!(received.len(), 120, "the chunk that passes the bound is the last one");
    }

    #[tokio::test]
    async fn the_longest_unanswered_connection_ends_in_favour_of_a_newer_one() {
        let bounds = Bounds { per_peer: 2, ..Bounds::SOLVER };
        let crowd = crowd(&bounds);
        let (mut first_client, mut first) = pair(&crowd, bounds).await;
        let (_second_client, mut second) = pair(&crowd, bounds).await;
        for connection in [&mut first, &mut second] {
            assert!(!std::future::poll_fn(|cx| Poll::Ready(connection.is_over(cx))).await);
        }
        first.write_all(b"answer").await.unwrap();
        let (_third_client, mut third) = pair(&crowd, bounds).await;
        assert!(!std::future::poll_fn(|cx| Poll::Ready(third.is_over(cx))).await);
        assert_eq!(second.read(&mut [0; 8]).await.unwrap(), 0);
        first_client.write_all(b"more").await.unwrap();
        assert_eq!(first.read(&mut [0; 8]).await.unwrap(), 4);
    }
}
