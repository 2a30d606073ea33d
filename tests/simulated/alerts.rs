//! Each alert of deploy/monitoring/rules.yaml on a real Prometheus, with its fault injected in the
//! simulated world: it fires, and clears when the fault is mended. Each query of the dashboard has
//! a result afterwards.
//!
//! The rules are those of users with shorter times: windows and pauses (`[1h]`, `for: 5m`) are
//! divided by [`FASTER`], thresholds are not. Days and minutes of the operator pass because the
//! world begins in the past, and its clock jumps to the time of Prometheus.

mod faults;
mod takeover;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ingress_acme::commands::demo::resident::OperatorThread;
use ingress_acme_sim::{Options, World, free_address};
use serde_json::{Value, json};

use crate::prometheus::{Prometheus, Scrapes};
use crate::{alone, eventually};

const RULES: &str = include_str!("../../deploy/monitoring/rules.yaml");
const DASHBOARD: &str = include_str!("../../deploy/monitoring/dashboard.json");
/// Divisor of the times in the rules: an hour becomes ten seconds.
const FASTER: u64 = 360;
/// Divisor for an alert about the pauses of the watch, which last up to half a minute of real time.
const FASTER_FOR_THE_WATCH: u64 = 60;
/// Time between two scrapes, and between two evaluations: four in the shortest window.
const EVERY: &str = "200ms";
/// Interval of the scans, in this machine's time: jumps of the clock are noticed soon.
const SCAN: Duration = Duration::from_secs(5);

/// The rules with shorter times.
fn faster() -> String {
    let mut divisor = FASTER;
    let mut shorter = String::new();
    for line in RULES.lines() {
        if let Some((_, alert)) = line.split_once("- alert: ") {
            divisor = if alert == "IngressAcmeWatchFails" { FASTER_FOR_THE_WATCH } else { FASTER };
        }
        shorter.push_str(&shorten(line, divisor));
        shorter.push('\n');
    }
    shorter
}

/// Divides each time of a line: behind `[` and `for: `.
fn shorten(line: &str, divisor: u64) -> String {
    let mut shorter = line.to_owned();
    for before in ["[", "for: "] {
        let mut parts = shorter.split(before);
        let mut joined = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part.chars().take_while(char::is_ascii_digit).count();
            let (number, rest) = part.split_at(digits);
            let unit = rest.chars().next().and_then(|unit| match unit {
                'm' => Some(60_000),
                'h' => Some(3_600_000),
                'd' => Some(86_400_000),
                _ => None,
            });
            joined.push_str(before);
            match (number.parse::<u64>(), unit) {
                (Ok(number), Some(unit)) => {
                    let millis = number * unit / divisor;
                    joined.extend([&millis.to_string(), "ms", &rest[1..]]);
                }
                _ => joined.push_str(part),
            }
        }
        shorter = joined;
    }
    shorter
}

#[test]
fn only_times_become_shorter() {
    let short = |line| shorten(line, 360);
    assert_eq!(
        short("increase(x_total[30m]) > 2.5 * 0.01"),
        "increase(x_total[5000ms]) > 2.5 * 0.01"
    );
    assert_eq!(short("        for: 1h"), "        for: 10000ms");
    assert_eq!(
        short("ingress_acme:readiness_late:ratio_rate5m"),
        "ingress_acme:readiness_late:ratio_rate5m"
    );
    let faster = faster();
    assert!(["m]", "h]", "d]"].iter().all(|end| !faster.contains(end)), "{faster}");
    let pauses = faster.lines().filter(|line| line.trim_start().starts_with("for: "));
    assert!(pauses.clone().count() > 10 && pauses.clone().all(|line| line.ends_with("ms")));
}

/// A world with an operator in a thread, on the clock of the world.
struct Site {
    operator: Option<OperatorThread>,
    world: World,
    admin: SocketAddr,
    lives: u32,
}

impl Site {
    /// A world that begins in the past, without an operator yet.
    fn new(past: Duration) -> Self {
        let world = World::start(Options::default()).unwrap();
        world.clock().set_back(past);
        for name in NAMESPACES {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            world.api().load(namespace).unwrap();
        }
        Self { operator: None, world, admin: free_address().unwrap(), lives: 0 }
    }

    fn start(&mut self) {
        self.lives += 1;
        let operator = OperatorThread::start(&self.world, self.lives, self.admin, SCAN).unwrap();
        self.operator = Some(operator);
    }

    /// Ends the operator. Its last steps need other tasks of this runtime.
    async fn end(&mut self) {
        let operator = self.operator.take().unwrap();
        tokio::task::spawn_blocking(|| operator.end().unwrap()).await.unwrap();
    }

    /// Adds `count` Ingresses, each with a host of its own.
    fn add(&self, kind: &str, count: usize) {
        for number in 0..count {
            let name = format!("{kind}{number}");
            let host = format!("{name}.{kind}.test");
            let path = json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "a", "port": {"number": 80}}}});
            let ingress = json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": {"namespace": NAMESPACES[number % NAMESPACES.len()], "name": name},
                "spec": {
                    "rules": [{"host": host, "http": {"paths": [path]}}],
                    "tls": [{"hosts": [host], "secretName": name}],
                },
            });
            self.world.api().load(ingress).unwrap();
        }
    }

    /// Deletes Ingresses that [`Self::add`] made.
    fn remove(&self, kind: &str, count: usize) {
        for number in 0..count {
            let namespace = NAMESPACES[number % NAMESPACES.len()];
            let metadata = json!({"namespace": namespace, "name": format!("{kind}{number}")});
            let (api, kind) = ("networking.k8s.io/v1", "Ingress");
            self.world
                .api()
                .unload(&json!({"apiVersion": api, "kind": kind, "metadata": metadata}));
        }
    }

    async fn has_certificates(&self, count: u64) {
        let what = format!("{count} certificates");
        eventually(&what, async || self.world.ca().counts().certificates >= count).await;
    }
}

/// Namespaces of the Ingresses: no namespace has all workers.
const NAMESPACES: [&str; 3] = ["web", "api", "shop"];

/// The alerts of a Prometheus.
struct Alerts {
    prometheus: Prometheus,
    fired: RefCell<BTreeSet<String>>,
}

impl Alerts {
    /// Firing alerts of this name and job; alerts about certificates have no job.
    async fn firing(&self, name: &str, job: &str) -> Vec<Value> {
        let mut data = self.prometheus.data("alerts", &[]).await.unwrap_or_default();
        let mut all = data["alerts"].as_array_mut().map(std::mem::take).unwrap_or_default();
        all.retain(|alert| {
            let labels = &alert["labels"];
            let is_of_job = labels["job"].as_str().is_none_or(|one| one == job);
            labels["alertname"] == name && is_of_job && alert["state"] == "firing"
        });
        all
    }

    /// Waits until the alert fires, and looks at its texts.
    async fn fires(&self, name: &str, job: &str) {
        eventually(name, async || !self.firing(name, job).await.is_empty()).await;
        for alert in self.firing(name, job).await {
            for text in ["summary", "description"] {
                let text = alert["annotations"][text].as_str().unwrap();
                assert!(!text.contains(['<', '{', '%']) || text.contains("% of"), "{name}: {text}");
            }
        }
        self.fired.borrow_mut().insert(name.to_owned());
    }

    async fn clears(&self, name: &str, job: &str) {
        let what = format!("{name} clears");
        eventually(&what, async || self.firing(name, job).await.is_empty()).await;
    }

    async fn are_quiet(&self, names: &[&str], job: &str) {
        for name in names {
            let firing = self.firing(name, job).await;
            assert!(firing.is_empty(), "{firing:?}");
        }
    }
}

/// Opens connections to a port, and keeps them idle.
fn idle_connections(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(to).unwrap()).collect()
}

/// Waits until each query of the dashboard has a result.
async fn every_panel_has_data(prometheus: &Prometheus) {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut count = 0;
    for target in targets {
        let query = target["expr"].as_str().unwrap().replace("$job", ".+");
        let query = query.replace("$__rate_interval", "1m").replace("$__range", "5m");
        assert!(!query.contains('$'), "{query}");
        eventually(&query, async || prometheus.has(&query).await).await;
        count += 1;
    }
    assert!(count > 30, "{count}");
}

#[actix::test]
async fn each_alert_fires_and_clears_and_each_panel_has_data() {
    let _alone = alone().await;
    let (mut site, other) = (Site::new(faults::PAST), Site::new(Duration::ZERO));
    let (second, rules) = (free_address().unwrap(), faster());
    let jobs = [("site", &[site.admin][..]), ("other", &[other.admin, second][..])];
    faults::certificates_grow_old(&mut site).await;
    let scrapes = Scrapes { jobs: &jobs, rules: &rules, every: EVERY };
    let Some(prometheus) = Prometheus::start(&scrapes) else { return };
    let alerts = Alerts { prometheus, fired: RefCell::default() };
    tokio::join!(
        faults::of_certificates(&mut site, &alerts),
        takeover::of_leaders_and_the_journal(&other, second, &alerts),
    );
    every_panel_has_data(&alerts.prometheus).await;
    site.end().await;
    alerts.fires("IngressAcmeAbsent", "").await;
    site.start();
    alerts.clears("IngressAcmeAbsent", "").await;
    let all = RULES.lines().filter_map(|line| line.split_once("- alert: "));
    let all: BTreeSet<String> = all.map(|(_, name)| name.to_owned()).collect();
    assert_eq!(*alerts.fired.borrow(), all);
    site.end().await;
}
