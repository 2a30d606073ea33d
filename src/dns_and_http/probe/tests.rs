//! Probes of minimal web servers, with a minimal nameserver.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;

use ports::Probe;

use super::*;

/// Starts a nameserver that answers A queries for `*.here.example` with loopback, AAAA queries for
/// the same names with no record, and all others with NXDOMAIN.
fn nameserver() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((_, from)) = socket.recv_from(&mut packet) {
            let end = 12 + packet[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
            let question = &packet[12..end];
            let here = question.windows(13).any(|part| part == b"\x04here\x07example");
            let a = here && question[question.len() - 3] == 1;
            let mut answer = packet[..2].to_vec();
            answer.extend([0x81, if here { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(a), 0, 0, 0, 0]);
            answer.extend(question);
            if a {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            }
            socket.send_to(&answer, from).unwrap();
        }
    });
    address
}

/// Starts a web server that responds to each request with the result of `answer` for the request
/// and the port.
fn web(answer: impl Fn(&str, u16) -> String + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let length = connection.read(&mut request).unwrap();
            let request = str::from_utf8(&request[..length]).unwrap();
            let _ = connection.write_all(answer(request, port).as_bytes());
        }
    });
    port
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn redirect(to: &str) -> String {
    format!(
        "HTTP/1.1 302 Found\r\nconnection: close\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"
    )
}

fn token_of(request: &str) -> &str {
    let path = request.split(' ').nth(1).unwrap();
    path.rsplit('/').next().unwrap()
}

async fn reach(host: &str, port: u16) -> Reach {
    let _ = default_provider().install_default();
    let thumbprints = Thumbprints::default();
    thumbprints.add("ours".to_owned());
    let probe = HttpProbe::new(Some(nameserver()), port, thumbprints).unwrap();
    probe.probe(&DnsName::parse(host).unwrap()).await
}

fn elsewhere(reach: Reach) -> String {
    match reach {
        Reach::Elsewhere(what) => what,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn our_solver_is_reached_under_the_plain_host() {
    let port = web(|request, _| {
        assert!(request.to_lowercase().contains("\r\nhost: a.here.example\r\n"), "{request}");
        ok(&format!("{}.ours", token_of(request)))
    });
    assert_eq!(reach("a.here.example", port).await, Reach::Reached);
}

#[tokio::test]
async fn a_redirect_is_followed() {
    let port = web(|request, port| {
        if request.contains("/moved/") {
            return ok(&format!("{}.ours", token_of(request)));
        }
        redirect(&format!("http://b.here.example:{port}/moved/{}", token_of(request)))
    });
    assert_eq!(reach("a.here.example", port).await, Reach::Reached);
}

#[tokio::test]
async fn other_answers_say_what_and_from_where() {
    let missing = web(|_, _| {
        "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned()
    });
    let said = elsewhere(reach("a.here.example", missing).await);
    assert_eq!(said, "HTTP 404 from 127.0.0.1");
    let theirs = web(|request, _| ok(&format!("{}.theirs", token_of(request))));
    let said = elsewhere(reach("a.here.example", theirs).await);
    assert_eq!(said, "HTTP 200 with another answer from 127.0.0.1");
    let endless = web(|_, _| ok(&"x".repeat(1 << 16)));
    let said = elsewhere(reach("a.here.example", endless).await);
    assert_eq!(said, "HTTP 200 with another answer from 127.0.0.1");
}

#[tokio::test]
async fn redirects_that_no_ca_follows_are_not_followed() {
    let round = web(|_, port| redirect(&format!("http://a.here.example:{port}/again")));
    let said = elsewhere(reach("a.here.example", round).await);
    assert!(said.starts_with("more than 10 redirects"), "{said}");
    let odd = web(|_, _| redirect("http://a.here.example:7/"));
    let said = elsewhere(reach("a.here.example", odd).await);
    assert!(said.ends_with("CAs follow redirects only to ports 80 and 443"), "{said}");
    let nowhere = web(|_, _| redirect(""));
    assert!(matches!(reach("a.here.example", nowhere).await, Reach::Elsewhere(_)));
}

#[tokio::test]
async fn a_closed_port_is_elsewhere_and_a_name_without_address_is_unresolved() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let said = elsewhere(reach("a.here.example", closed).await);
    assert!(said.contains("connection refused"), "{said}");
    let reach = reach("a.nowhere.example", closed).await;
    assert_eq!(reach, Reach::Unresolved("NXDOMAIN".to_owned()));
}

#[test]
fn tokens_are_long_and_never_the_same() {
    let (one, other) = (token().unwrap(), token().unwrap());
    assert_eq!((one.len(), other.len()), (32, 32));
    assert_ne!(one, other);
}
