//! Scanner: checks each Ingress once per interval, because certificates also expire without any
//! event.
//!
//! The first scan checks all Ingresses at once, right after the first list. Afterwards each Ingress
//! has its own tick of the interval.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::{StreamExt, stream};
use tracing::info;

use super::needs_reconcile::{SharedAnswers, needs_reconcile};
use super::private_ca::{look_for_proofs, possible_proofs};
use crate::context::OperatorContext;
use crate::dedup::registry::Registry;
use crate::domain::desired::index::{WatchScope, covers};
use crate::domain::ingress::IngressKey;
use crate::domain::issuance::State;
use crate::domain::limits;
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::domain::scheduling::scan::{in_turn, pace, tick};
use crate::messages::Listed;
use crate::reporting::metrics::Source;
use crate::secret_choice::choose_secret;

/// Actor that scans the Ingresses.
pub(crate) struct Scanner {
    context: Rc<OperatorContext>,
    registry: Rc<Registry>,
    interval: Duration,
    next_tick: u32,
    ticking: bool,
    /// Scopes with orphans that were not passed on, because an Ingress may choose them.
    withheld: Vec<WatchScope>,
    first_scan: FirstScan,
}

/// Callback of the end of the first full scan, called once.
pub(crate) type FirstScan = Option<Box<dyn FnOnce()>>;

impl Scanner {
    /// Creates a scanner that waits for the first list.
    pub(crate) fn new(
        context: Rc<OperatorContext>,
        registry: Rc<Registry>,
        interval: Duration,
        first_scan: FirstScan,
    ) -> Self {
        Self {
            context,
            registry,
            interval,
            next_tick: 0,
            ticking: false,
            withheld: Vec::new(),
            first_scan,
        }
    }

    /// Checks these Ingresses, a few at a time, and notifies the registry of those with work.
    /// Returns their number.
    fn scan(&self, keys: Vec<IngressKey>) -> impl Future<Output = usize> + use<> {
        let (context, registry) = (self.context.clone(), self.registry.clone());
        async move {
            let shared = SharedAnswers::default();
            let checked = stream::iter(keys).map(|key| async {
                let needs = needs_reconcile(&context, &shared, &key).await;
                needs.then_some(key)
            });
            let mut checked = checked.buffer_unordered(limits::SCAN_AT_ONCE);
            let mut found = 0;
            while let Some(needs_reconcile) = checked.next().await {
                let Some(key) = needs_reconcile else { continue };
                registry.notify(&key.into(), Source::Scan);
                found += 1;
            }
            context.metrics.scanned(context.clock.now());
            found
        }
    }

    fn keys(&self, wanted: impl Fn(&IngressKey) -> bool) -> Vec<IngressKey> {
        self.context.index.borrow().managed().filter(|key| wanted(key)).cloned().collect()
    }

    /// Notifies the registry of live event streams in `scope` that no Ingress names any more, so
    /// that the pool abandons their issuances. Those of a namespace in which a Secret is not chosen
    /// yet are passed on by a later tick.
    fn pass_on_orphans(&mut self, scope: &WatchScope) {
        let mut is_withheld = false;
        let index = self.context.index.borrow();
        // One of these Ingresses may choose the Secret of a stream.
        let undecided: HashSet<_> = index.open().map(|key| key.namespace.clone()).collect();
        self.context.ledger.for_each_live(|stream, _| {
            if !covers(scope, &stream.namespace) || index.is_wanted(stream) {
                return;
            }
            if undecided.contains(&stream.namespace) {
                is_withheld = true;
            } else {
                self.registry.notify(&ReconcileKey::Orphan(stream.clone()), Source::Scan);
            }
        });
        drop(index);
        if is_withheld {
            self.withheld.push(scope.clone());
        }
    }

    /// Ingresses of a scope whose Secrets are not chosen yet.
    fn open(&self, scope: &WatchScope) -> Vec<IngressKey> {
        let index = self.context.index.borrow();
        index.open().filter(|key| covers(scope, &key.namespace)).cloned().collect()
    }

    fn is_under_way(&self, key: &IngressKey) -> bool {
        let is_live = |stream| self.context.ledger.with(stream, |state| *state != State::Idle);
        self.context.index.borrow().secrets(key).iter().any(is_live)
    }

    fn next_tick(&mut self, ctx: &mut Context<Self>) {
        let current = self.next_tick;
        self.next_tick = (current + 1) % limits::SCAN_TICKS;
        for scope in std::mem::take(&mut self.withheld) {
            self.pass_on_orphans(&scope);
        }
        let keys = self.keys(|key| tick(key) == current);
        let proofs = possible_proofs(&self.context, |key| tick(key) == current);
        let (context, registry) = (self.context.clone(), self.registry.clone());
        let scan = self.scan(keys);
        let scan = async move {
            look_for_proofs(&context, &registry, proofs).await;
            scan.await
        };
        ctx.spawn(scan.into_actor(self).map(|_, _, _| ()));
    }
}

/// Chooses the Secrets of these Ingresses: an issuance in the journal is one of theirs, and is no
/// orphan.
async fn choose_all(context: &OperatorContext, keys: Vec<IngressKey>) {
    let choices = stream::iter(&keys).map(|key| choose_secret(context, key));
    choices.buffer_unordered(limits::SCAN_AT_ONCE).for_each(|_| std::future::ready(())).await;
}

impl Actor for Scanner {
    type Context = Context<Self>;
}

impl Handler<Listed> for Scanner {
    type Result = ();

    /// Looks for proof of a private CA first, and chooses Secrets: certificates for internal names,
    /// and those in Secrets that are not chosen yet, have no owner until then.
    fn handle(&mut self, Listed(scope): Listed, ctx: &mut Context<Self>) {
        self.context.index.borrow_mut().part_all(&scope);
        let proofs = possible_proofs(&self.context, |key| covers(&scope, &key.namespace));
        let open = self.open(&scope);
        if proofs.is_empty() && open.is_empty() {
            return self.check(&scope, ctx);
        }
        let (context, registry) = (self.context.clone(), self.registry.clone());
        let looked = async move {
            look_for_proofs(&context, &registry, proofs).await;
            choose_all(&context, open).await;
        };
        ctx.spawn(looked.into_actor(self).map(move |(), scanner, ctx| scanner.check(&scope, ctx)));
    }
}

impl Scanner {
    /// Checks all Ingresses of a scope for the first time.
    fn check(&mut self, scope: &WatchScope, ctx: &mut Context<Self>) {
        self.pass_on_orphans(scope);
        let keys = self.keys(|key| covers(scope, &key.namespace));
        let keys = in_turn(keys, |key| self.is_under_way(key));
        let count = keys.len();
        let scan = self.scan(keys).into_actor(self);
        ctx.spawn(scan.map(move |found, scanner, _| {
            info!(ingresses = count, need_work = found, "the first scan has ended");
            if let Some(ended) = scanner.first_scan.take() {
                ended();
            }
        }));
        if !std::mem::replace(&mut self.ticking, true) {
            ctx.run_interval(pace(self.interval), Self::next_tick);
        }
    }
}
