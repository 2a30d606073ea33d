//! Scheduler of the pool: requests waiting for a Secret, jobs queued, running or parked, and free
//! slots.
//!
//! A job holds one of N slots while a worker has the job or the CA is working on its order. In the
//! latter case the slot ends [`limits::SLOT_MAX`] after the job received the slot. A job that waits
//! for anything else holds none. So at most N young orders are open at once, and a slow or failing
//! order delays no other. No namespace has all slots of eight or more.

mod job;
mod parked;
mod resume;
mod scheduled_job;
mod slots;
mod state;
mod tickets;

use std::collections::{HashMap, HashSet};

use crate::domain::by_namespace::{CountByNamespace, has_share};
use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::domain::scheduling::queue::{FairQueue, Lane};
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::time::Timestamp;
pub use job::Load;
pub(crate) use job::{Job, JobStatus, WaitsFor};
use parked::Parked;
use scheduled_job::{JobPhase, ScheduledJob};
use slots::may_take;
pub(crate) use tickets::Ticket;
use tickets::Tickets;

/// The scheduler.
#[derive(Debug)]
pub(crate) struct Scheduler {
    slots: usize,
    queue: FairQueue,
    jobs: HashMap<SecretKey, ScheduledJob>,
    running: CountByNamespace,
    /// Jobs that have begun and wait for their hosts, parked or queued again.
    between_probes: CountByNamespace,
    parked: Parked,
    tickets: Tickets,
    /// Parked jobs that wait until new orders are allowed.
    stopped: HashSet<SecretKey>,
    draining: bool,
    /// Queued Secrets whose routes are prefetched.
    prefetched: HashSet<SecretKey>,
}

impl Scheduler {
    /// Creates a scheduler for `slots` concurrent jobs and `capacity` queued Secrets.
    pub(crate) fn new(slots: usize, capacity: usize) -> Self {
        Self {
            slots,
            queue: FairQueue::new(capacity),
            jobs: HashMap::new(),
            running: CountByNamespace::default(),
            between_probes: CountByNamespace::default(),
            parked: Parked::default(),
            tickets: Tickets::default(),
            stopped: HashSet::new(),
            draining: false,
            prefetched: HashSet::new(),
        }
    }

    /// Requests the Secrets of an Ingress. Returns the ticket that [`returned`](Self::returned)
    /// answers later.
    ///
    /// # Errors
    /// The answer itself, if there is nothing to do ([`Requeue::AwaitChange`]) or the queue has no
    /// room ([`Requeue::Busy`]).
    pub(crate) fn request(
        &mut self,
        key: &ReconcileKey,
        streams: impl IntoIterator<Item = (SecretKey, Lane)>,
        now: Timestamp,
    ) -> Result<Ticket, Requeue> {
        let ticket = self.tickets.upcoming();
        let (mut remaining, mut requeue) = (0, Requeue::AwaitChange);
        for (stream, lane) in streams {
            if self.enqueue(ticket, key, (&stream, lane), now) {
                remaining += 1;
            } else {
                requeue = Requeue::Busy;
            }
        }
        if remaining == 0 {
            return Err(requeue);
        }
        Ok(self.tickets.open(remaining, requeue))
    }

    fn enqueue(
        &mut self,
        ticket: Ticket,
        key: &ReconcileKey,
        (stream, lane): (&SecretKey, Lane),
        now: Timestamp,
    ) -> bool {
        if let Some(entry) = self.jobs.get_mut(stream) {
            entry.waiting.push(ticket);
            entry.again |= matches!(entry.phase, JobPhase::Running);
            if let (Lane::New(from), Lane::New(to)) = (entry.lane, lane) {
                self.queue.expedite(stream, (from, to), now);
                entry.lane = Lane::New(from.min(to));
            }
            self.wake_when_edited(stream, now);
            return true;
        }
        let taken =
            self.queue.has_room(&stream.namespace) && self.queue.push(stream.clone(), lane, now);
        if taken {
            let phase = JobPhase::New(key.clone());
            let (waiting, again) = (vec![ticket], false);
            let between_probes = false;
            let entry = ScheduledJob { phase, waiting, again, between_probes, since: now, lane };
            self.jobs.insert(stream.clone(), entry);
        }
        taken
    }

    /// Wakes a parked job after a new request, so that the job reads the newest desired
    /// certificate.
    ///
    /// Forgets its routes and probes, which may belong to an older one. A job with an order stays
    /// parked: the CA is not polled sooner.
    fn wake_when_edited(&mut self, stream: &SecretKey, now: Timestamp) {
        let Some(ScheduledJob { phase: JobPhase::Parked { job, until }, .. }) =
            self.jobs.get_mut(stream)
        else {
            return;
        };
        job.observed.forget_routes();
        if job.observed.order.is_none() {
            job.observed.wait_until = None;
            self.parked.expedite(stream, until, now);
        }
    }

    /// Continues the parked job of `stream` after a rate limit has admitted `stream`. The job
    /// probes its hosts again.
    pub(crate) fn admit(&mut self, stream: &SecretKey, now: Timestamp) {
        let Some(entry) = self.jobs.get_mut(stream) else { return };
        match &mut entry.phase {
            JobPhase::Parked { job, until } => {
                job.observed.forget_reach();
                self.parked.expedite(stream, until, now);
            }
            // The job joined the queue a moment ago, and its worker has not returned the job yet.
            JobPhase::Running => entry.again = true,
            JobPhase::New(_) | JobPhase::Queued(_) => {}
        }
    }

    /// Returns the next job for a worker, if there is one and a free slot. Due parked jobs come
    /// first.
    pub(crate) fn next_job(&mut self, now: Timestamp) -> Option<Job> {
        while let Some((stream, has_slot)) = self.parked.take_due(now) {
            self.stopped.remove(&stream);
            if has_slot {
                return self.start(&stream, None);
            }
            self.requeue(&stream, now);
        }
        if self.draining {
            return None;
        }
        let free = self.slots.saturating_sub(self.slots_taken(now));
        let held = |namespace: &str| {
            self.running.of(namespace) + self.parked.slots_kept_by(namespace, now)
        };
        let (between, all) = (&self.between_probes, self.between_probes.total());
        let stream = self.queue.pop(
            |namespace| may_take(held(namespace), free),
            |namespace| has_share(between.of(namespace), all, limits::JOBS_BETWEEN_PROBES),
        )?;
        self.prefetched.remove(&stream);
        self.start(&stream, Some(now))
    }

    /// Returns queued Secrets that come next and were not returned before, so that their routes are
    /// written in one batch with the current ones.
    ///
    /// Empty until most of the Secrets returned before have started.
    pub(crate) fn prefetch(&mut self) -> Vec<SecretKey> {
        if self.draining || self.prefetched.len() > limits::PREFETCH / 2 {
            return Vec::new();
        }
        let mut upcoming = self.queue.upcoming(limits::PREFETCH);
        upcoming.retain(|stream| self.prefetched.insert(stream.clone()));
        upcoming
    }

    /// Starts a job; `slot_since` is set if the slot is a new one.
    fn start(&mut self, stream: &SecretKey, slot_since: Option<Timestamp>) -> Option<Job> {
        let entry = self.jobs.get_mut(stream)?;
        entry.again = false;
        if std::mem::take(&mut entry.between_probes) {
            self.between_probes.end(&stream.namespace);
        }
        let mut job = match std::mem::replace(&mut entry.phase, JobPhase::Running) {
            JobPhase::New(requested_by) => Box::new(Job::new(stream, requested_by)),
            JobPhase::Queued(job) | JobPhase::Parked { job, .. } => job,
            JobPhase::Running => return None,
        };
        job.slot_since = slot_since.unwrap_or(job.slot_since);
        self.running.begin(&stream.namespace);
        Some(*job)
    }

    /// Queues a parked job without a slot again. A job with an order goes before all others; a job
    /// that only retries its hosts alternates with new work.
    fn requeue(&mut self, stream: &SecretKey, now: Timestamp) {
        let Some(entry) = self.jobs.get_mut(stream) else { return };
        let parked = std::mem::replace(&mut entry.phase, JobPhase::Running);
        let (phase, lane) = match parked {
            JobPhase::Parked { job, .. } => {
                let lane = if job.observed.order.is_some() { Lane::Resumed } else { Lane::Again };
                (JobPhase::Queued(job), lane)
            }
            other => (other, Lane::Resumed),
        };
        entry.phase = phase;
        let taken = self.queue.push(stream.clone(), lane, now);
        debug_assert!(taken, "only new work is refused");
    }

    fn slots_taken(&self, now: Timestamp) -> usize {
        self.running.total() + self.parked.slots_kept(now)
    }

    /// Takes back a job from a worker. Returns the answered tickets.
    pub(crate) fn returned(
        &mut self,
        job: Job,
        status: JobStatus,
        now: Timestamp,
    ) -> Vec<(Ticket, Requeue)> {
        let stream = job.stream.clone();
        let Some(entry) = self.jobs.get_mut(&stream) else { return Vec::new() };
        self.running.end(&stream.namespace);
        match status {
            JobStatus::Finished(requeue) if !entry.again => {
                return self.finished(&stream, requeue);
            }
            JobStatus::Finished(_) => {
                entry.phase = JobPhase::New(job.requested_by);
                let taken = self.queue.push(stream, Lane::Resumed, now);
                debug_assert!(taken, "resumed work is always taken");
            }
            JobStatus::Parked { until, waits_for } => {
                let slot = (waits_for == WaitsFor::Ca).then(|| job.slot_since + limits::SLOT_MAX);
                entry.phase = JobPhase::Parked { job: Box::new(job), until };
                self.parked.add(&stream, until, slot);
                if waits_for == WaitsFor::NewOrders {
                    self.stopped.insert(stream.clone());
                }
                if waits_for == WaitsFor::Host {
                    entry.between_probes = true;
                    self.between_probes.begin(&stream.namespace);
                }
                if entry.again {
                    self.wake_when_edited(&stream, now);
                }
            }
        }
        Vec::new()
    }

    /// Removes the job of a lost worker. All waiting requests are answered with [`Requeue::Busy`],
    /// and come again.
    pub(crate) fn lost(&mut self, stream: &SecretKey) -> Vec<(Ticket, Requeue)> {
        self.running.end(&stream.namespace);
        let Some(entry) = self.jobs.remove(stream) else { return Vec::new() };
        for ticket in &entry.waiting {
            self.tickets.close(*ticket);
        }
        entry.waiting.into_iter().map(|ticket| (ticket, Requeue::Busy)).collect()
    }

    /// Stops starting queued jobs. Jobs with the CA at work continue.
    pub(crate) fn begin_drain(&mut self) {
        self.draining = true;
    }

    /// Whether the drain has ended: no worker has a job, and no parked job holds a slot.
    pub(crate) fn is_drained(&self, now: Timestamp) -> bool {
        self.draining && self.slots_taken(now) == 0
    }

    fn finished(&mut self, stream: &SecretKey, requeue: Requeue) -> Vec<(Ticket, Requeue)> {
        let Some(entry) = self.jobs.remove(stream) else { return Vec::new() };
        let tickets = &mut self.tickets;
        let answer = |ticket| Some((ticket, tickets.done(ticket, requeue)?));
        entry.waiting.into_iter().filter_map(answer).collect()
    }

    /// Time of the next call of [`next_job`](Self::next_job) if no job is returned before: a parked
    /// job is due, or gives up its slot while others wait for one.
    pub(crate) fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        let due = self.parked.first_due();
        let slot = self.parked.first_slot(now).filter(|_| !self.queue.is_empty());
        due.into_iter().chain(slot).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ingress::IngressKey;
    use crate::domain::scheduling::priority::{Priority, Urgency};

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    const NEW: Lane = Lane::New(Priority::FIRST);

    fn ask(scheduler: &mut Scheduler, name: &str, now: i64) -> Result<Ticket, Requeue> {
        let key = IngressKey::new("web", name).into();
        scheduler.request(&key, [(SecretKey::new("web", name), NEW)], at(now))
    }

    const SETTLED: JobStatus = JobStatus::Finished(Requeue::AwaitChange);

    #[test]
    fn a_request_is_answered_when_all_its_streams_are() {
        let mut scheduler = Scheduler::new(2, 10);
        let streams = ["a", "b"].map(|name| (SecretKey::new("web", name), NEW));
        let ticket =
            scheduler.request(&IngressKey::new("web", "shop").into(), streams, at(0)).unwrap();
        let (a, b) = (scheduler.next_job(at(0)).unwrap(), scheduler.next_job(at(0)).unwrap());
        assert_eq!(scheduler.returned(a, SETTLED, at(1)), []);
        let failed = JobStatus::Finished(Requeue::At(at(60)));
        assert_eq!(scheduler.returned(b, failed, at(1)), [(ticket, Requeue::At(at(60)))]);
        assert_eq!(scheduler.load(), Load::default());
    }

    #[test]
    fn a_namespace_whose_jobs_hold_their_slots_leaves_some_to_the_others() {
        let mut scheduler = Scheduler::new(64, 1_000);
        for number in 0..100 {
            ask(&mut scheduler, &number.to_string(), 0).unwrap();
        }
        let jobs: Vec<Job> = std::iter::from_fn(|| scheduler.next_job(at(0))).collect();
        assert_eq!(jobs.len(), 56);
        let other = SecretKey::new("other", "first");
        let key = IngressKey::new("other", "first").into();
        scheduler.request(&key, [(other.clone(), NEW)], at(1)).unwrap();
        assert_eq!(scheduler.next_job(at(1)).map(|job| job.stream), Some(other));
        // A job that the CA works on keeps its slot.
        let at_ca = JobStatus::Parked { until: at(9), waits_for: WaitsFor::Ca };
        for job in jobs {
            scheduler.returned(job, at_ca, at(2));
        }
        assert_eq!(scheduler.next_job(at(2)).map(|job| job.stream), None);
    }

    #[test]
    fn a_namespace_whose_hosts_are_dead_leaves_room_between_two_probes_to_the_others() {
        let mut scheduler = Scheduler::new(64, 100_000);
        for number in 0..limits::JOBS_BETWEEN_PROBES {
            ask(&mut scheduler, &number.to_string(), 0).unwrap();
        }
        let waits = JobStatus::Parked { until: at(60), waits_for: WaitsFor::Host };
        while let Some(job) = scheduler.next_job(at(0)) {
            scheduler.returned(job, waits, at(0));
        }
        assert_eq!(scheduler.load().parked, limits::JOBS_BETWEEN_PROBES / 2);
        let (other, key) = (SecretKey::new("other", "first"), IngressKey::new("other", "first"));
        scheduler.request(&key.into(), [(other.clone(), NEW)], at(1)).unwrap();
        assert_eq!(scheduler.next_job(at(1)).map(|job| job.stream), Some(other));
        assert_eq!(scheduler.next_job(at(1)).map(|job| job.stream), None);
        // The end of one job lets the next one begin.
        let again = scheduler.next_job(at(60)).unwrap();
        let begun = again.stream.clone();
        scheduler.returned(again, SETTLED, at(60));
        scheduler.parked = Parked::default();
        let next = scheduler.next_job(at(60)).unwrap();
        assert_ne!(next.stream, begun);
    }

    #[test]
    fn jobs_that_wait_for_a_rate_limit_or_the_ca_hold_no_room_between_two_probes() {
        let mut scheduler = Scheduler::new(10_000, 100_000);
        for number in 0..=limits::JOBS_BETWEEN_PROBES {
            ask(&mut scheduler, &number.to_string(), 0).unwrap();
        }
        let waits = |waits_for| JobStatus::Parked { until: at(9), waits_for };
        let (limit, ca) = (waits(WaitsFor::Others), waits(WaitsFor::Ca));
        let mut taken = 0;
        while let Some(job) = scheduler.next_job(at(0)) {
            scheduler.returned(job, if taken % 2 == 0 { limit } else { ca }, at(0));
            taken += 1;
        }
        assert_eq!(taken, limits::JOBS_BETWEEN_PROBES + 1);
    }

    #[test]
    fn a_namespace_that_fills_the_queue_leaves_room_to_the_others() {
        let mut scheduler = Scheduler::new(1, 100);
        let taken = (0..200).filter(|number| ask(&mut scheduler, &number.to_string(), 0).is_ok());
        assert_eq!(taken.count(), 50);
        let key = IngressKey::new("other", "first").into();
        let first = [(SecretKey::new("other", "first"), NEW)];
        assert!(scheduler.request(&key, first, at(1)).is_ok());
    }

    #[test]
    fn a_queued_job_is_small_because_one_tenant_may_have_a_hundred_thousand() {
        assert!(size_of::<ScheduledJob>() <= 128, "{}", size_of::<ScheduledJob>());
    }

    #[test]
    fn nothing_to_do_is_answered_at_once_and_no_room_is_busy() {
        let mut scheduler = Scheduler::new(1, 1);
        assert_eq!(
            scheduler.request(&IngressKey::new("web", "x").into(), [], at(0)),
            Err(Requeue::AwaitChange)
        );
        ask(&mut scheduler, "a", 0).unwrap();
        assert_eq!(ask(&mut scheduler, "b", 0), Err(Requeue::Busy));
    }

    #[test]
    fn no_more_jobs_run_than_there_are_slots_and_the_ca_at_work_holds_one() {
        let mut scheduler = Scheduler::new(1, 10);
        ask(&mut scheduler, "a", 0).unwrap();
        ask(&mut scheduler, "b", 0).unwrap();
        let a = scheduler.next_job(at(0)).unwrap();
        assert!(scheduler.next_job(at(0)).is_none());
        scheduler.returned(a, JobStatus::Parked { until: at(5), waits_for: WaitsFor::Ca }, at(1));
        assert!(scheduler.next_job(at(2)).is_none());
        assert_eq!(&*scheduler.next_job(at(5)).unwrap().stream.name, "a");
    }

    #[test]
    fn who_waits_for_anything_else_holds_no_slot() {
        let mut scheduler = Scheduler::new(1, 10);
        ask(&mut scheduler, "a", 0).unwrap();
        ask(&mut scheduler, "b", 0).unwrap();
        let a = scheduler.next_job(at(0)).unwrap();
        scheduler.returned(a, JobStatus::Parked { until: at(5), waits_for: WaitsFor::Host }, at(1));
        let b = scheduler.next_job(at(1)).unwrap();
        assert!(scheduler.next_job(at(5)).is_none());
        scheduler.returned(b, SETTLED, at(6));
        assert_eq!(&*scheduler.next_job(at(6)).unwrap().stream.name, "a");
    }

    #[test]
    fn a_slow_order_gives_up_its_slot() {
        let mut scheduler = Scheduler::new(1, 10);
        ask(&mut scheduler, "a", 0).unwrap();
        ask(&mut scheduler, "b", 0).unwrap();
        let a = scheduler.next_job(at(0)).unwrap();
        scheduler.returned(a, JobStatus::Parked { until: at(600), waits_for: WaitsFor::Ca }, at(1));
        let gives_up = at(0) + limits::SLOT_MAX;
        assert_eq!(scheduler.next_wake(at(1)), Some(gives_up));
        assert_eq!(&*scheduler.next_job(gives_up).unwrap().stream.name, "b");
    }

    #[test]
    fn a_stream_asked_for_while_it_runs_is_looked_at_once_more() {
        let mut scheduler = Scheduler::new(1, 10);
        let first = ask(&mut scheduler, "a", 0).unwrap();
        let job = scheduler.next_job(at(0)).unwrap();
        let second = ask(&mut scheduler, "a", 1).unwrap();
        assert_eq!(scheduler.returned(job, SETTLED, at(2)), []);
        let again = scheduler.next_job(at(2)).unwrap();
        let answers = [(first, Requeue::AwaitChange), (second, Requeue::AwaitChange)];
        assert_eq!(scheduler.returned(again, SETTLED, at(3)), answers);
    }

    #[test]
    fn each_stream_is_prefetched_once_before_its_turn() {
        let mut scheduler = Scheduler::new(1, 10);
        for name in ["a", "b", "c"] {
            ask(&mut scheduler, name, 0).unwrap();
        }
        scheduler.next_job(at(0)).unwrap();
        assert_eq!(scheduler.prefetch().len(), 2);
        assert_eq!(scheduler.prefetch(), []);
    }

    #[test]
    fn an_edit_wakes_a_parked_run_unless_the_ca_is_at_work() {
        let mut scheduler = Scheduler::new(1, 10);
        ask(&mut scheduler, "a", 0).unwrap();
        let job = scheduler.next_job(at(0)).unwrap();
        scheduler.returned(
            job,
            JobStatus::Parked { until: at(600), waits_for: WaitsFor::Host },
            at(1),
        );
        ask(&mut scheduler, "a", 2).unwrap();
        assert!(scheduler.next_job(at(2)).is_some());
    }

    #[test]
    fn whose_turn_comes_while_it_gets_in_line_does_not_sleep_through_it() {
        let mut scheduler = Scheduler::new(1, 10);
        ask(&mut scheduler, "a", 0).unwrap();
        let job = scheduler.next_job(at(0)).unwrap();
        scheduler.admit(&SecretKey::new("web", "a"), at(1));
        scheduler.returned(
            job,
            JobStatus::Parked { until: at(3600), waits_for: WaitsFor::Others },
            at(1),
        );
        assert!(scheduler.next_job(at(1)).is_some());
    }

    #[test]
    fn who_is_parked_goes_on_when_its_turn_comes() {
        let mut scheduler = Scheduler::new(1, 10);
        ask(&mut scheduler, "a", 0).unwrap();
        let job = scheduler.next_job(at(0)).unwrap();
        scheduler.returned(
            job,
            JobStatus::Parked { until: at(3600), waits_for: WaitsFor::Others },
            at(1),
        );
        assert!(scheduler.next_job(at(2)).is_none());
        scheduler.admit(&SecretKey::new("web", "a"), at(2));
        assert!(scheduler.next_job(at(2)).is_some());
    }

    #[test]
    fn those_that_waited_for_new_orders_go_on_at_once_the_most_urgent_first_and_namespaces_in_turn()
    {
        let mut scheduler = Scheduler::new(1, 10);
        let urgent = Lane::New(Priority { urgency: Urgency::Expiring, by: at(50) });
        let asked = [("a", "1", NEW), ("a", "2", NEW), ("b", "1", NEW), ("a", "3", urgent)];
        for (namespace, name, lane) in asked {
            let (key, stream) = (IngressKey::new(namespace, name), SecretKey::new(namespace, name));
            scheduler.request(&key.into(), [(stream, lane)], at(0)).unwrap();
        }
        let waits = JobStatus::Parked { until: at(3600), waits_for: WaitsFor::NewOrders };
        while let Some(job) = scheduler.next_job(at(1)) {
            scheduler.returned(job, waits, at(1));
        }
        assert_eq!((scheduler.load().parked, scheduler.next_wake(at(1))), (4, Some(at(3600))));
        scheduler.resume(at(2));
        assert_eq!(scheduler.load(), Load { queued: 4, ..Load::default() });
        let mut next = || {
            let job = scheduler.next_job(at(2)).unwrap();
            let name = job.stream.to_string();
            scheduler.returned(job, SETTLED, at(2));
            name
        };
        let order = [next(), next(), next(), next()];
        assert_eq!(order, ["a/3", "a/1", "b/1", "a/2"]);
        assert_eq!(scheduler.load(), Load::default());
    }

    #[test]
    fn a_resumed_job_goes_on_once_whether_it_was_looked_at_or_edited_meanwhile() {
        let mut scheduler = Scheduler::new(1, 10);
        ask(&mut scheduler, "a", 0).unwrap();
        let waits = JobStatus::Parked { until: at(3600), waits_for: WaitsFor::NewOrders };
        let job = scheduler.next_job(at(0)).unwrap();
        scheduler.returned(job, waits, at(0));
        ask(&mut scheduler, "a", 5).unwrap();
        let edited = scheduler.next_job(at(5)).expect("an edit is looked at");
        scheduler.resume(at(5));
        scheduler.returned(edited, SETTLED, at(5));
        assert!(scheduler.next_job(at(3600)).is_none());
        scheduler.resume(at(3600));
        assert_eq!(scheduler.load(), Load::default());
    }

    #[test]
    fn a_scheduler_that_drains_begins_nothing_and_is_drained_when_no_slot_is_taken() {
        let mut scheduler = Scheduler::new(2, 10);
        for name in ["a", "b"] {
            ask(&mut scheduler, name, 0).unwrap();
        }
        let job = scheduler.next_job(at(0)).unwrap();
        assert!(!scheduler.is_drained(at(0)));
        scheduler.begin_drain();
        assert!(!scheduler.is_drained(at(0)), "a job runs");
        assert!(scheduler.next_job(at(0)).is_none());
        assert_eq!(scheduler.prefetch(), []);
        scheduler.returned(job, SETTLED, at(1));
        assert!(scheduler.is_drained(at(1)));
        assert!(!Scheduler::new(2, 10).is_drained(at(1)), "it does not drain");
    }

    #[test]
    fn a_job_whose_worker_is_lost_is_answered_as_busy_and_frees_its_slot() {
        let mut scheduler = Scheduler::new(1, 10);
        let streams = ["a", "b"].map(|name| (SecretKey::new("web", name), NEW));
        let key = IngressKey::new("web", "shop").into();
        let ticket = scheduler.request(&key, streams, at(0)).unwrap();
        let (a, b) = (scheduler.next_job(at(0)).unwrap(), SecretKey::new("web", "b"));
        assert_eq!(scheduler.lost(&a.stream), [(ticket, Requeue::Busy)]);
        let other = scheduler.next_job(at(0)).unwrap();
        assert_eq!(other.stream, b);
        assert_eq!(scheduler.returned(other, SETTLED, at(1)), [], "it was answered");
        assert_eq!(scheduler.load(), Load::default());
    }

    #[test]
    fn the_next_are_prefetched_when_half_of_the_last_ones_have_begun() {
        let mut scheduler = Scheduler::new(1_000, 10_000);
        for number in 0..2 * limits::PREFETCH {
            ask(&mut scheduler, &number.to_string(), 5).unwrap();
        }
        assert_eq!(scheduler.oldest_queued(), Some(at(5)));
        assert_eq!(scheduler.prefetch().len(), limits::PREFETCH);
        for _ in 0..limits::PREFETCH / 2 - 1 {
            scheduler.next_job(at(0)).unwrap();
        }
        assert_eq!(scheduler.prefetch(), [], "more than half of them wait");
        scheduler.next_job(at(0)).unwrap();
        assert_eq!(scheduler.prefetch().len(), limits::PREFETCH / 2);
    }

    #[test]
    fn the_next_wake_is_that_of_the_first_parked_job() {
        let mut scheduler = Scheduler::new(2, 10);
        for (name, until) in [("a", 9), ("b", 5)] {
            ask(&mut scheduler, name, 0).unwrap();
            let job = scheduler.next_job(at(0)).unwrap();
            let parked = JobStatus::Parked { until: at(until), waits_for: WaitsFor::Host };
            scheduler.returned(job, parked, at(0));
        }
        assert_eq!(scheduler.next_wake(at(0)), Some(at(5)));
        assert!(scheduler.next_job(at(5)).is_some());
        assert_eq!(scheduler.next_wake(at(5)), Some(at(9)));
    }
}
