//! The other tenant: a new Ingress every second, whose certificate must come in time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::Guarded;
use crate::sites::{Site, names_in, secret};

/// Deadline of a certificate.
const SERVED_WITHIN: Duration = Duration::from_secs(10);
/// Pause after a first failure. The CA may ask for a challenge in the moment of the kill, when
/// nobody answers, so an order that was open then may fail.
const FIRST_BACKOFF: Duration = Duration::from_mins(1);
/// Time between two Ingresses.
const EVERY: Duration = Duration::from_secs(1);
/// Time between two looks for a Secret.
const LOOK: Duration = Duration::from_millis(200);

pub(super) struct Good {
    client: Client,
    made: Cell<u32>,
    served: Cell<u32>,
    slowest: Cell<Duration>,
    /// Number and time of the slowest since the last report.
    recent: Cell<(u32, Duration)>,
    /// Last kill of the operator, and the deadline of its successor.
    restart: Cell<Option<(Instant, Instant)>>,
    /// Holder and transitions of the Lease, while nobody may change them.
    lease: RefCell<Option<(String, i32)>>,
    ended: Cell<bool>,
}

impl Good {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            made: Cell::default(),
            served: Cell::default(),
            slowest: Cell::default(),
            recent: Cell::default(),
            restart: Cell::default(),
            lease: RefCell::default(),
            ended: Cell::default(),
        }
    }

    /// Begins a term, whose Lease must be kept from now on.
    pub(super) async fn begin(&self, guarded: &Guarded, pod: &str) {
        while self.holder().await.is_none_or(|(holder, _)| holder != pod) {
            guarded.guard.check();
            sleep(LOOK).await;
        }
        let held = self.holder().await;
        self.lease.replace(held);
    }

    /// Moves the deadline of all certificates that a restart delays, and lets the Lease change.
    pub(super) fn forgive(&self, killed: Instant, back: Instant) {
        self.restart.set(Some((killed, back)));
        self.lease.replace(None);
    }

    /// Ends [`Good::every_second`] after the certificates that are still under way.
    pub(super) fn end(&self) {
        self.ended.set(true);
    }

    /// Makes an Ingress every second once the first term has begun. Panics if a certificate is late
    /// or the Lease is lost.
    pub(super) async fn every_second(&self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way = FuturesUnordered::new();
        while !self.ended.get() {
            tokio::select! {
                _ = ticks.tick() => {}
                Some(()) = under_way.next(), if !under_way.is_empty() => continue,
            }
            if self.lease.borrow().is_some() {
                self.check_lease().await;
                under_way.push(async { _ = self.serve_one().await });
            }
        }
        while under_way.next().await.is_some() {}
        assert_eq!(self.served.get(), self.made.get());
    }

    /// Makes one Ingress and waits for its certificate; returns the seconds.
    pub(super) async fn serve_one(&self) -> f64 {
        let number = self.made.get();
        self.made.set(number + 1);
        let (name, host) = (format!("g{number}"), host(number));
        Site::new("good", &name, &[&host]).tls(&name, &[&host]).create(&self.client).await;
        let made = Instant::now();
        while !self.has_certificate(&name, &host).await {
            let deadline = self.deadline(made);
            let waited = made.elapsed().as_secs_f64();
            assert!(Instant::now() < deadline, "{name} has no certificate after {waited:.1} s");
            sleep(LOOK).await;
        }
        let took = made.elapsed();
        if took <= SERVED_WITHIN || self.deadline(made) == made + SERVED_WITHIN {
            self.slowest.set(self.slowest.get().max(took));
        }
        if took > self.recent.get().1 {
            self.recent.set((number, took));
        }
        self.served.set(self.served.get() + 1);
        took.as_secs_f64()
    }

    fn deadline(&self, made: Instant) -> Instant {
        let usual = made + SERVED_WITHIN;
        match self.restart.get() {
            Some((killed, back)) if made < killed && killed < usual => back + FIRST_BACKOFF,
            Some((killed, back)) if killed <= made => usual.max(back),
            _ => usual,
        }
    }

    /// The slowest certificate since the last report.
    pub(super) fn report(&self) -> String {
        let (number, took) = self.recent.take();
        format!("slowest good certificate {:.1} s (g{number})", took.as_secs_f64())
    }

    async fn has_certificate(&self, name: &str, host: &str) -> bool {
        let secret = secret(&self.client, "good", name).await;
        let names = secret.and_then(|secret| names_in(&secret));
        names.is_some_and(|names| names == BTreeSet::from([host.to_owned()]))
    }

    async fn check_lease(&self) {
        let held = self.holder().await;
        let expected = self.lease.borrow();
        if expected.is_some() {
            assert_eq!(held, *expected, "the Lease is kept");
        }
    }

    async fn holder(&self) -> Option<(String, i32)> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), "ingress-acme");
        let spec = api.get_opt("ingress-acme").await.expect("the API server answers")?.spec?;
        Some((spec.holder_identity?, spec.lease_transitions.unwrap_or_default()))
    }
}

/// Host of the n-th Ingress.
pub(super) fn host(number: u32) -> String {
    format!("g{number}.good.example.com")
}

impl fmt::Display for Good {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (served, made) = (self.served.get(), self.made.get());
        let slowest = self.slowest.get().as_secs_f64();
        write!(f, "{served} of {made} good certificates, the slowest in {slowest:.1} s")
    }
}
