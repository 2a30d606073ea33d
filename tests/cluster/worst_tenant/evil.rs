//! Hosts that harm whoever asks them, behind one HTTP server. The label before [`DOMAIN`] selects
//! the harm.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Domain of all evil hosts.
pub(super) const DOMAIN: &str = "evil.example.com";
/// Labels below [`DOMAIN`], each with a harm of its own.
pub(super) const HARMS: [&str; 8] =
    ["dead", "stall", "drip", "huge", "many", "loop", "endless", "gone"];
/// Address of all evil hosts; nothing else of the world listens there.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 254);
/// Length of a huge header. A client that reads more refuses the answer.
const HUGE: usize = 300 * 1024;

/// A running server; ends on drop.
pub(super) struct Evil(Option<oneshot::Sender<()>>);

impl Evil {
    /// Listens on `port` of an address of its own.
    pub(super) fn start(port: u16) -> Self {
        let (end, ended) = oneshot::channel();
        let listener = std::net::TcpListener::bind((ADDRESS, port)).expect("the evil address");
        listener.set_nonblocking(true).expect("a listener of tokio");
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all();
        let runtime = runtime.build().expect("a runtime");
        thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! { () = accept(&listener, port) => {}, _ = ended => {} }
            });
        });
        Self(Some(end))
    }
}

impl Drop for Evil {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

async fn accept(listener: &TcpListener, port: u16) {
    loop {
        let accepted: std::io::Result<(TcpStream, SocketAddr)> = listener.accept().await;
        if let Ok((stream, _)) = accepted {
            tokio::spawn(async move { answer(stream, port).await });
        }
    }
}

/// Answers until the client gives up.
async fn answer(mut stream: TcpStream, port: u16) -> Option<()> {
    let harm = harm_of(&mut stream).await?;
    match harm.as_str() {
        "stall" => send(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n").await?,
        "drip" => drip(&mut stream).await?,
        "huge" => send(&mut stream, &redirect("huge", port, &"\"".repeat(HUGE))).await?,
        "many" => send(&mut stream, &many_headers(port)).await?,
        "loop" => send(&mut stream, &redirect("loop", port, &"x".repeat(HUGE / 4))).await?,
        "endless" => endless(&mut stream).await?,
        _ => {}
    }
    // Nothing more comes; the client decides on the end.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    Some(())
}

/// Reads a request and returns the label of its host that names the harm.
async fn harm_of(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
    let request = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let host = request.lines().find_map(|line| line.strip_prefix("host: "))?;
    let above = host.split_once(&format!(".{DOMAIN}"))?.0;
    Some(above.rsplit('.').next()?.to_owned())
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).await.ok()
}

/// Sends a byte a second.
async fn drip(stream: &mut TcpStream) -> Option<()> {
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nmuch later" {
        send(stream, &[*byte]).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Some(())
}

/// Sends a body without an end.
async fn endless(stream: &mut TcpStream) -> Option<()> {
    send(stream, b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let part = vec![b'x'; 64 * 1024];
    loop {
        send(stream, &part).await?;
    }
}

fn redirect(harm: &str, port: u16, path: &str) -> Vec<u8> {
    let to = format!("http://again.{harm}.{DOMAIN}:{port}/{path}");
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

/// A redirect among as many headers as clients read.
fn many_headers(port: u16) -> Vec<u8> {
    let value = "v".repeat(HUGE / 90);
    let mut headers = format!("HTTP/1.1 302 Found\r\nLocation: http://n.many.{DOMAIN}:{port}/\r\n");
    for number in 0..90 {
        _ = write!(headers, "X-{number}: {value}\r\n");
    }
    (headers + "Content-Length: 0\r\n\r\n").into_bytes()
}
