//! All deadlines, bounds and pauses of the system, each with its reason. Bounds on data from
//! outside stand in `outside`, and have the same path as the others.

mod outside;

use std::time::Duration;

pub use outside::*;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Objective: a certificate is ready this long after its Ingress. An ordinary one takes seconds;
/// the rest is for a new DNS record and for the CA.
pub const READY_WITHIN: Duration = secs(300);
/// Pause between two looks for certificates that are not ready in time.
pub const READY_LOOK: Duration = secs(5);
/// Longest port call to the API server. The server's own request timeout is 60 s, but after a third
/// of that a retry on another connection is better.
pub const KUBE_CALL: Duration = secs(20);
/// Longest rehearsal of a validation. The job has a slot meanwhile, and a drain waits for it; a CA
/// takes seconds, and a rehearsal without a result is no reason to wait with the order.
pub const REHEARSAL: Duration = secs(20);
/// Number of Secrets whose last installation is remembered for longer than
/// [`JUST_INSTALLED`]: about 100 bytes each. Under a clock that is days behind, a certificate that
/// is forgotten would be ordered again.
pub const INSTALLATIONS_KEPT: usize = 10_000;
/// Time after a failure for which a retry begins with a rehearsal. Later, the CA itself is asked: a
/// rehearsal CA that cannot reach a host must not keep a name from its certificate.
pub const REHEARSALS: Duration = secs(24 * 3600);
/// Longest port call to the CA. Let's Encrypt answers new-order in seconds even on bad days.
pub const CA_CALL: Duration = secs(30);
/// Longest append to the journal, including the writes before it: two of [`JOURNAL_GIVE_UP`], and
/// some time. Then the journal stops, because the record may still become durable.
pub const JOURNAL_CALL: Duration = secs(150);
/// Longest probe of a host: DNS and one small HTTP request.
pub const PROBE_CALL: Duration = secs(5);
/// Longest write at a DNS provider, its sign-in included. The job has a slot meanwhile.
pub const DNS_WRITE: Duration = secs(20);
/// Longest wait of a write for those before, of the same name or with the same account. With writes
/// of half a second, 40 of one name and 600 of one account fit.
pub const DNS_TURN: Duration = secs(20);
/// Longest port call for a TXT record: [`DNS_TURN`], [`DNS_WRITE`], and some time.
pub const DNS_CALL: Duration = secs(45);
/// Longest look at what DNS says about the challenge of a name: CNAMEs, the zone, its servers.
pub const DNS_LOOK: Duration = secs(10);
/// Names that one job looks up in DNS, or writes there, at the same time.
pub const DNS_AT_ONCE: usize = 4;
/// Duration from which a failed write was slow, so that its account pauses as a whole. Below that,
/// a failure holds no slot for long, and only the writes of its zone pause. The time of waiting for
/// writes before does not count.
pub const DNS_SLOW_WRITE: Duration = secs(5);
/// Pause of the writes with a DNS account that did not answer in time or failed, so that its jobs
/// do not hold the slots of others one after the other.
pub const DNS_ACCOUNT_PAUSE: Duration = secs(60);
/// Pause after an order whose TXT records could not be written: each further one counts in the
/// limits that all share. A change of the account ends the pause.
pub const DNS_ORDER_PAUSE: Duration = secs(6 * 3600);
/// Pauses between looks for a TXT record at the authoritative servers of its zone. Most providers
/// take seconds, a server of one's own takes none.
pub const TXT_LOOKS: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    secs(1),
    secs(2),
    secs(5),
];
/// Longest wait for a TXT record at the authoritative servers. Then the CA is asked all the same:
/// it may see what this process cannot.
pub const TXT_SEEN: Duration = secs(120);
/// Period at which TXT records that no order needs are looked for in memory.
pub const TXT_SWEEP: Duration = secs(1);
/// Shortest and longest pause after a TXT record could not be removed.
pub const TXT_RETRY: (Duration, Duration) = (secs(60), secs(3600));
/// Time after which a TXT record that cannot be removed is given up, such as one whose account is
/// gone.
pub const TXT_KEPT: Duration = secs(7 * 86_400);
/// Longest check of `doctor` that asks DNS: five names, each over UDP and TCP. A CAA search climbs
/// as many domains.
pub const DOCTOR_DNS: Duration = secs(20);
/// Longest plan of one Ingress for `doctor`: all Ingresses of the cluster are listed, for one of
/// them may have its hosts.
pub const DOCTOR_PLAN: Duration = secs(60);
/// Time without a renewal after which a Lease counts as abandoned: two Lease durations, so that the
/// next replica has had its turn.
pub const LEASE_STALE: Duration = secs(30);
/// Difference of two clocks that is told: more than the time of a request and the second to which
/// the header `Date` is rounded.
pub const CLOCK_OFF: Duration = secs(30);
/// Difference of two clocks that does harm: a clock of the operator that jumps as far is not
/// believed either.
pub const CLOCK_WRONG: Duration = secs(300);
/// Requests of `doctor` that are sent at once, to the API server and to hosts.
pub const DOCTOR_AT_ONCE: usize = 8;
/// Longest generation of a key, with the wait for [`RSA_KEYS`].
pub const KEY_CALL: Duration = secs(60);
/// Number of RSA keys that are generated at once. One of 4096 bits takes seconds of a core, and any
/// tenant may ask for them.
pub const RSA_KEYS: usize = 2;
/// Longest wait of a job for its routes: the write in flight and the next one.
pub const ROUTE_CALL: Duration = secs(45);

/// Longest wait of the first check of some namespaces (`--watch-namespace`) for the lists of the
/// others. A list takes a second or two.
pub const FIRST_LISTS: Duration = secs(10);

/// Longest look for proof of a private CA before Ingresses are checked: thousands of Secrets are
/// read meanwhile.
pub const PROOFS: Duration = secs(30);

/// Age up to which the last read of a Secret is still used before an order is opened for it.
pub const SECRET_FRESH: Duration = secs(10);
/// Largest number of names in one certificate: the CA's limit (Let's Encrypt, `classic` profile,
/// <https://letsencrypt.org/docs/profiles/>).
pub const MAX_NAMES: usize = 100;
/// Largest number of names in one certificate of a group: accepted by every profile of Let's
/// Encrypt.
pub const GROUP_NAMES: usize = 25;
/// Largest number of names in one certificate of the profiles `tlsserver` and `shortlived` (Let's
/// Encrypt, <https://letsencrypt.org/docs/profiles/>).
pub const MAX_NAMES_SHORT: usize = 25;

/// Pauses between polls of an order when the CA sends no Retry-After (RFC 8555 §7.5.1). The first
/// are short, because a job holds its slot meanwhile and some CAs validate within the request; an
/// order that takes a minute is polled 16 times.
pub const POLL: [Duration; 7] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    secs(1),
    secs(2),
    secs(3),
    secs(5),
];
/// Longest Retry-After obeyed between polls of an order; a longer one is cut. After an error, a
/// longer Retry-After ends the attempt.
pub const POLL_MAX: Duration = secs(60);
/// Age at which an unfinished order is abandoned. Validation and finalization take minutes at most.
pub const ORDER_DEADLINE: Duration = secs(3600);

/// Age from which an order is given up that the CA does not know. The servers of a CA lag behind
/// each other for seconds (<https://github.com/letsencrypt/boulder/issues/6549>).
pub const ORDER_SETTLES: Duration = secs(30);

/// Longest time that an order holds up the order of another Secret for exactly the same names: as
/// long as an unfinished order is kept.
pub const SAME_NAMES_WAIT: Duration = ORDER_DEADLINE;
/// Shortest and longest pause between two looks at such an order: most take seconds.
pub const SAME_NAMES_LOOK: (Duration, Duration) = (secs(2), secs(60));

/// Age at which an order is abandoned whose status cannot be read. The order may already have a
/// certificate, so the limit is far longer than an outage.
pub const ORDER_LIFE: Duration = secs(86_400);
/// Shortest pause before an order is resumed after its CA or the API server failed for too long.
/// Also the pause after repeated errors of the journal.
pub const ORDER_PAUSE: Duration = secs(60);

/// Longest such pause. The pause grows with the age of the order.
pub const ORDER_PAUSE_MAX: Duration = secs(3600);
/// Time after an installation in which the validity of a certificate is not checked. A certificate
/// that is already due or not yet valid means a wrong clock or an odd lifetime, and more
/// certificates would not help.
pub const JUST_INSTALLED: Duration = secs(12 * 3600);

/// Longest attempt of the journal to write one segment. Then the process stops, because a record
/// may or may not be durable; the next start finds out.
pub const JOURNAL_GIVE_UP: Duration = secs(60);
/// Attempts of one request that reads the journal at a take-over. After the last one another
/// replica may lead, which may be able to read the journal.
pub const JOURNAL_READ_TRIES: u32 = 3;
/// Pauses before obsolete segments that could not be deleted are tried again; the last one repeats.
/// Nothing waits for a deletion, and who refuses one for an hour needs a person to act.
pub const JOURNAL_DELETE_RETRY: [Duration; 4] = [secs(60), secs(300), secs(900), secs(3600)];
/// Segments deleted by one request. The URL contains their numbers.
pub const SEGMENTS_DELETED_AT_ONCE: usize = 128;
/// Segments read concurrently at a take-over. Eight of half a mebibyte each are 4 MiB.
pub const SEGMENTS_READ_AT_ONCE: usize = 8;
/// Time in which edits gather after an applied one, so that an edit in a loop is planned ten times
/// a second at most. The default settle time is ten times as long.
pub const EDIT_BURST: Duration = Duration::from_millis(100);
/// Ingresses whose edits gather at most. A view is some 500 bytes, so these are 10 MB.
pub const EDIT_BURST_INGRESSES: usize = 20_000;
/// Records no caller awaits are flushed with the next awaited one, or after this delay.
pub const JOURNAL_LAZY: Duration = secs(2);
/// Pause between two writes under load, so that records gather. 30 ms save a sixth of the segments
/// of 10 ms and take no longer; 100 ms save a fifth of those of 30 ms, but no CPU, and a storm
/// takes half as long again.
pub const JOURNAL_LINGER: Duration = Duration::from_millis(30);
/// Number of segments at which the log is compacted into a snapshot.
pub const JOURNAL_SEGMENTS: usize = 32;
/// Time without a write after which the log is compacted into a snapshot.
pub const JOURNAL_IDLE: Duration = secs(10);
/// Number of fences kept. A process that was suspended through more later terms than this is no
/// longer fenced at its next number.
pub const FENCES: usize = 8;
/// Records in one segment, in bytes of JSON. With its frame a segment stays below 512 KiB, half of
/// the size limit of an object in etcd.
pub const SEGMENT_BYTES: usize = 480 * 1024;

/// Pauses between retries of a step after a transient error of a port (5xx, timeout, broken
/// connection).
pub const TRANSIENT: [Duration; 5] = [secs(1), secs(2), secs(4), secs(8), secs(16)];

/// Backoff after a failed issuance: the sequence of Let's Encrypt's integration guide
/// (<https://letsencrypt.org/docs/integration-guide/>).
pub const BACKOFF: [Duration; 4] = [secs(60), secs(600), secs(6000), secs(86_400)];
/// Number of failures in a row before a certificate for a subset of the names is tried, if the
/// Ingresses allow one.
pub const PARTIAL_ATTEMPTS: u32 = 2;
/// Shortest time between the first of these failures and a certificate for a subset: long enough
/// for a new DNS record to appear.
pub const PARTIAL_AFTER: Duration = secs(300);
/// Time for which the failed names of a group still count after another member joins or leaves.
pub const GROUP_MEMORY: Duration = secs(3600);
/// Time since the first failure after which a group gives up a certificate with the name of a
/// failing host, because other members wait to join.
pub const GROUP_PATIENCE: Duration = secs(86_400);
/// Shortest time from a failure to an attempt because of an edit, so that a controller that edits
/// an Ingress each second is no storm.
pub const EDIT_PAUSE: Duration = secs(60);
/// Number of edits in a row that end the pause of one desired certificate. A person who looks for
/// the cause has as many tries; each begins [`BACKOFF`] anew.
pub const EDITS: u32 = 10;
/// Time after which one more such edit counts, so that a controller that edits an Ingress all the
/// time ends eight pauses a day.
pub const EDIT_INTERVAL: Duration = secs(3 * 3600);
/// Backoff while a host is unreachable. Short, because no request goes to the CA.
pub const UNREACHABLE_BACKOFF: [Duration; 5] = [secs(10), secs(30), secs(60), secs(300), secs(600)];
/// Shortest wait after a rate limit hit, even if the CA names a shorter one: many orders wait for
/// the same time.
pub const RATE_LIMIT_MIN: Duration = secs(5);
/// Backoff after a refusal that only an edit of the Ingress or of a CAA record can change. Let's
/// Encrypt's integration guide asks for at most one attempt a day.
pub const PERMANENT_BACKOFF: Duration = secs(86_400);
/// Longest backoff of a certificate with less than a twentieth of its lifetime left: a day of
/// backoff may be all that is left. Also the period of [`EMERGENCIES`].
pub const EMERGENCY_PAUSE: Duration = secs(3600);
/// Number of nearly expired certificates for which one namespace may bypass a rate limit within
/// [`EMERGENCY_PAUSE`]. Further ones wait at the head of the limit queue. The number is bounded
/// because expiry is read from Secrets, which tenants can write.
pub const EMERGENCIES: usize = 10;
/// Largest jitter added to the end of a rate limit.
pub const LIMIT_JITTER: Duration = secs(60);
/// Longest effect of one rate limit hit, and longest pace. The longest limit of Let's Encrypt is a
/// week; if the CA names a longer one, the next order finds out.
pub const LIMIT_MAX: Duration = secs(7 * 86_400);
/// Longest Retry-After accepted from a response.
pub const RETRY_AFTER_MAX: Duration = secs(30 * 86_400);
/// Longest pause after a failure that a journal may hold: [`RETRY_AFTER_MAX`] with its jitter of a
/// tenth. A later end stems from a clock that was ahead.
pub const RETRY_MAX: Duration = secs(33 * 86_400);
/// Longest time to the end of a rate limit that a journal may hold: [`LIMIT_MAX`] with the margin
/// of a pace, 1 %, which is more than [`LIMIT_JITTER`]. A later end stems from a clock that was
/// ahead.
pub const LIMIT_CLOSED_MAX: Duration = secs(7 * 86_400 + 7 * 864);
/// Time between orders after a rate limit has ended, until its queue is empty, if the CA does not
/// say how many it allows. The first refused order stops the others.
pub const LIMIT_PACE: Duration = secs(1);
/// Time between orders after the CA was busy, and shortest pace of any limit. Let's Encrypt's load
/// balancer admits hundreds of requests per second.
pub const BUSY_PACE: Duration = Duration::from_millis(20);
/// Time after the end of a rate limit at which the journal drops its hit and a restart ignores the
/// hit; orders then pass at once. A longer pace extends this time.
pub const LIMIT_MEMORY: Duration = secs(3600);
/// Largest number of certificates in a row for the same set of names: one less than Let's Encrypt's
/// limit per week (<https://letsencrypt.org/docs/rate-limits/>).
pub const GUARD_CERTIFICATES: u32 = 4;
/// Time after which one more such certificate is allowed: a quarter of a week.
pub const GUARD_CERTIFICATES_INTERVAL: Duration = secs(42 * 3600);
/// Largest number of failed validations of one name in a row: one less than Let's Encrypt's limit
/// per hour (<https://letsencrypt.org/docs/rate-limits/>).
pub const GUARD_FAILURES: u32 = 4;
/// Time after which one more such failure is allowed: a quarter of an hour.
pub const GUARD_FAILURES_INTERVAL: Duration = secs(900);
/// Time between checks of a job in a limit queue, in case it no longer needs an order.
pub const LIMIT_LOOK: Duration = secs(3600);
/// Backoff after a conflict with the existing Secret (not ours, immutable or of another type), or
/// after an impossible desired certificate.
pub const CONFLICT_BACKOFF: Duration = secs(3600);

/// Pauses between probes of a fresh route within one job. Ingress controllers need a moment to
/// reload.
pub const PROBE: [Duration; 6] =
    [Duration::from_millis(250), Duration::from_millis(500), secs(1), secs(2), secs(4), secs(8)];
/// Time since the first failure after which an order is opened although a host that resolves was
/// not reached. Behind hairpin NAT or split DNS the cluster cannot reach itself although the
/// Internet can.
pub const PROBE_ADVISORY_AFTER: Duration = secs(300);
/// Hosts probed concurrently by one job.
pub const PROBES_AT_ONCE: usize = 8;

/// Longest time that a job holds its slot while the CA works. Slower jobs continue without a slot,
/// so they do not delay others.
pub const SLOT_MAX: Duration = secs(30);
/// Slots that one namespace may have for each free slot, so that it leaves an eighth to others: a
/// job with hosts that never answer holds its slot for [`PROBE_CALL`] each time.
pub const SLOTS_PER_FREE: usize = 7;
/// Steps of one job; a job that takes more goes round in circles and ends as a failure.
pub const JOB_STEPS: u32 = 2_000;
/// Waiting jobs whose span is kept, so that an issuance is one trace also where its routes take a
/// while. The span of a further one ends with its wait. A span takes about 1 KB.
pub const SPANS_KEPT: usize = 1_024;
/// Longest a key stays in flight before deduplication takes it back, whatever the pool says.
pub const IN_FLIGHT_MAX: Duration = secs(7200);
/// Largest number of Secrets in the pool's queue, of which one namespace has at most half. Further
/// requests are answered "busy" and retried. An entry takes about 450 bytes.
pub const QUEUE_MAX: usize = 200_000;
/// Largest number of dedup actors of new and edited Ingresses, of which one namespace has at most
/// half. An actor and its request take 1.7 KB; an Ingress that waits for an actor takes 300 bytes.
/// The pool's queue is fair between namespaces, so a few hundred actors of each keep it busy.
pub const DEDUP_ACTORS: usize = 2_000;
/// Dedup actors that each namespace may have, however many the others have.
pub const DEDUP_ACTORS_OF_EACH: usize = 16;
/// Largest number of jobs that wait between two probes of their hosts, of which one namespace has
/// at most half. Others begin when one has ended, 16 s after its first probe at the latest. A job
/// takes about 2 KB, a Secret in the queue 450 bytes.
pub const JOBS_BETWEEN_PROBES: usize = 2_000;
/// Largest number of queued new attempts after an unreachable host, of which one namespace has at
/// most half. Further ones are answered "busy".
pub const RETRIES_QUEUED: usize = 1_000;
/// Pause before a retry after the answer "busy".
pub const BUSY_RETRY: Duration = secs(30);

/// Number of queued Secrets whose routes are prefetched, so that a storm edits the solver Ingresses
/// a few times, not once per certificate. Equals the hosts of one solver Ingress.
pub const PREFETCH: usize = 100;
/// Largest number of hosts in one solver Ingress: well below the sizes that cause trouble in
/// controllers and etcd.
pub const HOSTS_PER_SOLVER_INGRESS: usize = 100;
/// Time that a route stays after its last use, so that retries and other jobs for the host still
/// find it.
pub const ROUTE_LINGER: Duration = secs(10);
/// Shortest time between two removals of expired routes, so that removals gather in batches.
pub const ROUTE_SWEEP: Duration = secs(5);
/// Longest time in which an ingress controller applies a write: a route that was withdrawn may
/// answer for so long. Traefik took 2 s, `HAProxy` Technologies' controller 5 s.
pub const ROUTE_LAG: Duration = secs(15);
/// Hosts of new Ingresses that the route keeper is told of at once, so that a list of 100,000 needs
/// no room for all of them.
pub const NEW_HOSTS: usize = 1_000;
/// Time for which the ingress classes are kept. They are read where a host was not reached.
pub const CLASSES_KEPT: Duration = secs(600);
/// Precision of `metadata.creationTimestamp`.
pub const CREATION_STEP: Duration = secs(1);
/// Farthest creation time in the future that counts. A later one is of an API server whose clock
/// was wrong, and no solver Ingress could be younger.
pub const CREATION_SKEW: Duration = secs(3600);
/// Time that an unclaimed route found at start stays. Resumed orders claim their routes within this
/// time.
pub const ROUTE_GRACE: Duration = secs(120);
/// Time between comparisons of the observed solver Ingresses with the desired ones, to undo changes
/// by others.
pub const ROUTE_CHECK: Duration = secs(600);
/// Pause before a failed write of a solver Ingress is retried.
pub const ROUTE_RETRY: Duration = secs(5);

/// Times that another writer may put a user's Ingress back before our path is not added again.
pub const PUT_BACKS: u32 = 2;
/// Time for which it is not added then. A `GitOps` tool puts an Ingress back for ever.
pub const PUT_BACK_PAUSE: Duration = secs(3600);
/// Time for which it is known that another writer puts an Ingress back.
pub const PUT_BACK_KEPT: Duration = secs(86_400);
/// Solver routes of an earlier process that are adopted in one namespace of a user. Users can write
/// what looks like them.
pub const SOLVERS_FOUND: usize = 100;
/// Time between looks at the endpoints of the solver, while users' namespaces have copies of them.
pub const ENDPOINTS_LOOK: Duration = secs(10);
/// `EndpointSlices` of the solver that are read.
pub const ENDPOINT_SLICES: u32 = 20;
/// Addresses of the solver that are copied, of each family.
pub const SOLVER_ENDPOINTS: usize = 100;
/// Longest pause before a failed removal of hosts is retried. A webhook that refuses it because of
/// an Ingress of somebody else does so until that Ingress is mended.
pub const ROUTE_RETRY_MAX: Duration = secs(600);

/// Time of one round of checks that all Secrets exist, where there are few of them: a deleted one
/// is noticed within a minute, with the time of the request.
pub const SECRET_CHECKS_ROUND: Duration = secs(50);
/// Time between a few of these checks and the next few.
pub const SECRET_CHECKS_TICK: Duration = secs(1);
/// Concurrent checks that a Secret exists.
pub const SECRET_CHECKS_AT_ONCE: usize = 4;
/// Shortest pause of these checks after an error of the API server (429, 5xx, none), which others
/// need more.
pub const SECRET_CHECKS_PAUSE: Duration = secs(30);

/// Secrets read concurrently by a scan.
pub const SCAN_AT_ONCE: usize = 16;
/// Number of ticks over which a scan is spread within its interval.
pub const SCAN_TICKS: u32 = 360;

/// Time between ARI requests for one certificate if the CA sends no Retry-After (RFC 9773 §4.3.2).
pub const ARI_POLL: Duration = secs(6 * 3600);
/// Shortest time between ARI requests for one certificate, even if the CA names a shorter one; also
/// the pause after a first failure.
pub const ARI_POLL_MIN: Duration = secs(60);
/// Longest time between ARI requests for one certificate, even if the CA names a longer one.
pub const ARI_POLL_MAX: Duration = secs(86_400);
/// Longest pause after failed ARI requests, unless the CA names a longer one. Pauses double from
/// [`ARI_POLL_MIN`]. A request without an answer is repeated after this time.
pub const ARI_RETRY_MAX: Duration = secs(6 * 3600);
/// Time between two rounds of ARI requests.
pub const ARI_ROUND: Duration = secs(10);
/// Certificates per round. Five requests per second are a hundredth of Let's Encrypt's limit, and
/// cover about a hundred thousand certificates in six hours. After a mass revocation, renewals
/// start at this pace too.
pub const ARI_ROUND_SIZE: usize = 50;
/// Concurrent ARI requests.
pub const ARI_AT_ONCE: usize = 4;
/// Lifetime below which a certificate is renewed with half of its lifetime left. Others are renewed
/// with a third left (Let's Encrypt's integration guide,
/// <https://letsencrypt.org/docs/integration-guide/>).
pub const SHORT_LIVED: Duration = secs(10 * 86_400);
/// Tolerated clock difference before a certificate counts as not yet valid.
pub const CLOCK_SKEW: Duration = secs(300);

/// Time for which a jump of the wall clock forward must last to be believed. After a suspension of
/// the machine renewals start this much later, which does no harm.
pub const CLOCK_FORWARD: Duration = secs(600);
/// Time for which a jump of the wall clock back must last to be believed. Shorter, because the
/// clock was ahead before, and certificates may have looked expired since.
pub const CLOCK_BACK: Duration = secs(60);
/// Earliest time that a clock shows once it is set, since the Unix epoch: 2026-01-01, before the
/// first release. A machine without a battery for its clock begins in 1970.
pub const CLOCK_EARLIEST: Duration = secs(1_767_225_600);
/// Time between looks at the clock, so that a jump is noticed by an idle replica too.
pub const CLOCK_LOOK: Duration = secs(10);

/// Grace period of the pod (`terminationGracePeriodSeconds`): time from SIGTERM to SIGKILL.
pub const GRACE_PERIOD: Duration = secs(60);
/// Longest drain before the process exits, a part of [`GRACE_PERIOD`].
pub const DRAIN: Duration = secs(30);
/// Longest wait at the end for Events that are still queued.
pub const EVENTS_FLUSH: Duration = secs(5);
/// Time from SIGTERM for which challenges are still answered: the kubelet, endpoints, kube-proxy
/// and the ingress controller follow one after the other, and until then each may still send the
/// CA's request here. Runs beside [`DRAIN`].
pub const SOLVER_LINGER: Duration = secs(15);
/// Largest such time: as long as [`DRAIN`] and [`EVENTS_FLUSH`] may take in any case. The release
/// of the Lease then fits into the pod's grace period of 60 s, too.
pub const SOLVER_LINGER_MAX: Duration = secs(35);
/// Time after which the Events of a state that lasts are sent again: kube-apiserver deletes an
/// Event after an hour (`--event-ttl`), and ten minutes are left for a start and for a burst.
pub const EVENT_REPEAT: Duration = secs(3_000);
/// Length of a slot of that time.
pub const EVENT_REPEAT_SLOT: Duration = secs(10);
/// Largest number of Events sent again in one slot, of all namespaces: 300 a minute, or 15,000
/// Ingresses in [`EVENT_REPEAT`]. Beyond that the namespaces take turns, and some Events come late.
pub const EVENTS_REPEATED: usize = 50;
/// Largest number of Events of one Ingress among those.
pub const EVENTS_REPEATED_OF_EACH: usize = 3;
/// Time after the start of a leader in which no Event is sent again.
pub const EVENT_REPEAT_START: Duration = secs(60);
/// Longest `note` of an Event in events.k8s.io/v1, in bytes.
pub const EVENT_NOTE_MAX: usize = 1024;

/// Pause before the next [`SHARERS`] Ingresses of a large group get their `spec.tls`, so that one
/// group does not hold a worker for long.
pub const FILL_PAUSE: Duration = secs(10);
/// Time after which the certificates for a host of several namespaces are read again: the interval
/// of scans, because an Ingress without the host has nothing else to wait for.
pub const HOLDERS_KEPT: Duration = secs(3600);
/// Shortest pause between polls once an order was polled a few times, even if the CA names a
/// shorter Retry-After: some CAs always send 0.
pub const POLL_MIN: Duration = Duration::from_millis(500);
/// Orders of one account that namespaces share: Let's Encrypt's limit in 3 hours
/// (<https://letsencrypt.org/docs/rate-limits/>).
pub const SHARED_ORDERS: u32 = 300;
/// Time after which Let's Encrypt allows one more of these orders.
pub const SHARED_ORDERS_INTERVAL: Duration = secs(36);
/// Certificates under one registered domain that namespaces share: Let's Encrypt's limit in a week.
pub const SHARED_CERTIFICATES: u32 = 50;
/// Time after which Let's Encrypt allows one more of these certificates.
pub const SHARED_CERTIFICATES_INTERVAL: Duration = secs(12_096);
/// Longest resolution of the CA's host at start. Public CAs are known by name, so this is about
/// others.
pub const DIRECTORY_LOOKUP: Duration = secs(5);
/// Time after which a step of probes counts as slow: its job goes to the end of the queue before
/// the next step, because hosts that stall would otherwise hold all workers.
pub const PROBE_SLOW: Duration = secs(1);
/// Pause after the API server has refused a look for the Secret of an Ingress; it doubles up to
/// [`SECRET_REFUSED_MOST`]. Somebody has to give a right, which takes minutes at least.
pub const SECRET_REFUSED: Duration = secs(60);
/// Longest such pause.
pub const SECRET_REFUSED_MOST: Duration = secs(3_600);
/// Questions for the API groups before cert-manager counts as present: an API server that restarts
/// answers again within seconds.
pub const DISCOVERIES: u32 = 3;
/// Pause between these questions.
pub const DISCOVERY_PAUSE: Duration = secs(5);
/// Pause between two later questions for the API groups: cert-manager may be installed or removed
/// at any time, and one small request an hour is nothing to the API server.
pub const DISCOVERY_AGAIN: Duration = secs(3_600);
/// Names that are tried for the Secret of an Ingress, `NAME-tls` to `NAME-tls-8`: one request each,
/// and somebody who has taken all of them does not want a certificate there.
pub const SECRET_NAMES: usize = 8;
/// Certificates whose last records are kept for the status page, those with the newest records. An
/// ordinary record takes 150 bytes.
pub const HISTORY_STREAMS: usize = 500;
/// Records that are kept of one of them: two issuances with their orders, or the last failures.
pub const HISTORY_RECORDS: usize = 8;
/// Time that a CA must have failed for before its fallback is asked, where none is named: outages
/// of CAs are over within hours, and certificates are renewed weeks before they end.
pub const FALLBACK_AFTER: Duration = secs(6 * 3_600);
/// Pause between two looks at the file of `--cas-file`. The kubelet brings a changed one within a
/// minute or two.
pub const CAS_LOOK: Duration = secs(10);
/// Keys before earlier rollovers that are kept for accounts at CAs which those rollovers did not
/// ask. Each costs one look-up where a CA has no account yet.
pub const RETIRED_KEYS: usize = 8;
