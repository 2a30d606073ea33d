//! Metrics for Prometheus. Host names are never labels of counters or histograms, because a storm
//! would create too many series.

mod expiries;
mod labels;
mod totals;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::domain::failure::FailureClass;
use crate::domain::rate_limits::RateLimits;
use crate::domain::scheduling::scheduler::Load;
use crate::domain::status::readiness::Readiness;
use crate::domain::time::Timestamp;
use crate::ports::PortError;
use crate::shared_expiries::SharedExpiries;

use expiries::ExpiryCollector;
use labels::{
    ByAnswer, ByEndpoint, ByEvent, ByKind, ByPlan, ByPort, ByReason, ByRequest, ByResult, ByScope,
    BySource, ByState, ByStep, ByWrite,
};
pub use labels::{IssueKind, Source};
pub use totals::Totals;

fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 2.5, 12))
}

/// All metrics. Each is a handle, so clones are cheap.
#[derive(Clone, Debug)]
pub struct Metrics {
    events: Family<BySource, Counter>,
    coalesced: Counter,
    dedup_actors: Gauge,
    runs: Family<ByState, Gauge>,
    oldest_queued: Gauge,
    issued: Family<ByKind, Counter>,
    failed: Family<ByReason, Counter>,
    issuance: Histogram,
    readiness: Family<ByResult, Counter>,
    steps: Family<ByStep, Histogram, fn() -> Histogram>,
    journal: Family<ByEvent, Counter>,
    journal_segments: Family<ByState, Gauge>,
    streams_set_aside: Gauge,
    journal_unreadable: Counter,
    ingresses: Gauge,
    last_scan: Gauge,
    watch_restarts: Family<ByReason, Counter>,
    acme_requests: Family<ByAnswer, Counter>,
    acme_durations: Family<ByEndpoint, Histogram, fn() -> Histogram>,
    kube_requests: Family<ByRequest, Counter>,
    answers: Counter,
    events_dropped: Counter,
    leader: Gauge,
    limited_until: Family<ByScope, Gauge>,
    waiting_for_limit: Family<ByScope, Gauge>,
    new_orders_stopped: Gauge,
    cas_loads: Family<ByResult, Counter>,
    cas_file_is_bad: Gauge,
    dry_run: Family<ByPlan, Gauge>,
    dns_accounts: Family<ByState, Gauge>,
    dns_writes: Family<ByWrite, Counter>,
    connections: Family<ByPort, Gauge>,
    connections_dropped: Family<ByPort, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            events: Family::default(),
            coalesced: Counter::default(),
            dedup_actors: Gauge::default(),
            runs: Family::default(),
            oldest_queued: Gauge::default(),
            issued: Family::default(),
            failed: Family::default(),
            issuance: durations(),
            readiness: Family::default(),
            steps: Family::new_with_constructor(durations),
            journal: Family::default(),
            journal_segments: Family::default(),
            streams_set_aside: Gauge::default(),
            journal_unreadable: Counter::default(),
            ingresses: Gauge::default(),
            last_scan: Gauge::default(),
            watch_restarts: Family::default(),
            acme_requests: Family::default(),
            acme_durations: Family::new_with_constructor(durations),
            kube_requests: Family::default(),
            answers: Counter::default(),
            events_dropped: Counter::default(),
            leader: Gauge::default(),
            limited_until: Family::default(),
            waiting_for_limit: Family::default(),
            new_orders_stopped: Gauge::default(),
            cas_loads: Family::default(),
            cas_file_is_bad: Gauge::default(),
            dry_run: Family::default(),
            dns_accounts: Family::default(),
            dns_writes: Family::default(),
            connections: Family::default(),
            connections_dropped: Family::default(),
        }
    }
}

impl Metrics {
    /// Creates a registry with all metrics under `ingress_acme_…`. Callers may add more metrics.
    pub fn registry(&self, version: &str, directory: &str, expiries: &SharedExpiries) -> Registry {
        let mut all = Registry::default();
        let ours = all.sub_registry_with_prefix("ingress_acme");
        let build = Info::new(vec![("version", version.to_owned())]);
        ours.register("build", "The running release", build);
        let ca = Info::new(vec![("directory", directory.to_owned())]);
        ours.register("acme_directory", "The ACME directory in use", ca);
        self.register_work(ours);
        self.register_journal(ours);
        self.register_world(ours);
        self.register_sources(ours);
        self.register_ports(ours);
        ours.register_collector(Box::new(ExpiryCollector(expiries.clone())));
        for class in FailureClass::ALL {
            drop(self.failed.get_or_create(&ByReason { reason: class.label() }));
        }
        for kind in [IssueKind::First, IssueKind::Renew, IssueKind::Replace] {
            drop(self.issued.get_or_create(&kind.label()));
        }
        for readiness in Readiness::ALL {
            drop(self.readiness.get_or_create(&ByResult { result: readiness.label() }));
        }
        all
    }

    fn register_work(&self, all: &mut Registry) {
        let Self { events, coalesced, dedup_actors, runs, oldest_queued, issued, failed, .. } =
            self;
        all.register("events_in", "Events on Ingresses, by source", events.clone());
        all.register("events_coalesced", "Events coalesced into another one", coalesced.clone());
        all.register(
            "dedup_actors",
            "Ingresses with work or a burst of events",
            dedup_actors.clone(),
        );
        all.register("runs", "Certificates being worked on, by state", runs.clone());
        let help = "Start of the longest current wait for a worker; 0 if none waits";
        all.register("queue_oldest_timestamp_seconds", help, oldest_queued.clone());
        all.register("issued", "Certificates installed", issued.clone());
        all.register("failed", "Attempts that failed", failed.clone());
        let help = "Time from the start of an issuance to its certificate in the Secret";
        all.register("issuance_duration_seconds", help, self.issuance.clone());
        let help = "Certificates that were ready within 5 minutes of their Ingress, and those that \
                    were not, by whether anybody but the user could help that";
        all.register("certificate_readiness", help, self.readiness.clone());
        all.register("step_duration_seconds", "Time of one step", self.steps.clone());
    }

    fn register_journal(&self, all: &mut Registry) {
        all.register("journal_records", "Records appended to the journal", self.journal.clone());
        let help = "Segments of the journal, by state; obsolete ones are to be deleted";
        all.register("journal_segments", help, self.journal_segments.clone());
        let help = "Certificates whose journal had a record that did not fit at the last start; \
                    their issuance in flight was set aside";
        all.register("journal_streams_set_aside", help, self.streams_set_aside.clone());
        let help = "Starts as leader that could not take over the journal";
        all.register("journal_unreadable", help, self.journal_unreadable.clone());
    }

    fn register_world(&self, all: &mut Registry) {
        all.register(
            "managed_ingresses",
            "Ingresses managed by ingress-acme",
            self.ingresses.clone(),
        );
        all.register(
            "last_scan_timestamp_seconds",
            "Time of the last step of a scan",
            self.last_scan.clone(),
        );
        let help = "Restarted watches of Ingresses, by reason";
        all.register("watch_restarts", help, self.watch_restarts.clone());
        all.register("acme_requests", "Requests to the CA", self.acme_requests.clone());
        all.register(
            "acme_request_duration_seconds",
            "Time of requests to the CA",
            self.acme_durations.clone(),
        );
        let help = "Requests to the Kubernetes API server, by verb, resource and HTTP status";
        all.register("kube_requests", help, self.kube_requests.clone());
        let help =
            "Latest time until which the CA accepts no orders of this scope; 0 if it accepts all";
        all.register("rate_limited_until_timestamp_seconds", help, self.limited_until.clone());
        let help = "Certificates queued for a rate limit of this scope";
        all.register("rate_limit_waiting", help, self.waiting_for_limit.clone());
        let help =
            "1 while new orders are stopped by the annotation of the Lease, as the leader sees it";
        all.register("new_orders_stopped", help, self.new_orders_stopped.clone());
        let help = "Certificates of a dry run, by plan";
        all.register("dry_run_certificates", help, self.dry_run.clone());
        all.register("solver_answers", "Challenges answered", self.answers.clone());
        let help = "Kubernetes Events that could not be sent";
        all.register("announcements_dropped", help, self.events_dropped.clone());
        all.register("leader", "1 while this replica leads", self.leader.clone());
    }

    /// Metrics of DNS accounts and of the file of the CAs.
    fn register_sources(&self, all: &mut Registry) {
        let help = "Writes of TXT records at DNS providers, by result";
        all.register("dns_writes", help, self.dns_writes.clone());
        let help = "Secrets that are DNS accounts, by whether they can be used";
        all.register("dns_accounts", help, self.dns_accounts.clone());
        let help = "Uses of a changed file of --cas-file, and refusals of a bad one";
        all.register("cas_file_loads", help, self.cas_loads.clone());
        let help = "1 while the file of --cas-file is bad, and the last good one is used";
        all.register("cas_file_bad", help, self.cas_file_is_bad.clone());
    }

    fn register_ports(&self, all: &mut Registry) {
        let help = "Open connections to this replica, by port";
        all.register("connections", help, self.connections.clone());
        let help = "Connections closed in favour of newer ones, by port";
        all.register("connections_dropped", help, self.connections_dropped.clone());
    }

    /// Counts an event on an Ingress.
    pub fn event(&self, source: Source) {
        self.events.get_or_create(&source.label()).inc();
    }

    /// Counts an event that was coalesced with another one.
    pub fn event_coalesced(&self) {
        self.coalesced.inc();
    }

    /// Sets the number of live dedup actors.
    pub fn dedup_actors(&self, count: usize) {
        self.dedup_actors.set(gauge(count));
    }

    /// Sets the number of jobs in each phase, and the arrival time of the job that has waited
    /// longest for a slot.
    pub fn pool(&self, load: Load, oldest_queued: Option<Timestamp>) {
        let states = [("queued", load.queued), ("running", load.running), ("parked", load.parked)];
        for (state, count) in states {
            self.runs.get_or_create(&ByState { state }).set(gauge(count));
        }
        self.oldest_queued.set(oldest_queued.map_or(0, Timestamp::as_secs));
    }

    /// Sets the end of the rate limits of a CA and the number of waiting Secrets, by kind of scope.
    pub fn rate_limits(&self, ca: &str, rate_limits: &RateLimits, now: Timestamp) {
        for (kind, opens, waiting) in rate_limits.by_kind(now) {
            let scope = ByScope { scope: kind, ca: ca.to_owned() };
            self.limited_until.get_or_create(&scope).set(opens.map_or(0, Timestamp::as_secs));
            self.waiting_for_limit.get_or_create(&scope).set(i64::from(waiting));
        }
    }

    /// Counts a use of the file of `--cas-file`. Series of CAs that have left it are dropped.
    pub fn cas_replaced(&self) {
        self.limited_until.clear();
        self.waiting_for_limit.clear();
        self.acme_requests.clear();
        self.cas_loads.get_or_create(&ByResult { result: "used" }).inc();
        self.cas_file_is_bad.set(0);
    }

    /// Records that the file of `--cas-file` is as it is in use.
    pub fn cas_good(&self) {
        self.cas_file_is_bad.set(0);
    }

    /// Counts a file of `--cas-file` that is not used.
    pub fn cas_refused(&self) {
        self.cas_loads.get_or_create(&ByResult { result: "refused" }).inc();
        self.cas_file_is_bad.set(1);
    }

    /// Sets whether new orders are stopped.
    pub fn new_orders_stopped(&self, are_stopped: bool) {
        self.new_orders_stopped.set(i64::from(are_stopped));
    }

    /// Sets the numbers of certificates of a dry run, by plan.
    pub fn dry_run(&self, counts: &[(&'static str, usize)]) {
        for (plan, count) in counts {
            self.dry_run.get_or_create(&ByPlan { plan }).set(gauge(*count));
        }
    }

    /// Counts an installed certificate, and observes the time since the start of its issuance.
    pub fn issued(&self, kind: IssueKind, after: std::time::Duration) {
        self.issued.get_or_create(&kind.label()).inc();
        self.issuance.observe(after.as_secs_f64());
    }

    /// Counts a certificate that an Ingress asked for.
    pub(crate) fn readiness(&self, readiness: Readiness) {
        self.readiness.get_or_create(&ByResult { result: readiness.label() }).inc();
    }

    /// Sets the numbers of DNS accounts that can and cannot be used.
    pub fn dns_accounts(&self, usable: usize, unusable: usize) {
        for (state, count) in [("usable", usable), ("unusable", unusable)] {
            self.dns_accounts.get_or_create(&ByState { state }).set(gauge(count));
        }
    }

    /// Counts a write at a DNS provider.
    pub(crate) fn dns_write(&self, operation: &'static str, answer: &Result<(), PortError>) {
        let result = match answer {
            Ok(()) => "done",
            Err(PortError::Transient { .. }) => "failed",
            Err(PortError::Permanent(_)) => "refused",
        };
        self.dns_writes.get_or_create(&ByWrite { operation, result }).inc();
    }

    /// Counts a failed attempt.
    pub fn failed(&self, class: FailureClass) {
        self.failed.get_or_create(&ByReason { reason: class.label() }).inc();
    }

    /// Observes the duration of a step.
    pub fn step(&self, step: &'static str, took: std::time::Duration) {
        self.steps.get_or_create(&ByStep { step }).observe(took.as_secs_f64());
    }

    /// Counts a journal record.
    pub fn journaled(&self, event: &'static str) {
        self.journal.get_or_create(&ByEvent { event }).inc();
    }

    /// Sets the number of the journal's segments: those that a replay needs, and those that are to
    /// be deleted.
    pub fn journal_segments(&self, needed: usize, obsolete: usize) {
        for (state, count) in [("needed", needed), ("obsolete", obsolete)] {
            self.journal_segments.get_or_create(&ByState { state }).set(gauge(count));
        }
    }

    /// Sets the number of event streams that were set aside at the last replay.
    pub fn streams_set_aside(&self, count: usize) {
        self.streams_set_aside.set(gauge(count));
    }

    /// Counts a start as leader that could not take over the journal.
    pub fn journal_unreadable(&self) {
        self.journal_unreadable.inc();
    }

    /// Sets the number of managed Ingresses.
    pub fn managed(&self, count: usize) {
        self.ingresses.set(gauge(count));
    }

    /// Sets the end of the last scan.
    pub fn scanned(&self, at: Timestamp) {
        self.last_scan.set(at.as_secs());
    }

    /// Counts a restart of the watch.
    pub fn watch_restarted(&self, reason: &'static str) {
        self.watch_restarts.get_or_create(&ByReason { reason }).inc();
    }

    /// Counts a request to a CA, and observes its duration. `status` is 0 if the CA did not
    /// answer.
    pub fn acme_request(
        &self,
        ca: &str,
        endpoint: &'static str,
        status: u16,
        took: std::time::Duration,
    ) {
        self.acme_requests.get_or_create(&ByAnswer { endpoint, status, ca: ca.to_owned() }).inc();
        self.acme_durations.get_or_create(&ByEndpoint { endpoint }).observe(took.as_secs_f64());
    }

    /// Counts a request to the API server. `code` is 0 if the API server did not answer.
    pub fn kube_request(&self, verb: &'static str, resource: &'static str, code: u16) {
        self.kube_requests.get_or_create(&ByRequest { verb, resource, code }).inc();
    }

    /// Counts a challenge that the solver answered.
    pub fn answered(&self) {
        self.answers.inc();
    }

    /// Counts a dropped Kubernetes Event.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// Sets the number of open connections to a port. Also shows a zero of dropped ones, without
    /// which no rate would have the first burst.
    pub fn connections(&self, port: &'static str, count: usize) {
        self.connections.get_or_create(&ByPort { port }).set(gauge(count));
        drop(self.connections_dropped.get_or_create(&ByPort { port }));
    }

    /// Counts a connection that was closed in favour of a newer one.
    pub fn connection_dropped(&self, port: &'static str) {
        self.connections_dropped.get_or_create(&ByPort { port }).inc();
    }

    /// Sets whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ingress::SecretKey;
    use crate::domain::limits;
    use crate::domain::validity::expiries::Validity;

    fn shown(metrics: &Metrics, expiries: &SharedExpiries) -> String {
        let mut text = String::new();
        let registry = metrics.registry("1.2.3", "https://ca.example/dir", expiries);
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn what_is_scraped_has_the_names_that_are_documented() {
        let metrics = Metrics::default();
        metrics.issued(IssueKind::First, std::time::Duration::from_secs(2));
        metrics.kube_request("get", "secrets", 404);
        let text = shown(&metrics, &SharedExpiries::default());
        for line in [
            "ingress_acme_build_info{version=\"1.2.3\"} 1",
            "ingress_acme_acme_directory_info{directory=\"https://ca.example/dir\"} 1",
            "ingress_acme_issued_total{kind=\"first\"} 1",
            "ingress_acme_failed_total{reason=\"authorization\"} 0",
            "ingress_acme_kube_requests_total{verb=\"get\",resource=\"secrets\",code=\"404\"} 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn the_dates_of_a_certificate_are_shown_until_nobody_wants_it() {
        let (metrics, expiries) = (Metrics::default(), SharedExpiries::default());
        let secret = SecretKey::new("web", "shop");
        assert!(!shown(&metrics, &expiries).contains("certificate_not_after"));
        let (not_after, renewal) = (Timestamp::from_secs(90), Timestamp::from_secs(60));
        expiries.record(&secret, Some(Validity { not_after, renewal }));
        let text = shown(&metrics, &expiries);
        let series = "{namespace=\"web\",secret=\"shop\"}";
        for (name, value) in [("not_after", 90), ("renewal", 60)] {
            let name = format!("ingress_acme_certificate_{name}_timestamp_seconds");
            assert!(text.contains(&format!("# TYPE {name} gauge")), "{text}");
            assert!(text.contains(&format!("{name}{series} {value}\n")), "{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        expiries.forget(&secret);
        assert!(!shown(&metrics, &expiries).contains("shop"));
    }

    #[test]
    fn certificates_beyond_the_bound_have_no_series_and_are_counted() {
        let (metrics, expiries) = (Metrics::default(), SharedExpiries::default());
        let left_out = "ingress_acme_certificates_without_series";
        assert!(shown(&metrics, &expiries).contains(&format!("{left_out} 0\n")));
        for number in 0..limits::CERTIFICATE_SERIES + 7 {
            let at = number.try_into().unwrap();
            let validity =
                Validity { not_after: Timestamp::from_secs(at), renewal: Timestamp::from_secs(at) };
            expiries.record(&SecretKey::new("many", &format!("s-{number}")), Some(validity));
        }
        let last = Timestamp::from_secs(1 << 40);
        let validity = Validity { not_after: last, renewal: last };
        expiries.record(&SecretKey::new("neighbour", "its"), Some(validity));
        let text = shown(&metrics, &expiries);
        let series = text.matches("certificate_not_after_timestamp_seconds{").count();
        assert_eq!(series, limits::CERTIFICATE_SERIES);
        assert!(text.contains(&format!("{left_out} 8\n")));
        assert!(
            text.contains("secret=\"its\""),
            "its neighbour's, though it is the last to be renewed"
        );
        assert!(text.contains("secret=\"s-0\""), "the first to be renewed has series");
    }
}
