//! Probes of minimal web servers, with a minimal nameserver.

mod ipv6;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ports::Probe;

use super::*;

/// Another address of this machine than that of the host.
const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Starts a nameserver that answers A queries with `addresses` of the name in lower case, AAAA
/// queries for the same names with no record, and all others with NXDOMAIN.
fn nameserver_of(
    mut addresses: impl FnMut(&str) -> Option<Vec<Ipv4Addr>> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((_, from)) = socket.recv_from(&mut packet) {
            let end = 12 + packet[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
            let question = &packet[12..end];
            let is_a = question[question.len() - 3] == 1;
            let found = if is_a { addresses(&name_of(question)) } else { Some(Vec::new()) };
            let code = if found.is_some() { 0x80 } else { 0x83 };
            let found = found.unwrap_or_default();
            let count = u16::try_from(found.len()).unwrap().to_be_bytes();
            let mut answer = packet[..2].to_vec();
            answer.extend([0x81, code, 0, 1, count[0], count[1], 0, 0, 0, 0]);
            answer.extend(question);
            for address in found {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend(address.octets());
            }
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

fn name_of(mut question: &[u8]) -> String {
    let mut labels = Vec::new();
    while question[0] != 0 {
        let (label, rest) = question[1..].split_at(usize::from(question[0]));
        labels.push(str::from_utf8(label).unwrap().to_lowercase());
        question = rest;
    }
    labels.join(".")
}

/// `*.here.example` is at loopback, `*.there.example` at another address of loopback, and three
/// more names are where no redirect may lead.
fn nameserver() -> SocketAddr {
    nameserver_of(|name| match name {
        "metadata.example" => Some(vec![Ipv4Addr::new(169, 254, 169, 254)]),
        "private.example" => Some(vec![Ipv4Addr::new(10, 0, 0, 1)]),
        "many.example" => Some(vec![Ipv4Addr::LOCALHOST; 25]),
        name if name.ends_with(".here.example") => Some(vec![Ipv4Addr::LOCALHOST]),
        name if name.ends_with(".there.example") => Some(vec![THERE]),
        _ => None,
    })
}

/// Starts a web server that responds to each request with the result of `answer` for the request
/// and the port.
fn web(answer: impl Fn(&str, u16) -> String + Send + Sync + 'static) -> u16 {
    raw(move |connection, request, port| {
        let _ = connection.write_all(answer(request, port).as_bytes());
    })
}

/// Starts a web server that handles each connection by `answer`, in a thread of its own.
fn raw(answer: impl Fn(&mut TcpStream, &str, u16) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || {
                let mut request = [0; 4096];
                let length = connection.read(&mut request).unwrap();
                answer(&mut connection, str::from_utf8(&request[..length]).unwrap(), port);
            });
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
    reach_by(nameserver(), host, port).await
}

async fn reach_by(nameserver: SocketAddr, host: &str, port: u16) -> Reach {
    let thumbprint = Thumbprint::default();
    thumbprint.set("ours".to_owned());
    let probe = HttpProbe::new(Some(nameserver), port, thumbprint).unwrap();
    probe.probe(&DnsName::parse(host).unwrap()).await
}

fn elsewhere(reach: Reach) -> String {
    match reach {
        Reach::Missed(missed) => missed.why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn our_solver_is_reached_under_the_plain_host() {
    let port = web(|request, _| {
        assert!(request.to_lowercase().contains("\r\nhost: a.here.example\r\n"), "{request}");
        ok(&format!("{}.ours", token_of(request)))
    });
    assert_eq!(reach("a.here.example", port).await, Reach::ReachedInside);
}

#[tokio::test]
async fn a_redirect_is_followed() {
    let port = web(|request, port| {
        if request.contains("/moved/") {
            return ok(&format!("{}.ours", token_of(request)));
        }
        redirect(&format!("http://b.here.example:{port}/moved/{}", token_of(request)))
    });
    assert_eq!(reach("a.here.example", port).await, Reach::ReachedInside);
}

#[tokio::test]
async fn of_another_answer_only_the_class_of_its_status_is_told() {
    for (status, class) in [("404 Not Found", "4xx"), ("503 secret words", "5xx")] {
        let port = web(move |_, _| {
            format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\nserver: secret\r\ncontent-length: 6\r\n\r\nsecret"
            )
        });
        let said = elsewhere(reach("a.here.example", port).await);
        assert_eq!(said, format!("another server answered, HTTP {class} from a private address"));
    }
    let theirs = web(|request, _| ok(&format!("{}.theirs", token_of(request))));
    let endless = web(|_, _| ok(&"x".repeat(1 << 16)));
    for port in [theirs, endless] {
        let said = elsewhere(reach("a.here.example", port).await);
        assert_eq!(said, "another server answered, HTTP 2xx from a private address");
    }
}

/// After a rollover, a load balancer with the thumbprint of before would have the CA count a failed
/// validation for each order.
#[tokio::test]
async fn an_answer_for_another_account_key_does_not_count_and_says_so() {
    let other = "b".repeat(43);
    let port = web(move |request, _| ok(&format!("{}.{other}", token_of(request))));
    let said = elsewhere(reach("a.here.example", port).await);
    assert!(said.contains("answered for another account key"), "{said}");
    assert!(said.contains("`ingress-acme thumbprint`"), "{said}");
}

#[tokio::test]
async fn redirects_that_no_ca_follows_are_not_followed() {
    let round = web(|request, port| {
        redirect(&format!("http://a.here.example:{port}/again/{}", token_of(request)))
    });
    let said = elsewhere(reach("a.here.example", round).await);
    assert!(said.starts_with("more than 10 redirects"), "{said}");
    let odd = web(|_, _| redirect("http://a.here.example:7/"));
    let said = elsewhere(reach("a.here.example", odd).await);
    assert!(said.contains("CAs follow redirects only to ports 80 and 443"), "{said}");
    let nowhere = web(|_, _| redirect(""));
    let missed = reach("a.here.example", nowhere).await;
    let is_answered_inside =
        matches!(missed, Reach::Missed(Missed { answered: true, private: true, .. }));
    assert!(is_answered_inside, "{missed:?}");
    let address =
        web(|request, port| redirect(&format!("http://127.0.0.1:{port}/{}", token_of(request))));
    let said = elsewhere(reach("a.here.example", address).await);
    assert!(said.contains("CAs follow redirects only to public names"), "{said}");
}

#[tokio::test]
async fn names_of_the_cluster_are_not_even_resolved() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let nameserver = nameserver_of(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Some(vec![Ipv4Addr::LOCALHOST])
    });
    let port = web(|request, _| ok(&format!("{}.ours", token_of(request))));
    for host in ["redis.prod.svc", "redis.prod.svc.cluster.local", "redis.prod.svc.cluster.local."]
    {
        let said = elsewhere(reach_by(nameserver, host, port).await);
        assert!(said.contains("a name of the cluster itself"), "{said}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert_eq!(reach_by(nameserver, "a.here.example", port).await, Reach::ReachedInside);
}

#[tokio::test]
async fn metadata_addresses_are_never_asked_also_as_the_first_hop() {
    let port = web(|_, _| ok("never"));
    let Reach::Unresolved(why) = reach("metadata.example", port).await else { panic!("asked") };
    assert!(why.contains("may be asked"), "{why}");
}

#[tokio::test]
async fn a_redirect_leads_to_no_private_address_but_that_of_the_host_itself() {
    let arrived = Arc::new(AtomicUsize::new(0));
    let counted = arrived.clone();
    let to = |host: &'static str| {
        web(move |request, port| redirect(&format!("http://{host}:{port}/{}", token_of(request))))
    };
    let port = to("b.there.example");
    let there = TcpListener::bind((THERE, port)).unwrap();
    thread::spawn(move || {
        for _ in there.incoming() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let said = elsewhere(reach("a.here.example", port).await);
    let expected =
        "a redirect to b.there.example, whose address is neither public nor one of the host";
    assert!(said.starts_with(expected), "{said}");
    assert_eq!(arrived.load(Ordering::Relaxed), 0);
    let said = elsewhere(reach("a.here.example", to("private.example")).await);
    assert!(said.contains("neither public nor one of the host"), "{said}");
    for host in ["metadata.example", "nowhere.example"] {
        let said = elsewhere(reach("a.here.example", to(host)).await);
        assert!(said.contains("which does not resolve"), "{said}");
    }
    let said = elsewhere(reach("a.here.example", to("x.svc.cluster.local.")).await);
    assert!(said.contains("only to public names"), "{said}");
}

#[tokio::test]
async fn a_host_is_resolved_once_so_that_no_later_answer_moves_the_probe() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let nameserver = nameserver_of(move |_| {
        let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
        Some(vec![if first { Ipv4Addr::LOCALHOST } else { THERE }])
    });
    let port = web(|request, port| {
        if request.contains("/moved/") {
            return ok(&format!("{}.ours", token_of(request)));
        }
        redirect(&format!("http://A.here.example.:{port}/moved/{}", token_of(request)))
    });
    assert_eq!(reach_by(nameserver, "a.here.example", port).await, Reach::ReachedInside);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_huge_location_or_head_is_refused_in_a_short_text() {
    let huge = [
        web(|_, _| redirect(&"\"".repeat(400_000))),
        web(|_, _| redirect(&format!("http://{}.example/", "\"".repeat(7_000)))),
        web(|_, _| format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101))),
        web(|_, _| "HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000)),
        web(|_, _| "\u{7}\u{1b}[31m no HTTP".repeat(10_000)),
        raw(|connection, _, _| while connection.write_all(b"HTTP/1.1 200 OKOKOKOK").is_ok() {}),
        raw(|connection, _, _| {
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nx: ");
            while connection.write_all(&[b'y'; 4096]).is_ok() {}
        }),
        raw(|connection, _, _| {
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            while connection.write_all(b"400;x=y\r\n").is_ok()
                && connection.write_all(&[b'z'; 1024]).is_ok()
                && connection.write_all(b"\r\n").is_ok()
            {}
        }),
    ];
    for port in huge {
        let said = elsewhere(reach("a.here.example", port).await);
        assert!(said.len() <= limits::PROBE_TEXT_MAX, "{}", said.len());
        assert!(said.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{said}");
    }
}

#[tokio::test]
async fn one_deadline_ends_whatever_stalls_or_dawdles_and_other_hosts_are_reached_meanwhile() {
    let silent = raw(|_, _, _| thread::park());
    let slow = raw(|connection, _, _| {
        for octet in b"HTTP/1.1 200 OK\r\n".iter().cycle() {
            if connection.write_all(&[*octet]).is_err() {
                return;
            }
            thread::park_timeout(Duration::from_secs(1));
        }
    });
    let half = raw(|connection, _, _| {
        let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nx");
        thread::park();
    });
    let good = web(|request, _| ok(&format!("{}.ours", token_of(request))));
    let late = Reach::silent("no answer within 5 s");
    let (silent, slow, half, good) = tokio::join!(
        reach("a.here.example", silent),
        reach("a.here.example", slow),
        reach("a.here.example", half),
        reach("a.here.example", good)
    );
    assert_eq!([silent, slow, half], [late.clone(), late.clone(), late]);
    assert_eq!(good, Reach::ReachedInside);
}

#[tokio::test]
async fn of_many_addresses_few_are_kept() {
    let names = Names::new(Some(nameserver())).unwrap();
    assert_eq!(names.addresses("many.example").await.unwrap().len(), limits::PROBE_ADDRESSES);
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
