//! A rollback to release 0.1.0 (commit 769a018) and back, by both programs on one cluster. `make
//! test-rollback` builds the older program; without that program this test checks nothing, and
//! says so.

use std::path::PathBuf;
use std::time::Duration;

use ingress_acme::kubernetes::journal_segments::SecretSegments;
use ingress_acme_actors::domain::desired::index::Index;
use ingress_acme_actors::domain::desired::selection::Selection;
use ingress_acme_actors::domain::dns::txt::{RecordName, TxtRecord};
use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::ingress::{IngressView, SecretKey};
use ingress_acme_actors::domain::issuance::{Command, Record, State, TxtAdded, apply, decide};
use ingress_acme_actors::domain::log::live::Live;
use ingress_acme_actors::domain::log::segment::{Segment, replay, snapshot};
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::rate_limits::{LimitHit, LimitScope, RateLimit};
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::fakes;
use ingress_acme_actors::ports::Segments;
use ingress_acme_control_plane::{Operator, OperatorOptions, Options, World, eventually};
use ingress_acme_sim::ca;
use kube::Client;

use crate::alone;
use crate::sites::{PATIENCE, Site, events, namespace, secret, verify};

/// The two programs, in the order in which they lead.
struct Programs {
    older: PathBuf,
}

impl Programs {
    fn built() -> Option<Self> {
        let Some(older) = std::env::var_os("ROLLBACK_OPERATOR") else {
            _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                b"note: ROLLBACK_OPERATOR is not set, so no rollback is tested (make test-rollback)\n",
            );
            return None;
        };
        Some(Self { older: older.into() })
    }

    async fn older(&self, world: &World) -> Operator {
        let mut options = OperatorOptions::new(self.older.clone());
        options.without = vec!["--health-bind", "--metrics-bind"];
        world.start_operator(options).await.expect("the older release starts")
    }

    async fn current(&self, world: &World) -> Operator {
        crate::operator(world).await
    }
}

fn view(name: &str) -> IngressView {
    fakes::with_tls(name, name, &[&format!("{name}.example.com")])
}

/// Three failures of `web/failing`, the last one just now: the next attempt is in hours.
fn failing(now: Timestamp) -> Vec<Record> {
    let mut index = Index::new(Selection::default(), None);
    index.apply(view("failing"));
    let stream = SecretKey::new("web", "failing");
    let attempted = index.desired(&stream).expect("it was just applied").attempted();
    let (mut state, mut records) = (State::Idle, Vec::new());
    for _ in 0..3 {
        let failure = Failure::new(FailureClass::Authorization, "it leads elsewhere");
        let event = decide(&state, Command::Fail(attempted, failure), now).expect("legal");
        state = apply(state, &event, now).expect("legal");
        records.push(Record { stream: stream.clone(), at: now, event });
    }
    records
}

/// A rate limit of the CA on `limited.example.com`, for days.
fn limited(directory: &str, now: Timestamp) -> Record {
    let name = DnsName::parse("limited.example.com").expect("a name");
    let limit = RateLimit { scope: LimitScope::Name(name), pace: None };
    let hit = LimitHit::new(&limit, Duration::from_hours(70), "too many", now);
    let command = Command::LimitHit(directory.to_owned(), hit);
    let event = decide(&State::Idle, command, now).expect("legal");
    Record { stream: SecretKey::new("web", "limited"), at: now, event }
}

/// What release 0.1.0 passes over: a rate limit on a wildcard, and a TXT record.
fn newer(directory: &str, now: Timestamp) -> [Record; 2] {
    let wildcard = DnsName::parse_certified("*.example.com").expect("a wildcard");
    let limit = RateLimit { scope: LimitScope::Name(wildcard.clone()), pace: None };
    let hit = LimitHit::new(&limit, Duration::from_hours(70), "too many", now);
    let name = |text| RecordName::parse(text).expect("a name");
    let txt = TxtRecord {
        account: "bind".to_owned(),
        provider: None,
        zone: name("example.com"),
        name: name("_acme-challenge.example.com"),
        value: "the value".to_owned(),
        domain: wildcard.without_wildcard(),
    };
    let order = format!("{directory}/order");
    let commands =
        [Command::LimitHit(directory.to_owned(), hit), Command::AddTxt(TxtAdded { order, txt })];
    commands.map(|command| {
        let event = decide(&State::Idle, command, now).expect("legal");
        Record { stream: SecretKey::new("web", "wildcard"), at: now, event }
    })
}

/// Writes a journal as this release leaves it: a snapshot with folded failures and a rate limit,
/// and with records that the older release does not know.
async fn seed_journal(world: &World, client: &Client) {
    let now =
        Timestamp::from_millis(ingress_acme_sim::clock::Clock::default().now().as_millisecond());
    let mut live = Live::default();
    let directory = world.acme_directory();
    let known = failing(now).into_iter().chain([limited(&directory, now)]);
    for record in known.chain(newer(&directory, now)) {
        live.keep(record);
    }
    let segments = SecretSegments::new(client.clone(), "ingress-acme");
    for (number, part) in (1..).zip(snapshot(&live, "today's release")) {
        assert!(String::from_utf8_lossy(&part.encode()).contains("folded"), "today's form");
        segments.create(number, &part.encode()).await.expect("it is written");
    }
}

/// Every record of the journal, as this release reads it.
async fn misfits(client: &Client) -> usize {
    let segments = SecretSegments::new(client.clone(), "ingress-acme");
    let numbers = segments.list(None).await.expect("a list").numbers;
    let mut log = std::collections::BTreeMap::new();
    for number in numbers {
        let data = segments.read(number).await.expect("a segment");
        let Some(data) = data else { continue };
        log.insert(number, Segment::decode(number, &data).expect("this release reads it"));
    }
    replay(&log).misfits
}

async fn site(client: &Client, name: &str) {
    let host = format!("{name}.example.com");
    Site::new("web", name, &[&host]).tls(name, &[&host]).create(client).await;
}

/// Waits for the certificate of each of these, and checks the number of all certificates.
async fn served(world: &World, client: &Client, names: &[&str], certificates: u64) {
    for name in names {
        let what = format!("a certificate for {name}");
        let there = eventually(PATIENCE, &what, async || secret(client, "web", name).await).await;
        verify(world, &there).await;
    }
    let counts = world.simulated_ca().expect("the simulated CA").counts();
    assert_eq!(counts.certificates, certificates, "{counts:?}");
    assert_eq!(counts.orders, certificates, "no order more: {counts:?}");
}

/// Adds a site whose validation takes long, and kills the operator once its order is open.
async fn killed_with_an_order_open(
    world: &World,
    client: &Client,
    operator: &Operator,
    name: &str,
) {
    let ca = world.simulated_ca().expect("the simulated CA");
    let before = ca.counts().orders;
    ca.set_validation_delay(Duration::from_secs(20));
    site(client, name).await;
    eventually(PATIENCE, "an order", async || (ca.counts().orders > before).then_some(())).await;
    eventually(PATIENCE, "its URL in the journal", async || {
        journal_mentions(client, "order_opened").await.then_some(())
    })
    .await;
    operator.kill().await;
    ca.set_validation_delay(Duration::ZERO);
}

async fn journal_mentions(client: &Client, event: &str) -> bool {
    let segments = SecretSegments::new(client.clone(), "ingress-acme");
    let Some(last) = segments.list(None).await.expect("a list").numbers.into_iter().max() else {
        return false;
    };
    let data = segments.read(last).await.expect("a segment").unwrap_or_default();
    String::from_utf8_lossy(&data).contains(event)
}

#[actix::test]
async fn an_older_release_goes_on_with_this_ones_journal_and_this_one_with_the_older_ones() {
    let _alone = alone().await;
    let Some(programs) = Programs::built() else { return };
    let options = Options { simulated_ca: Some(ca::Options::default()), ..Options::default() };
    let world = World::start_with(options).await.expect("a world");
    let client = world.admin();
    namespace(&client, "web").await;
    seed_journal(&world, &client).await;
    for name in ["failing", "limited", "one", "two"] {
        site(&client, name).await;
    }

    let current = programs.current(&world).await;
    served(&world, &client, &["one", "two"], 2).await;
    killed_with_an_order_open(&world, &client, &current, "three").await;
    assert_eq!(misfits(&client).await, 0);

    let older = programs.older(&world).await;
    served(&world, &client, &["one", "two", "three"], 3).await;
    site(&client, "four").await;
    served(&world, &client, &["four"], 4).await;
    killed_with_an_order_open(&world, &client, &older, "five").await;
    assert_eq!(misfits(&client).await, 0);

    let current = programs.current(&world).await;
    served(&world, &client, &["one", "two", "three", "four", "five"], 5).await;
    for name in ["failing", "limited"] {
        assert!(secret(&client, "web", name).await.is_none(), "no release orders {name}");
        let reasons: Vec<String> =
            events(&client, "web", name).await.into_iter().map(|(reason, _)| reason).collect();
        assert!(!reasons.iter().any(|reason| reason == "Failed"), "{name}: {reasons:?}");
    }
    assert_eq!(misfits(&client).await, 0);
    assert_eq!(current.terminate().await.expect("it ends"), 0);
}
