//! Every deadline, bound and pause of the system, each with its reason, in one place.

use std::time::Duration;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Longest a port call to the API server may take: its own request timeout is 60 s, but a call that takes
/// a third of that is better tried again on another connection.
pub const KUBE_CALL: Duration = secs(20);
/// Longest a port call to the CA may take: Let's Encrypt answers new-order in seconds even on bad days.
pub const CA_CALL: Duration = secs(30);
/// Longest an append may take, the writes before it included. The journal itself gives up sooner.
pub const JOURNAL_CALL: Duration = secs(150);
/// Longest one probe of a host may take: DNS and one small HTTP request.
pub const PROBE_CALL: Duration = secs(5);
/// Longest making a key or checking a chain may take; RSA needs most of a second on a slow core.
pub const KEY_CALL: Duration = secs(20);
/// Longest a call for routes may wait for the batch before it and its own.
pub const ROUTE_CALL: Duration = secs(45);

/// What was read of a Secret is trusted this long before an order is opened for it.
pub const SECRET_FRESH: Duration = secs(10);
/// Names in one certificate: the CA's limit (Let's Encrypt, classic profile).
pub const MAX_NAMES: usize = 100;
/// Names in one certificate of a group: what every profile of Let's Encrypt takes.
pub const GROUP_NAMES: usize = 25;
/// Names in one certificate of the profiles `tlsserver` and `shortlived` (Let's Encrypt).
pub const MAX_NAMES_SHORT: usize = 25;

/// Waits between looks at an order, where the CA names none (RFC 8555 §7.5.1): quick first, for most orders
/// are done within a second.
pub const POLL: [Duration; 5] = [Duration::from_millis(500), secs(1), secs(2), secs(3), secs(5)];
/// Longest Retry-After that is obeyed while polling; a longer one is a pause, not a poll.
pub const POLL_MAX: Duration = secs(60);
/// Age at which an order that is not done is given up: validation and finalization take minutes at most.
pub const ORDER_DEADLINE: Duration = secs(3600);

/// Age at which an order that cannot even be looked at is given up; a certificate may wait behind it, so it is
/// far longer than an outage.
pub const ORDER_LIFE: Duration = secs(86_400);
/// Pause before an order is gone on with after its CA or the API server failed for too long.
pub const ORDER_PAUSE: Duration = secs(60);

/// Longest such pause; it grows with the age of the order.
pub const ORDER_PAUSE_MAX: Duration = secs(3600);
/// A certificate that we installed this recently is not checked by dates: when it looks due or not yet valid
/// so soon, the clock is wrong or the CA's lives are odd, and more certificates would not help.
pub const JUST_INSTALLED: Duration = secs(12 * 3600);

/// Longest the journal tries to write one segment; then the process stops, for it cannot know what is durable, and
/// its next start finds out.
pub const JOURNAL_GIVE_UP: Duration = secs(60);
/// Events that nobody waits for are written with the next that somebody does, or after this long.
pub const JOURNAL_LAZY: Duration = secs(2);
/// Between two writes under load, so that events gather.
pub const JOURNAL_LINGER: Duration = Duration::from_millis(10);
/// The log is made a snapshot when it has this many segments.
pub const JOURNAL_SEGMENTS: usize = 32;
/// A log that nobody has written to for so long is made one segment.
pub const JOURNAL_IDLE: Duration = secs(10);
/// Fences kept: a process that slept through so many terms of others is fenced no more by its next number.
pub const FENCES: usize = 8;
/// Records in one segment of the journal, in bytes of JSON; with its frame it stays under 512 KiB, half of what an
/// object may have in etcd.
pub const SEGMENT_BYTES: usize = 480 * 1024;

/// Pauses after a transient error of a port (5xx, timeout, broken connection) before the step is tried again.
pub const TRANSIENT: [Duration; 5] = [secs(1), secs(2), secs(4), secs(8), secs(16)];

/// Pauses after a failed issuance: Let's Encrypt's integration guide names this ladder.
pub const BACKOFF: [Duration; 4] = [secs(60), secs(600), secs(6000), secs(86_400)];
/// Failures in a row after which a certificate for a part of the names may be had, where that is asked for ...
pub const PARTIAL_ATTEMPTS: u32 = 2;
/// ... and the time since the first of them: a DNS record that is being made is there by then.
pub const PARTIAL_AFTER: Duration = secs(300);
/// So long what has failed of a group counts for the group with other members ...
pub const GROUP_MEMORY: Duration = secs(3600);
/// ... and so long a host that fails keeps what the group's certificate has of it, while others wait to join.
pub const GROUP_PATIENCE: Duration = secs(86_400);
/// Pauses while a host cannot be reached: no request goes to the CA, so it may be short.
pub const UNREACHABLE_BACKOFF: [Duration; 5] = [secs(10), secs(30), secs(60), secs(300), secs(600)];
/// A rate limit is waited out at least this long, whatever the CA says: many wait for the same moment.
pub const RATE_LIMIT_MIN: Duration = secs(5);
/// Pause after a refusal that only an edit of the Ingress or a CAA record can help; Let's Encrypt's integration guide
/// asks for no more than one attempt a day.
pub const PERMANENT_BACKOFF: Duration = secs(86_400);
/// After a failure this long ago the same is tried again when a certificate has less than a twentieth of its life left,
/// whatever the pause: a day of it may be all that is left.
pub const EMERGENCY_PAUSE: Duration = secs(3600);
/// Certificates about to end for which one namespace may pass a closed rate limit in an hour; the others are the first in line. What is
/// about to end is told by Secrets, which tenants can write.
pub const EMERGENCIES: usize = 10;
/// Most that is added to the time until which a CA has closed a scope.
pub const LIMIT_JITTER: Duration = secs(60);
/// Longest that a scope is closed by one refusal, and longest pace: the longest limit of Let's Encrypt's is a week. A CA that
/// says more is asked again then.
pub const LIMIT_MAX: Duration = secs(7 * 86_400);
/// Longest Retry-After that is believed of any answer.
pub const RETRY_AFTER_MAX: Duration = secs(30 * 86_400);
/// Once a scope is open again, one order in this time until its line is empty, where the CA does not say how many it
/// allows: the first that is refused stops the others.
pub const LIMIT_PACE: Duration = secs(1);
/// The same after the CA was busy: its load balancer lets hundreds a second pass (Let's Encrypt).
pub const BUSY_PACE: Duration = Duration::from_millis(20);
/// a rate limit that opened this long ago is forgotten, and a restart lets everybody pass.
pub const LIMIT_MEMORY: Duration = secs(3600);
/// Certificates for exactly the same names that we ask for in a row: one less than Let's Encrypt gives in a week ...
pub const GUARD_CERTIFICATES: u32 = 4;
/// ... and the time after which there may be one more.
pub const GUARD_CERTIFICATES_INTERVAL: Duration = secs(42 * 3600);
/// Validations of one name that we let fail in a row: one less than Let's Encrypt takes in an hour ...
pub const GUARD_FAILURES: u32 = 4;
/// ... and the time after which there may be one more.
pub const GUARD_FAILURES_INTERVAL: Duration = secs(900);
/// Who waits at a rate limit looks at the world this often, should it need an order no more.
pub const LIMIT_LOOK: Duration = secs(3600);
/// Pause before a Secret that is not ours, or that the API server refuses, is looked at again.
pub const CONFLICT_BACKOFF: Duration = secs(3600);

/// Waits between probes of a fresh route within one job: ingress controllers need a moment to reload.
pub const PROBE: [Duration; 6] =
    [Duration::from_millis(250), Duration::from_millis(500), secs(1), secs(2), secs(4), secs(8)];
/// After this long without reaching a host that resolves, the CA is asked all the same: behind hairpin NAT or
/// split DNS the cluster cannot reach itself though the world can.
pub const PROBE_ADVISORY_AFTER: Duration = secs(300);
/// Hosts probed at once by one job.
pub const PROBES_AT_ONCE: usize = 8;

/// A job holds its slot at the CA this long; slower ones go on without counting against the others.
pub const SLOT_MAX: Duration = secs(30);
/// Steps of one job; a job that takes more goes round in circles and ends as a failure.
pub const JOB_STEPS: u32 = 2_000;
/// Longest a key stays in flight before deduplication takes it back, whatever the pool says.
pub const IN_FLIGHT_MAX: Duration = secs(7200);
/// Streams waiting in the pool's queue; beyond it a request is answered "busy" and comes again.
pub const QUEUE_MAX: usize = 200_000;
/// Pause after "busy".
pub const BUSY_RETRY: Duration = secs(30);

/// Streams whose routes are made ready ahead of their turn, so that a storm edits the solver Ingresses a few
/// times and not once a certificate. One solver Ingress's worth.
pub const PREFETCH: usize = 100;
/// Hosts in one solver Ingress: it stays well under the size at which controllers and etcd complain.
pub const HOSTS_PER_SOLVER_INGRESS: usize = 100;
/// A route stays this long after its last use: retries and neighbours find it still there.
pub const ROUTE_LINGER: Duration = secs(10);
/// Routes go in batches, this far apart.
pub const ROUTE_SWEEP: Duration = secs(5);
/// Routes found at start that nobody claims stay this long: resumed orders claim theirs within it.
pub const ROUTE_GRACE: Duration = secs(120);
/// The solver Ingresses are compared with what they should be this often, should anybody have changed them.
pub const ROUTE_CHECK: Duration = secs(600);
/// Pause before a failed change of a solver Ingress is tried again.
pub const ROUTE_RETRY: Duration = secs(5);

/// Secrets read at once by a scan.
pub const SCAN_AT_ONCE: usize = 16;
/// A scan is spread over the interval in this many ticks.
pub const SCAN_TICKS: u32 = 360;

/// The CA is asked for its renewal window on a renewal this often, where it does not say how often (RFC 9773 §4.3.2).
pub const ARI_POLL: Duration = secs(6 * 3600);
/// Never more often than this, whatever the CA says, and this long after a first failure.
pub const ARI_POLL_MIN: Duration = secs(60);
/// Never less often than this, whatever the CA says.
pub const ARI_POLL_MAX: Duration = secs(86_400);
/// Longest pause after failures of the CA to answer; they double from [`ARI_POLL_MIN`] on.
pub const ARI_RETRY_MAX: Duration = secs(6 * 3600);
/// Suggestions are asked for in rounds, this far apart.
pub const ARI_ROUND: Duration = secs(10);
/// So many in one round: five a second are a hundredth of what Let's Encrypt allows, and ask about a hundred thousand
/// certificates within six hours. When the CA revokes all of them, renewals begin at this pace too.
pub const ARI_ROUND_SIZE: usize = 50;
/// So many at once.
pub const ARI_AT_ONCE: usize = 4;
/// Certificates that live less than this renew at half of their life, others when a third is left
/// (Let's Encrypt's integration guide).
pub const SHORT_LIVED: Duration = secs(10 * 86_400);
/// Tolerance towards clocks that disagree, before a certificate counts as not yet valid.
pub const CLOCK_SKEW: Duration = secs(300);

/// Longest a drain may take before the process ends all the same; the pod's grace period is 60 s.
pub const DRAIN: Duration = secs(30);
/// Longest note of an Event in events.k8s.io/v1, in bytes.
pub const EVENT_NOTE_MAX: usize = 1024;
