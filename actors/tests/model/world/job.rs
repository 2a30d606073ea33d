//! Steps of a job: what the state of the ledger asks for, as in `domain::issuance::next`, with one
//! host that is reached at once.

use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::desired::desired_certificate::DesiredCertificate;
use ingress_acme_actors::domain::desired::index::Index;
use ingress_acme_actors::domain::desired::selection::Selection;
use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::domain::issuance::{Command, NewIssuance, Record, State, apply, decide};
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::fakes::shop;

use super::{Interned, Leader, World};

type Steps = Vec<(String, World)>;

thread_local! {
    static DESIRED: DesiredCertificate = {
        let mut index = Index::new(Selection::default(), None);
        index.apply(shop());
        index.desired(&SecretKey::new("web", "shop")).expect("it was just asked for")
    };
}

impl World {
    /// The next step of the job, with each answer of the CA.
    pub(super) fn work(&self, who: usize, leader: &Leader) -> Steps {
        match leader.state.value() {
            State::Idle | State::Failing(_) if self.secret.is_none() => self.begin(who),
            State::Idle | State::Failing(_) => Vec::new(),
            State::Started(_) => match leader.opened {
                None => self.open(who),
                Some(order) => {
                    vec![self.committed(who, Command::Opened(order.to_string()), "order opened")]
                }
            },
            State::Ordered { url, .. } => {
                let order = url.parse().expect("a number");
                if leader.finalized { self.install(who, order) } else { self.finalize(who, order) }
            }
        }
    }

    fn begin(&self, who: usize) -> Steps {
        let mut next = self.clone();
        next.keys += 1;
        let key = PrivateKey::from_pem(format!("key {}", next.keys));
        let beginning = NewIssuance::of(DESIRED.with(Clone::clone), key);
        vec![next.committed(who, Command::Begin(Box::new(beginning)), "begins")]
    }

    fn open(&self, who: usize) -> Steps {
        let mut opened = self.clone();
        opened.orders += 1;
        let order = opened.orders;
        let mut steps = Vec::new();
        if self.left.losses > 0 {
            let mut lost = opened.clone();
            lost.left.losses -= 1;
            steps.push((format!("{who} opens order {order}, no answer"), lost));
        }
        opened.leader(who).opened = Some(order);
        steps.push((format!("{who} opens order {order}"), opened));
        if self.left.refusals > 0 {
            let mut refused = self.clone();
            refused.left.refusals -= 1;
            let failure = Failure::new(FailureClass::Policy, "no");
            let attempted = DESIRED.with(DesiredCertificate::attempted);
            steps.push(refused.committed(who, Command::Fail(attempted, failure), "fails"));
        }
        steps
    }

    /// The CA issues one certificate for an order, however often it is finalized.
    fn finalize(&self, who: usize, order: u8) -> Steps {
        let mut next = self.clone();
        next.issued.insert(order);
        next.leader(who).finalized = true;
        vec![(format!("{who} finalizes order {order}"), next)]
    }

    /// Writes the Secret. No caller awaits the record.
    fn install(&self, who: usize, order: u8) -> Steps {
        let mut next = self.clone();
        next.secret = Some(order);
        let installed =
            Command::Installed { serial: order.to_string(), not_after: Timestamp::default() };
        let (step, mut next) = next.committed(who, installed, "installs");
        let leader = next.leader(who);
        if let Some((_, after)) = leader.awaited.take() {
            leader.state = after;
        }
        leader.finalized = false;
        vec![(step, next)]
    }

    /// Appends the event of a command, as the ledger does: decide, append, and only then apply.
    fn committed(&self, who: usize, command: Command, what: &str) -> (String, Self) {
        let (mut next, at) = (self.clone(), Timestamp::default());
        let leader = next.leader(who);
        let before = leader.state.value();
        let event = decide(&before, command, at).expect("the job knows the state");
        let after = apply(before, &event, at).expect("a decided event is legal");
        let record = Record { stream: SecretKey::new("web", "shop"), at, event }.id();
        leader.pending.push(record);
        leader.awaited = Some((record, after.id()));
        (format!("{who} {what}"), next)
    }
}

impl Leader {
    /// The awaited record is durable: the job forgets what it had to remember until then.
    pub(super) fn acknowledge(&mut self) {
        if matches!(self.state.value(), State::Ordered { .. } | State::Failing(_)) {
            self.opened = None;
        }
    }
}
