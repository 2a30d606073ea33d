//! The four ports over real sockets, under clients that mean no good: idle ones, ones that send a
//! byte a second, ones that read nothing. A good client gets its answer all the time. Times are
//! only deadlines.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fmt::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Gate};
use std::time::Duration;

use clap::Parser;
use ingress_acme::commands::cli::{AdapterConfig, Cli, Command};
use ingress_acme::dns_and_http::admin::Health;
use ingress_acme::dns_and_http::listeners::Role;
use ingress_acme::dns_and_http::solver::Thumbprint;
use ingress_acme::process::process_metrics;
use ingress_acme::process::servers::{Servers, listen};
use ingress_acme::process::succession::Succession;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::reporting::metrics::Metrics;
use ingress_acme_actors::shared_expiries::SharedExpiries;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_mins(1);
const IDLE: usize = 2_000;
const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ";
/// Addresses of the bad clients and of another pod; all of 127/8 is this machine.
const BAD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Waits for the other tests to finish, and allows more open files than a shell does.
async fn alone() -> MutexGuard<'static, ()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(16_384, |most| most.min(16_384));
    if current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).unwrap();
    }
    ONE_AT_A_TIME.lock().await
}

fn config(flags: &[String]) -> AdapterConfig {
    let words = ["ingress-acme".to_owned(), "run".to_owned()];
    match Cli::try_parse_from(words.iter().chain(flags)).unwrap().command {
        Command::Run(args) => args.split().1,
        other => panic!("parsed as {other:?}"),
    }
}

/// A process with its four ports.
struct Ports {
    servers: Servers,
}

impl Ports {
    fn open() -> Self {
        Self::with(Vec::new())
    }

    /// Opens one port for all but challenges.
    fn on(address: SocketAddr) -> Self {
        let shared = ["admin", "metrics", "health"].map(|port| format!("--{port}-bind={address}"));
        let flags = shared.into_iter().chain(["--solver-bind=127.0.0.1:0".to_owned()]);
        Self::with_flags(&flags.collect::<Vec<_>>(), Vec::new())
    }

    /// Opens all ports. `collectors` add to the metrics.
    fn with(collectors: Vec<Box<dyn Collector>>) -> Self {
        let flags = ["solver", "admin", "metrics", "health"];
        Self::with_flags(&flags.map(|port| format!("--{port}-bind=127.0.0.1:0")), collectors)
    }

    fn with_flags(flags: &[String], collectors: Vec<Box<dyn Collector>>) -> Self {
        let metrics = Metrics::default();
        let registry =
            metrics.registry("1.2.3", "https://ca.example/dir", &SharedExpiries::default());
        let mut registry = process_metrics::register(registry);
        for one in collectors {
            registry.register_collector(one);
        }
        let health = Health::new(registry, metrics.clone(), "https://ca.example/dir");
        health.set_ready(true);
        let thumbprint = Thumbprint::default();
        thumbprint.set("thumbprint".to_owned());
        let servers =
            listen(&config(flags), &health, &thumbprint, &metrics, Succession::default()).unwrap();
        Self { servers }
    }

    fn address(&self, port: &str) -> SocketAddr {
        let role = match port {
            "solver" => return self.servers.solver,
            "health" => Role::Health,
            "metrics" => Role::Metrics,
            _ => {
                let admin = self.servers.others.iter().find(|one| one.roles[0] == Role::Admin);
                return admin.unwrap().bind;
            }
        };
        self.servers.address(role).unwrap()
    }

    /// Each port with a path that it answers.
    fn all(&self) -> [(&'static str, SocketAddr, String); 4] {
        let challenge = format!("/.well-known/acme-challenge/{TOKEN}");
        [
            ("solver", challenge),
            ("health", "/livez".to_owned()),
            ("metrics", "/metrics".to_owned()),
            ("admin", "/".to_owned()),
        ]
        .map(|(port, path)| (port, self.address(port), path))
    }

    /// Number of open connections to a port, as the process counts them.
    async fn connections(&self, port: &str) -> usize {
        let text = get(OTHER, self.address("metrics"), "/metrics").await.unwrap();
        value(&text, &format!("ingress_acme_connections{{port=\"{port}\"}}"))
    }

    async fn close(self) {
        self.servers.stop(false).await;
    }
}

fn value(text: &str, series: &str) -> usize {
    let line = text.lines().find(|line| line.starts_with(&format!("{series} ")));
    let line = line.unwrap_or_else(|| panic!("{series} in\n{text}"));
    let number = line.rsplit(' ').next().unwrap();
    number.split('.').next().unwrap().parse().unwrap()
}

async fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    timeout(PATIENCE, socket.connect(to)).await?
}

/// A good client: one request, whose answer is read at once. Fails unless the status is 200.
async fn get(from: IpAddr, to: SocketAddr, path: &str) -> io::Result<String> {
    let asked = async {
        let mut stream = connect(from, to).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer = timeout(PATIENCE, asked).await??;
    if !answer.starts_with("HTTP/1.1 200 OK\r\n") {
        return Err(io::Error::other(format!("{path}: {answer:?}")));
    }
    Ok(answer)
}

/// Asserts that good clients are answered: one of the bad clients' own address, one of another.
async fn all_is_well(port: &str, to: SocketAddr, path: &str) {
    for from in [BAD, OTHER] {
        let answer = get(from, to, path).await;
        answer.unwrap_or_else(|error| panic!("{port} for {from}: {error}"));
    }
}

#[actix::test]
async fn two_thousand_idle_connections_to_a_port_keep_no_client_from_its_answer() {
    let _alone = alone().await;
    let ports = Ports::open();
    for (port, to, path) in ports.all() {
        let mut idle = Vec::new();
        for number in 0..IDLE {
            idle.push(connect(BAD, to).await.unwrap());
            if number % 500 == 499 {
                all_is_well(port, to, &path).await;
            }
        }
        let most = if port == "solver" {
            limits::SOLVER_CONNECTIONS_PER_PEER
        } else {
            limits::CONNECTIONS_PER_PEER
        };
        let open = ports.connections(port).await;
        assert!(open <= most + 1, "{open} connections to {port}");
        for (other, to, path) in ports.all() {
            all_is_well(other, to, &path).await;
        }
    }
    ports.close().await;
}

#[actix::test]
async fn clients_that_send_a_byte_a_second_keep_no_client_from_its_answer() {
    let _alone = alone().await;
    let ports = Ports::open();
    for (port, to, path) in ports.all() {
        let mut slow = Vec::new();
        for _ in 0..600 {
            let mut stream = connect(BAD, to).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.unwrap();
            slow.push(stream);
        }
        for _ in 0..3 {
            for stream in &mut slow {
                // Fails for a connection that had to make room.
                let _ = stream.try_write(b"x");
            }
            all_is_well(port, to, &path).await;
            sleep(Duration::from_secs(1)).await;
        }
    }
    ports.close().await;
}

#[actix::test]
async fn idle_connections_of_many_addresses_keep_no_client_from_its_answer() {
    let _alone = alone().await;
    let ports = Ports::open();
    for (port, to, path) in ports.all() {
        let mut idle = Vec::new();
        for number in 0..600_u16 {
            let [high, low] = number.to_be_bytes();
            idle.push(connect(IpAddr::from([127, 1, high, low]), to).await.unwrap());
        }
        all_is_well(port, to, &path).await;
    }
    ports.close().await;
}

/// Megabytes of metrics; counts how often they are written.
#[derive(Clone, Debug, Default)]
struct Large(Arc<AtomicU64>);

const SERIES: usize = 20_000;

impl Collector for Large {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let mut series = encoder.encode_descriptor("large", "Large.", None, MetricType::Gauge)?;
        let long = "x".repeat(200);
        for number in 0..SERIES {
            let labels = [("number", number.to_string()), ("long", long.clone())];
            ConstGauge::new(1_i64).encode(series.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[actix::test]
async fn eight_hundred_slow_readers_of_metrics_cost_one_text_a_second_of_each_format_and_few_at_a_time()
 {
    let _alone = alone().await;
    let large = Large::default();
    let ports = Ports::with(vec![Box::new(large.clone())]);
    let to = ports.address("metrics");
    let before = get(OTHER, to, "/metrics").await.unwrap();
    let began = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..8 {
        for number in 0..100 {
            let mut stream = connect(BAD, to).await.unwrap();
            let kind = ["text/plain", "application/openmetrics-text"][number % 2];
            let request =
                format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {kind}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            slow.push(stream);
        }
        sleep(limits::ANSWER_AGE).await;
    }
    let text = get(OTHER, to, "/metrics").await.unwrap();
    assert!(text.ends_with('\n') && text.len() > 4_000_000, "{} bytes", text.len());
    // A bound on a count, on a machine of any speed: each cache makes one text in a second.
    let (made, seconds) = (large.0.load(Ordering::Relaxed), began.elapsed().as_secs());
    assert!(made <= 2 * (seconds + 3), "{made} texts in {seconds} s");
    all_is_well("health", ports.address("health"), "/livez").await;
    let open = ports.connections("metrics").await;
    assert!(open <= limits::CONNECTIONS_PER_PEER + 1, "{open} connections");
    if cfg!(target_os = "linux") {
        let peak = |text| value(text, "ingress_acme_process_resident_memory_peak_bytes");
        let after = get(OTHER, to, "/metrics").await.unwrap();
        let grown = peak(&after).saturating_sub(peak(&before));
        let texts = grown / text.len();
        println!("{made} texts of {} bytes made; {grown} bytes more at the peak", text.len());
        assert!(texts < 40, "800 slow readers took {grown} bytes, as many as {texts} texts");
    }
    ports.close().await;
}

/// Metrics that take until the gate opens.
#[derive(Debug)]
struct Stuck(Arc<Gate<()>>);

impl Collector for Stuck {
    fn encode(&self, _: DescriptorEncoder) -> Result<(), Error> {
        drop(self.0.lock());
        Ok(())
    }
}

#[actix::test]
#[expect(clippy::await_holding_lock, reason = "the lock stands for a scrape without an end")]
async fn a_scrape_without_an_end_keeps_no_other_port_from_its_answers() {
    let _alone = alone().await;
    let gate = Arc::new(Gate::new(()));
    let ports = Ports::with(vec![Box::new(Stuck(Arc::clone(&gate)))]);
    let closed = gate.lock().unwrap();
    let to = ports.address("metrics");
    let scrape = actix::spawn(async move { get(OTHER, to, "/metrics").await });
    for (port, to, path) in ports.all().into_iter().filter(|(port, ..)| *port != "metrics") {
        all_is_well(port, to, &path).await;
    }
    assert!(!scrape.is_finished());
    drop(closed);
    scrape.await.unwrap().unwrap();
    ports.close().await;
}

/// A page that asks for changes: the connection, once the first message has come.
async fn watch(from: IpAddr, to: SocketAddr) -> TcpStream {
    let mut stream = connect(from, to).await.unwrap();
    stream.write_all(b"GET /changes HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(14).any(|part| part == b"event: changed") {
        let read = timeout(PATIENCE, stream.read_buf(&mut answer)).await.unwrap().unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
    }
    stream
}

#[actix::test]
async fn streams_that_nobody_reads_are_few_and_end_and_keep_no_client_from_its_answer() {
    let _alone = alone().await;
    // One port for all paths, so that streams are beside health and metrics.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ports = Ports::on(free);
    let mut page = watch(OTHER, free).await;
    let mut unread = Vec::new();
    for number in 0..400_u16 {
        let [high, low] = number.to_be_bytes();
        unread.push(watch(IpAddr::from([127, 1, high, low]), free).await);
        if number % 100 == 99 {
            for path in ["/livez", "/metrics", "/"] {
                all_is_well("admin", free, path).await;
            }
        }
    }
    let mut rest = Vec::new();
    let end = timeout(PATIENCE, page.read_to_end(&mut rest)).await.unwrap();
    end.expect("the oldest stream has ended");
    assert!(rest.ends_with(b"0\r\n\r\n") && rest.len() < 4_096, "{} bytes", rest.len());
    // Each of the others ends as well: nothing is left of them after the life of a connection.
    let ended = async {
        loop {
            let text = get(OTHER, free, "/metrics").await.unwrap();
            if value(&text, "ingress_acme_connections{port=\"admin\"}") <= 1 {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("the streams end");
    drop(unread);
    ports.close().await;
}

#[actix::test]
async fn a_busy_port_is_reported_with_its_flag_its_address_and_a_way_out() {
    let _alone = alone().await;
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap();
    for port in ["solver", "admin", "metrics", "health"] {
        let flags = ["solver", "admin", "metrics", "health"].map(|other| {
            let free = "127.0.0.1:0".parse().unwrap();
            format!("--{other}-bind={}", if other == port { address } else { free })
        });
        let metrics = Metrics::default();
        let health = Health::new(Registry::default(), metrics.clone(), "https://ca.example/dir");
        let listening = listen(
            &config(&flags),
            &health,
            &Thumbprint::default(),
            &metrics,
            Succession::default(),
        );
        let error = format!("{:#}", listening.err().expect("the address is in use"));
        assert!(error.starts_with(&format!("--{port}-bind {address} cannot be listened on")));
        let variable = format!("INGRESS_ACME_{}_BIND", port.to_uppercase());
        assert!(error.contains("choose another address") && error.contains(&variable), "{error}");
        assert!(error.contains("Address already in use"), "{error}");
    }
}

#[actix::test]
async fn one_address_for_all_flags_is_one_listener_that_answers_all() {
    let _alone = alone().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let shared = ["admin", "metrics", "health"].map(|port| format!("--{port}-bind={free}"));
    let flags: Vec<String> =
        shared.into_iter().chain(["--solver-bind=127.0.0.1:0".to_owned()]).collect();
    let metrics = Metrics::default();
    let health = Health::new(Registry::default(), metrics.clone(), "https://ca.example/dir");
    health.set_ready(true);
    let servers =
        listen(&config(&flags), &health, &Thumbprint::default(), &metrics, Succession::default())
            .unwrap();
    assert_eq!(servers.others.len(), 1);
    for path in ["/", "/ingresses", "/livez", "/readyz", "/metrics", "/debug/state"] {
        get(OTHER, free, path).await.unwrap();
    }
    servers.stop(false).await;
}
