//! Bounds on data from outside: Ingresses and Secrets of tenants, answers of a CA, refusals of the
//! API server and of webhooks, requests of network clients, files and flags. `docs/security.md`
//! lists all of them with their adapters and tests.

use std::time::Duration;

use super::{EVENT_NOTE_MAX, MAX_NAMES, secs};

/// Number of `spec.tls` blocks of one Ingress that get new certificates. Later blocks, up to
/// [`TLS_BLOCKS_READ`], keep being renewed where their Secret has a certificate of ours: releases
/// before 0.2 had no such bound.
pub const TLS_BLOCKS: usize = 1_000;
/// Number of `spec.tls` blocks of one Ingress that are read. With a rule for each of its hosts, an
/// Ingress of the largest size that etcd stores (1.5 MiB) has fewer.
pub const TLS_BLOCKS_READ: usize = 5_000;
/// Memory for the Ingresses of one namespace, in bytes, as estimated from their hosts and blocks:
/// more than 100,000 Ingresses with one host. The operator's limit is 256 MiB, and it needs 60 MiB
/// for everything else. With a larger limit there is more room, in proportion.
pub const NAMESPACE_ROOM: usize = 160 << 20;
/// Size from which on an Ingress is large: some 200 hosts.
pub const LARGE_INGRESS: usize = 64 << 10;
/// Divisor of [`NAMESPACE_ROOM`] for all large Ingresses together, so that they leave room for the
/// others.
pub const LARGE_SHARE: usize = 4;
/// Bytes by which an edit may enlarge an Ingress of a namespace without room, so that a further
/// host does not end the service of an Ingress.
pub const EDIT_ROOM: usize = 4 << 10;
/// Time between two looks whether an Ingress that was left out has room by now.
pub const ROOM_LOOK: Duration = secs(600);
/// Number of such Ingresses that one look reads again.
pub const LOOKED_AT_AGAIN: usize = 16;
/// Number of hosts without a certificate (wildcards, malformed names) that are kept of one list of
/// hosts, for the Event.
pub const BAD_HOSTS: usize = 10;
/// Number of problems of one Ingress that are kept. An Event has room for about that many.
pub const PROBLEMS: usize = 10;
/// Names that annotations of a controller serve beside the hosts of an Ingress, as many as one
/// Event has room for.
pub const ALIASES: usize = 10;
/// Longest text of a finding of `doctor`, in bytes: the rights of an operator that has none are
/// named in full.
pub const FINDING_TEXT: usize = 2_048;
/// Hosts of an Ingress that `doctor` looks at. Each takes a few DNS questions and requests.
pub const DOCTOR_HOSTS: usize = 20;
/// Namespaces of `--watch-namespace` for which `doctor` asks for rights, eight requests each.
pub const NAMESPACES_ASKED: usize = 10;
/// Objects of one kind that `doctor` lists: Deployments and Leases of ours in a cluster, policies
/// of a namespace. Two or three are usual.
pub const DOCTOR_LISTED: u32 = 200;
/// Number of annotations of an Ingress that are copied to its Secret (`--copy-annotations`). A
/// program that copies Secrets reads two to six.
pub const COPIED: usize = 20;
/// Longest value of an annotation that is copied, in bytes: room for a list of namespaces. Together
/// they take a sixth of the 256 KiB that the annotations of a Secret may have.
pub const COPIED_VALUE: usize = 2_048;
/// Longest value of an annotation of ours, in bytes: that of a DNS name. No known value is longer.
pub const ANNOTATION: usize = 253;
/// Longest value of our annotation with the filled-in hosts, in bytes: [`MAX_NAMES`] names of 253
/// bytes, with commas.
pub const FILLED_TLS: usize = MAX_NAMES * 254;
/// Number of Ingresses that own a Secret and whose annotations count for its certificate, where
/// more share it. An owner reference has about 200 bytes, and an object may have 1.5 MiB.
pub const SHARERS: usize = 100;
/// Number of Ingresses of a Secret from which on the desired certificate is kept between two
/// changes, because its computation takes time for each Ingress.
pub const SHARERS_KEPT: usize = 32;
/// Names of Secrets that are kept of an Ingress that is left alone, 8 bytes each, so that none of
/// them is chosen for another Ingress. Charts write one or two.
pub const LEFT_ALONE_NAMES: usize = 100;
/// Number of things of which the last text in the log is remembered, so that a lasting state is
/// logged once: about 150 bytes each. Beyond them, a text may be logged once more.
pub const SAID: usize = 4_096;
/// Number of Ingress classes that one host is routed through. Two or three are usual: an internal
/// and an external controller.
pub const CLASSES_PER_HOST: usize = 8;
/// Length of the joined `renew` annotations of all sharers, in bytes, from which on each value is
/// replaced by a hash. The annotations of an object may have 256 KiB together.
pub const RENEW_JOINED: usize = 1_024;
/// Ingresses of one namespace, and Secrets of theirs, that are read to find out whether the
/// namespace holds a certificate for a contested host.
pub const CLAIMANTS_READ: usize = 16;
/// Secrets that one such step reads, by a few more at most.
pub const HOLDER_SECRETS: usize = 512;
/// Ingresses that are reconciled when another namespace lets go of a host. The others follow with
/// the next scan.
pub const CLAIMANTS_TOLD: usize = 100;
/// Connections to the solver port at a time. With the other ports, the sum stays below the 1,024
/// open files that a container runtime may allow, so that the API server and the CA can still be
/// reached.
pub const SOLVER_CONNECTIONS: usize = 512;
/// Connections to the solver port from one address. An ingress controller is one address and keeps
/// idle connections (ingress-nginx up to 320 per worker, Go's transport up to 200); a challenge
/// takes a millisecond, so far fewer than this are in use at a time. Above the number the longest
/// unused connection of that address is closed, and no request is refused.
pub const SOLVER_CONNECTIONS_PER_PEER: usize = 256;
/// Connections to each of the ports for health, metrics and administration at a time. The kubelet,
/// Prometheus and a person on call need a handful.
pub const CONNECTIONS: usize = 64;
/// Such connections from one address, so that one address cannot have all.
pub const CONNECTIONS_PER_PEER: usize = 32;
/// Longest request in bytes, headers included, on any port. A CA sends about 200 bytes; an ingress
/// controller adds headers, and passes on a browser's cookies.
pub const REQUEST_BYTES: usize = 16 * 1024;
/// Longest time for the first request's headers. All known clients send their headers at once.
pub const REQUEST_WITHIN: Duration = secs(5);
/// Time that an idle connection to the solver is kept. Ingress controllers reuse connections to
/// their backends, with short pauses.
pub const SOLVER_KEEP_ALIVE: Duration = secs(15);
/// Longest time between two answers on one connection to the solver, idle time and headers
/// included. A client that sends a byte a second is dropped by this deadline.
pub const SOLVER_ANSWERS_WITHIN: Duration = secs(20);
/// Longest life of a connection for health, metrics and administration, which carries one request.
/// A slow reader is dropped by this deadline. Prometheus gives up after 10 s by default.
pub const CONNECTION_LIFE: Duration = secs(30);
/// Buffer of the kernel for unsent data of one connection, which counts as memory of the pod.
pub const SEND_BUFFER: u32 = 64 * 1024;
/// Part of an answer that is copied for one connection at a time. The whole text is shared.
pub const ANSWER_CHUNK: usize = 16 * 1024;
/// Age up to which an answer is given again, so that any number of clients costs one text a second.
pub const ANSWER_AGE: Duration = secs(1);
/// Texts of one kind in memory at a time. While slow readers still hold so many, the newest is
/// given again whatever its age, which is [`CONNECTION_LIFE`] at most.
pub const ANSWERS_HELD: usize = 4;
/// Certificates with series of their own in `/metrics`. Two series with the longest names have 800
/// bytes, so all have 4 MB. The first to be renewed are shown, and a gauge counts the others.
pub const CERTIFICATE_SERIES: usize = 5_000;
/// Longest text of a failure, in bytes, with the words of the other side and our advice. An Event's
/// note has no more, and a record of the journal stays at a few KiB.
pub const DETAIL_MAX: usize = 1024;
/// Longest text of another side (a CA, the API server, a webhook, a web server) within a failure.
/// The action before the words and the advice after them then fit into [`DETAIL_MAX`].
pub const QUOTED_MAX: usize = 640;
/// Longest reason for which a user stops new orders, and longest value of that annotation which is
/// shown, in bytes. An Event tells it beside names and the way to resume.
pub const STOP_REASON_MAX: usize = 200;
/// Longest URL that a CA may name for an order or an account. The URL is journaled or stored, and
/// cannot be cut; Let's Encrypt's have 60 bytes.
pub const URL_MAX: usize = 2048;
/// Longest `explanationURL` of a renewal window that is kept (RFC 9773 §4.2): each certificate may
/// have one.
pub const EXPLANATION_MAX: usize = 256;
/// Largest chain that is accepted from a CA, in bytes of PEM. Four certificates have under 10 KiB,
/// and a leaf with 100 long names has 35 KiB.
pub const CHAIN_MAX: usize = 64 * 1024;
/// Largest number of certificates in a chain from a CA; public CAs send two to four. Each one costs
/// a check of a signature.
pub const CHAIN_CERTIFICATES: usize = 10;
/// Longest serial number and longest issuer name of a certificate that are kept, in characters of
/// text. RFC 5280 allows 20 octets (§4.1.2.2) and 64 characters (appendix A.1).
pub const CERTIFICATE_TEXT_MAX: usize = 256;
/// Longest text of a tenant (a host, an annotation) within a problem of an Ingress, in bytes. An
/// Event has room for [`PROBLEMS`] of them with the reasons, and no host that is a name is longer.
pub const SHOWN_MAX: usize = 104;
/// Length of the answered `renew` requests that are read from a Secret, in bytes. Releases before
/// 0.2 wrote the values of all sharers in full; later ones write [`RENEW_JOINED`] at most.
pub const RENEW_READ: usize = 64 * 1024;
/// Number of owners that are read from a Secret: one more than we ever set, so that a Secret with
/// more owners is never taken for one with the desired owners.
pub const OWNERS_READ: usize = SHARERS + 1;
/// Largest number of DNS names in the certificate of a Secret. A tenant may put any certificate
/// into a Secret, and public CAs issue for 2,000 names at most (most of them for 100).
pub const CERTIFICATE_NAMES: usize = 2_000;
/// Largest answer of a CA in bytes. An order of 100 of the longest names has 50 KiB, and a chain
/// [`CHAIN_MAX`].
pub const ANSWER_MAX: usize = 256 * 1024;
/// Largest authorization or challenge of a CA in bytes; an open order may keep [`MAX_NAMES`] of
/// them. Let's Encrypt's have 1 KiB, and 30 KiB after a validation with ten long redirects.
pub const AUTHORIZATION_MAX: usize = 64 * 1024;
/// Names of a CA in one DNS-PERSIST-01 challenge (draft-ietf-acme-dns-persist §3.1).
pub const ISSUER_NAMES: usize = 10;
/// Memory of all open orders that are cached, in bytes. A thousand orders of one name have 2 MiB.
pub const ORDERS_KEPT: usize = 16 * 1024 * 1024;
/// Certificates in one answer of `/api/v1/ingresses`. One Ingress may have 5,000; a certificate has
/// 2 KB with the longest texts. The largest page has 1,000 Ingresses, most of them with one.
pub const LISTED_CERTIFICATES: usize = 2_000;
/// Hosts in one answer of `/api/v1/ingresses` or `/debug/state`: 5 MB of the longest ones.
pub const LISTED_HOSTS: usize = 20_000;
/// Rows of each kind in `/debug/state`, 1 KB each with the longest texts.
pub const DUMPED: usize = 5_000;
/// Newest Events of one Ingress that `status` and `explain` read. Others may write Events with our
/// name into their namespace.
pub const EVENTS_READ: usize = 100;
/// Largest file of `--acme-ca-file` in bytes. All roots of a system have 250 KiB.
pub const CA_FILE_MAX: usize = 1024 * 1024;
/// Largest file of `--cas-file` in bytes: the CAs with a root in PEM each, and all rules.
pub const CAS_FILE_MAX: usize = 256 * 1024;
/// Most CAs of that file. Each has a client, limits, and series of metrics.
pub const CAS: usize = 16;
/// Most rules of one list of that file, and most namespaces or domains of one rule.
pub const CA_RULES: usize = 200;
/// Longest name of a CA, in bytes: a value of an annotation and a label of metrics.
pub const CA_NAME: usize = 63;
/// Longest duration of a flag: a sum with any time is still a time, and longer means never.
pub const FLAG_MAX: Duration = secs(100 * 366 * 86_400);
/// Longest Retry-After accepted from the API server, which names seconds. An admission webhook may
/// name any time in its refusal.
pub const API_RETRY_AFTER_MAX: Duration = secs(3600);
/// Longest text of a probe about a host, in bytes: with the host and our advice around it, the
/// detail of a failure stays below 1 kB. Parts of the text come from the host's server
/// and its nameserver; every text goes into the journal and an Event.
pub const PROBE_TEXT_MAX: usize = 512;
/// Longest head of a response that the probe reads, in bytes. Web servers themselves limit a head
/// to 8 or 16 KiB; hundreds of probes run at once.
pub const PROBE_HEAD_MAX: usize = 16 * 1024;
/// Most fields in the head of a response that the probe reads.
pub const PROBE_FIELDS_MAX: usize = 100;
/// Longest body that the probe reads, in bytes. A valid answer has under 200.
pub const PROBE_BODY_MAX: usize = 1024;
/// CAA records of one domain that are read. A domain names a handful of CAs.
pub const CAA_RECORDS: usize = 32;
/// Longest value of a CAA record that is read, in bytes. The URL of an account has under 100.
pub const CAA_VALUE: usize = 1024;
/// Longest tag of a CAA record that is read, in bytes (RFC 8659 §4.1).
pub const CAA_TAG: usize = 255;
/// CNAME records of a challenge that are followed in a row, as resolvers do. One is usual.
pub const DNS_ALIASES: usize = 8;
/// Authoritative servers of a zone that are asked for a challenge. A zone has two to six.
pub const DNS_SERVERS: usize = 8;
/// Addresses of one authoritative server that are asked, until one answers.
pub const DNS_SERVER_ADDRESSES: usize = 4;
/// DNS-PERSIST-01 records of one name that are read. A name lets a handful of CAs issue.
pub const PERSIST_RECORDS: usize = 32;
/// Longest DNS-PERSIST-01 record that is read, in bytes: the longest name of a CA and the longest
/// URL of an account.
pub const PERSIST_VALUE: usize = 3 * 1024;
/// Largest number of redirects that the probe follows, as Let's Encrypt does.
pub const PROBE_REDIRECTS: usize = 10;
/// Addresses of one DNS answer that the probe keeps. A host behind more has the same answer behind
/// each of them.
pub const PROBE_ADDRESSES: usize = 16;
/// Addresses of one host that the probe connects to, in order, until one accepts.
pub const PROBE_ATTEMPTS: usize = 3;
/// Largest response of the API server to one request, but a watch. Five objects of the largest size
/// that etcd stores (1.5 MiB) fit; a page of a list that does not is asked for in smaller pages.
pub const KUBE_RESPONSE: usize = 8 * 1024 * 1024;
/// Number of Ingresses in the smallest page of a list, which is read whatever its size.
pub const SMALLEST_PAGE: u32 = 1;
/// TLS Secrets read at once. A Secret may have 1.5 MiB, and takes some times its size while it is
/// read.
pub const SECRET_READS: usize = 16;
/// Namespaces whose Secrets one step reads for one contested host, beside the namespace of the job.
pub const NAMESPACES_READ: usize = 32;
/// Contested hosts of one job that one step decides on.
pub const HOSTS_CHECKED: usize = 8;
/// Secrets of many Ingresses whose desired certificate is kept between two changes. One has 60 KB
/// at most.
pub const MERGED_KEPT: usize = 256;

/// Largest number of alternate chains that one answer of a CA names (RFC 8555 §7.4.2); CAs have two
/// or three.
pub const ALTERNATES: usize = 8;
/// Largest headers of an answer of a CA in bytes; Let's Encrypt's have under 1 KiB. A nonce and
/// URLs of them stay in the cache of open orders.
pub const CA_HEADERS: usize = 16 << 10;
/// Largest number of cached orders. One more evicts the oldest, at the cost of one request if that
/// order is needed again.
pub const ORDERS_REMEMBERED: usize = 1_000;
/// Longest time to open one connection of a probe. Leaves time for another address.
pub const PROBE_CONNECT: Duration = secs(2);
/// Longest look at a host over IPv6, for the comparison with IPv4: DNS and one connection to one
/// address. Many clusters have no IPv6, and a firewall may drop its packets.
pub const PROBE_IPV6: Duration = secs(2);
/// Pause before a second look at a host that leads elsewhere over IPv6. The replicas of an ingress
/// controller take a route in within a second or two of each other, and the first look may meet one
/// that is late.
pub const PROBE_IPV6_AGAIN: Duration = secs(2);
/// Longest comparison of a host with IPv4: two looks, the pause between them, and some time.
pub const PROBE_IPV6_CALL: Duration = secs(7);
/// Timeout of one DNS query. The query and its one retry must leave time for HTTP.
pub const DNS_QUESTION: Duration = Duration::from_millis(1_500);
/// Longest look at the DNS of one challenge: the CNAMEs and the zone of its record, or the record
/// at all authoritative servers of the zone, which are asked at once.
pub const CHALLENGE_DNS: Duration = secs(10);
/// Time for which an answer of DNS is kept: long enough for the questions of one probe, and for the
/// CAA records of a domain while many of its hosts are in work; too short to miss a new record.
pub const DNS_ANSWER_AGE: Duration = secs(1);
/// Answers of DNS that are kept. An answer may have 64 KiB.
pub const DNS_ANSWERS_KEPT: u64 = 16;
/// Connections of one port that have been accepted and have not been read from yet, beyond those
/// with a seat. Those that must leave are among them for a moment.
pub const CONNECTIONS_ACCEPTED: usize = 32;
/// Connections of one port that the kernel holds until they are accepted.
pub const CONNECTIONS_BACKLOG: u32 = 1_024;
/// Rows of each kind on the status page.
pub const PAGE_ROWS: usize = 50;
/// Characters of a failure's detail on the status page. The API has the full text.
pub const PAGE_DETAIL: usize = 600;
/// Rows of one page of the list of Ingresses.
pub const LIST_ROWS: usize = 100;
/// Certificates of one Ingress on its page. Its `explain` has all that the API lists.
pub const PAGE_CERTIFICATES: usize = 20;
/// Last records of the journal on the status page, and records on the page of an Ingress.
pub const PAGE_RECORDS: usize = 20;
/// Longest text of a record in the history of a certificate, in bytes: the words of a CA or of a
/// tenant's server. With the longest texts all records take 2 MB.
pub const HISTORY_TEXT: usize = 480;
/// Longest text to search Ingresses for, in characters: that of the longest name.
pub const SEARCH_MAX: usize = 253;
/// Ingresses and names that a search looks at before the arbiter turns to other work, in about a
/// millisecond.
pub const SEARCHED_AT_ONCE: usize = 5_000;
/// Streams of changes to status pages at a time: a quarter of the connections of the admin port, so
/// that others have room. One more ends the oldest, whose page then opens another one.
pub const CHANGE_STREAMS: u64 = 16;
/// Life of such a stream, which ends before its connection is dropped ([`CONNECTION_LIFE`]). The
/// browser opens another one.
pub const CHANGE_STREAM_LIFE: Duration = secs(25);
/// Pause between two looks for a change, so that a storm costs a page one message a second.
pub const CHANGE_LOOK: Duration = secs(1);
/// Longest silence of a stream of changes.
pub const CHANGE_BEAT: Duration = secs(10);
/// Pause of a browser before it opens another stream.
pub const CHANGE_RETRY: Duration = secs(2);
/// Ingresses in one answer of the API, where the request names no number.
pub const LISTED: usize = 500;
/// Largest number of Ingresses in one answer of the API. The arbiter builds the answer, which takes
/// milliseconds.
pub const LISTED_MAX: usize = 1_000;
/// Longest log filter that the admin port takes, in bytes. One of a dozen parts has 400.
pub const LOG_FILTER_MAX: usize = 1_024;
/// Time that a log filter is in force for which the request names none.
pub const LOG_CHANGE: Duration = secs(15 * 60);
/// Longest such time: a filter that is wanted for longer belongs into `RUST_LOG`.
pub const LOG_CHANGE_MAX: Duration = secs(24 * 3600);
/// Longest wait of `ingress-acme log-level` for the admin port, which answers from memory.
pub const LOG_CALL: Duration = secs(10);
/// Longest answer of the admin port that `ingress-acme log-level` reads.
pub const LOG_ANSWER: usize = 16 * 1024;
/// Longest wait of the admin port for the reporter.
pub const ADMIN_ANSWER: Duration = secs(5);
/// Longest detail in a row of `ingress-acme status`, in bytes: an Event, and the problems of the
/// Ingress.
pub const ROW_DETAIL: usize = (1 + PROBLEMS) * EVENT_NOTE_MAX;
/// Longest accepted duration of a Lease that another candidate holds.
pub const LEASE_DURATION_MAX: Duration = secs(60);
/// Largest number of queued Events.
pub const EVENTS_QUEUED: usize = 1_000;
/// Attempts to send one Event.
pub const EVENT_TRIES: u32 = 3;
/// Longest time for one attempt to send an Event.
pub const EVENT_CALL: Duration = secs(10);
/// Longest `reportingInstance` of an Event (events.k8s.io/v1); the name of a pod may have 253
/// bytes.
pub const REPORTING_INSTANCE: usize = 128;
/// Most ingress classes that are read. A cluster has a few.
pub const CLASSES_READ: u32 = 500;
/// Longest name of a class or annotation that is kept, in bytes. An annotation's name has a prefix
/// of 253 bytes at most, a slash and 63 bytes; a longer class is reported as no class at all.
pub const CLASS_NAME: usize = 317;
/// Journal segments per page of a list. Only their metadata is listed, about 600 bytes each. So a
/// page is far below [`KUBE_RESPONSE`], and thousands of undeleted segments are a few pages.
pub const SEGMENTS_PAGE: u32 = 500;
/// Watched objects (Ingresses, metadata of Secrets) per page of a list, as long as such a page is
/// not too large.
pub const OBJECTS_PAGE: u32 = 500;
/// Time without a further Ingress after which a list is restarted. Longer than the longest pause
/// between two attempts (30 s plus as much jitter) and a slow page together.
pub const LIST_STALLED: Duration = secs(120);
/// Longest time to open a connection to the API server. A healthy one accepts in milliseconds.
pub const KUBE_CONNECT: Duration = secs(5);
/// Longest silence on a connection to the API server with a pending answer. Longer than a watch,
/// which may stay silent for its 60 s.
pub const KUBE_SILENCE: Duration = secs(90);
/// Longest wait for the first list of the DNS accounts, before a process plans without them: their
/// watch goes on, and every Ingress that they serve is planned again.
pub const DNS_ACCOUNTS_LIST: Duration = secs(20);
/// DNS accounts that are read, in the order of their names. Each holds a client of its provider.
pub const DNS_ACCOUNTS: usize = 200;
/// Zones, delegation zones and namespaces of one DNS account, each.
pub const DNS_ACCOUNT_NAMES: usize = 1_000;
/// Longest value of a key of a DNS account's Secret, in bytes: room for [`DNS_ACCOUNT_NAMES`] names
/// of zones. Credentials have 3 KiB at most, those of a service account with its RSA key.
pub const DNS_ACCOUNT_VALUE: usize = 64 * 1024;
/// Longest single request to a DNS provider, of which one write takes two to five.
pub const DNS_PROVIDER_REQUEST: Duration = secs(15);
/// Writes at once with one DNS account. Of a storm, others wait for their turn.
pub const DNS_WRITES_AT_ONCE: usize = 16;
/// Largest answer of a DNS provider that is read by an adapter of ours, in bytes. The answers of
/// acme-dns and of `httpreq` servers have under 1 KiB.
pub const DNS_ANSWER: usize = 64 * 1024;
