//! Hosts at both `127.0.0.1` and `::1`, with another server behind each.

use std::net::Ipv6Addr;

use ingress_acme_actors::domain::doctor::hosts::Answer as Answered;

use super::*;

/// Starts a nameserver that gives each name this address of each family.
fn nameserver(v4: Ipv4Addr, v6: Ipv6Addr) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((_, from)) = socket.recv_from(&mut packet) {
            let end = 12 + packet[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
            let kind = packet[end - 3];
            let data = if kind == 1 { v4.octets().to_vec() } else { v6.octets().to_vec() };
            let mut answer = packet[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            answer.extend(&packet[12..end]);
            answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0]);
            answer.push(u8::try_from(data.len()).unwrap());
            answer.extend(data);
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

/// Serves `answer` for each request at `::1` and this port, and counts the requests.
fn web_over_ipv6(port: u16, answer: impl Fn(&str) -> String + Send + 'static) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).unwrap();
    let asked = Arc::<AtomicUsize>::default();
    let served = asked.clone();
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            served.fetch_add(1, Ordering::Relaxed);
            let mut request = [0; 4096];
            let length = connection.read(&mut request).unwrap();
            let request = str::from_utf8(&request[..length]).unwrap();
            let _ = connection.write_all(answer(request).as_bytes());
        }
    });
    asked
}

fn ours() -> u16 {
    web(|request, _| ok(&format!("{}.ours", token_of(request))))
}

/// The answers over both, and over IPv6.
async fn both(port: u16, v6: Ipv6Addr) -> (Reach, OverIpv6) {
    let thumbprint = Thumbprint::default();
    thumbprint.set("ours".to_owned());
    let nameserver = nameserver(Ipv4Addr::LOCALHOST, v6);
    let probe = HttpProbe::new(Some(nameserver), port, thumbprint).unwrap();
    let host = DnsName::parse("a.here.example").unwrap();
    (probe.probe(&host).await, probe.over_ipv6(&host).await)
}

const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn another_server_over_ipv6_is_told_after_a_second_look_and_the_host_stays_reached() {
    let port = ours();
    let asked = web_over_ipv6(port, |_| NOT_FOUND.to_owned());
    let (reach, found) = both(port, Ipv6Addr::LOCALHOST).await;
    let what = "another server answered, HTTP 4xx from a private address".to_owned();
    assert_eq!((reach, found), (Reach::ReachedInside, OverIpv6::Elsewhere(what)));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_route_that_is_late_over_ipv6_is_no_difference() {
    let port = ours();
    let first = AtomicUsize::new(0);
    let asked = web_over_ipv6(port, move |request| {
        if first.fetch_add(1, Ordering::Relaxed) == 0 {
            return NOT_FOUND.to_owned();
        }
        ok(&format!("{}.ours", token_of(request)))
    });
    assert_eq!(both(port, Ipv6Addr::LOCALHOST).await.1, OverIpv6::Reached);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_refused_connection_over_ipv6_is_told_and_one_that_does_not_come_about_is_not() {
    let (reach, refused) = both(ours(), Ipv6Addr::LOCALHOST).await;
    let OverIpv6::Elsewhere(what) = refused else { panic!("{refused:?}") };
    assert!(reach.is_reached() && what.contains("connection refused"), "{what}");
    // Documentation addresses (RFC 3849): no route leads there.
    let (reach, silent) = both(ours(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)).await;
    assert!(reach.is_reached() && matches!(silent, OverIpv6::Silent(_)), "{silent:?}");
}

#[tokio::test]
async fn a_host_without_addresses_that_the_same_ca_sees_over_both_is_not_asked() {
    let global = Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0, 0, 1);
    assert_eq!(both(ours(), global).await.1, OverIpv6::NotAsked, "private and public");
    let (thumbprint, host) = (Thumbprint::default(), DnsName::parse("a.here.example").unwrap());
    let probe = HttpProbe::new(Some(super::nameserver()), ours(), thumbprint).unwrap();
    assert_eq!(probe.over_ipv6(&host).await, OverIpv6::NotAsked, "no AAAA record");
}

/// The answer of each family by itself, where the probe has this key.
async fn families(port: u16, v6: Ipv6Addr, key: Option<&str>) -> Vec<Answered> {
    let thumbprint = Thumbprint::default();
    if let Some(key) = key {
        thumbprint.set(key.to_owned());
    }
    let nameserver = nameserver(Ipv4Addr::LOCALHOST, v6);
    let probe = HttpProbe::new(Some(nameserver), port, thumbprint).unwrap();
    let found = probe.by_family(&DnsName::parse("a.here.example").unwrap()).await.unwrap();
    assert_eq!(found.addresses.len(), 2, "{found:?}");
    let own = |(address, _): &(IpAddr, Answered)| address.is_ipv6();
    assert_eq!(found.answers.iter().map(own).collect::<Vec<_>>(), [false, true]);
    found.answers.into_iter().map(|(_, answer)| answer).collect()
}

#[tokio::test]
async fn each_family_answers_for_itself() {
    let own = "o".repeat(43);
    let solver = |key: &str| {
        let key = key.to_owned();
        move |request: &str| ok(&format!("{}.{key}", token_of(request)))
    };
    let answer = solver(&own);
    let port = web(move |request, _| answer(request));
    web_over_ipv6(port, |_| NOT_FOUND.to_owned());
    let found = families(port, Ipv6Addr::LOCALHOST, Some(&own)).await;
    let what = "another server answered, HTTP 4xx from a private address".to_owned();
    assert_eq!(found, [Answered::Ours, Answered::Other(what)]);
    let answer = solver(&own);
    let port = web(move |request, _| answer(request));
    let found = families(port, Ipv6Addr::LOCALHOST, None).await;
    let [Answered::Solver, Answered::Refused(why)] = &found[..] else { panic!("{found:?}") };
    assert!(why.contains("connection refused"), "{why}");
    let answer = solver(&own);
    let port = web(move |request, _| answer(request));
    let nowhere = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let found = families(port, nowhere, Some(&"x".repeat(43))).await;
    assert!(
        matches!(&found[0], Answered::Other(why) if why.contains("another account key")),
        "{found:?}"
    );
    assert!(matches!(&found[1], Answered::Silent(_)), "{found:?}");
}
