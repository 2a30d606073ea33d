//! Watcher: updates the index from the watch, and notifies the registry of changed Ingresses.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use indexmap::IndexMap;
use tracing::{error, info, warn};

use crate::dedup::registry::Registry;
use crate::domain::desired::index::{Index, WatchScope, covers};
use crate::domain::ingress::{IngressClass, IngressKey, IngressView, SecretKey};
use crate::domain::limits;
use crate::domain::routes::Seen;
use crate::domain::rule_host::RuleHost;
use crate::domain::time::Timestamp;
use crate::messages::{Listed, NewIngresses, SeenRoutes};
use crate::ports::{IngressChange, IngressSource};
use crate::reporting::metrics::{Metrics, Source};
use crate::shared_expiries::SharedExpiries;

/// Pause before a watch that ended is restarted. A watch should never end.
const RESTART: Duration = Duration::from_secs(5);

/// Whether the certificate of a Secret fails.
pub type Fails = Rc<dyn Fn(&SecretKey) -> bool>;

/// Who is told of lists and of new Ingresses, besides the registry.
pub struct Told {
    /// The scanner.
    pub scanner: Recipient<Listed>,
    /// The route keeper, of new Ingresses.
    pub newcomers: Recipient<NewIngresses>,
    /// The route keeper, of routes in users' namespaces.
    pub routes: Recipient<SeenRoutes>,
}

/// Actor that watches the Ingresses.
pub struct Watcher {
    source: Rc<dyn IngressSource>,
    index: Rc<RefCell<Index>>,
    registry: Rc<Registry>,
    told: Told,
    fails: Fails,
    metrics: Metrics,
    expiries: SharedExpiries,
    /// Hosts of new Ingresses in a list in progress, with the creation of the newest.
    newcomers: HashMap<(Option<IngressClass>, RuleHost), Timestamp>,
    /// Ingresses of users with routes to the solver, and news of them for the route keeper.
    routed: HashSet<IngressKey>,
    seen: Vec<Seen>,
    /// Whether the route keeper has yet to answer.
    is_telling: bool,
    /// Scopes whose first list is complete. Events of other scopes are dropped: the scanner checks
    /// all their Ingresses at the end of the list, so that a start causes no burst.
    listed: HashSet<WatchScope>,
    /// Scopes whose first list is complete, too, while others are not. All are checked at once,
    /// because only all lists show who names a host. A scope that cannot be listed delays the
    /// others by [`limits::FIRST_LISTS`] at most.
    ended: HashSet<WatchScope>,
    /// Scopes whose list has begun.
    begun: HashSet<WatchScope>,
    /// Edits within [`limits::EDIT_BURST`] of another one: the newest view of each Ingress, in the
    /// order of their first edits. Only the newest is planned, so that whoever edits a large
    /// Ingress in a loop takes no time from others.
    gathered: Option<IndexMap<IngressKey, IngressView>>,
}

impl Watcher {
    /// Creates a watcher of `source`.
    pub fn new(
        source: Rc<dyn IngressSource>,
        index: Rc<RefCell<Index>>,
        registry: Rc<Registry>,
        told: Told,
        fails: Fails,
        metrics: Metrics,
        expiries: SharedExpiries,
    ) -> Self {
        let [listed, ended, begun] = std::array::from_fn(|_| HashSet::new());
        let gathered = None;
        Self {
            source,
            index,
            registry,
            told,
            fails,
            metrics,
            expiries,
            newcomers: HashMap::new(),
            routed: HashSet::new(),
            seen: Vec::new(),
            is_telling: false,
            listed,
            ended,
            begun,
            gathered,
        }
    }

    /// Applies a change, and notifies the registry of the Ingresses to reconcile.
    fn take(&mut self, change: IngressChange) {
        let changed = {
            let mut index = self.index.borrow_mut();
            match change {
                IngressChange::ListBegins(scope) => {
                    self.begun.insert(scope.clone());
                    index.list_begins(scope);
                    Vec::new()
                }
                IngressChange::Listed(view) | IngressChange::Applied(view) => index.apply(view),
                IngressChange::Deleted(key) => index.remove(&key),
                IngressChange::CertManager(is_there) => index.set_cert_manager(is_there),
                IngressChange::ListEnds(scope) => index.list_ends(&scope),
            }
        };
        self.notify(changed);
    }

    /// Notes the hosts of an Ingress that is new: its solver Ingresses have to be younger. An
    /// Ingress that was deleted and made again may show by its UID alone.
    fn note_new(&mut self, view: &IngressView) {
        if view.is_solver || self.is_known(view) {
            return;
        }
        for host in view.rules() {
            let class = (!host.is_exact()).then(|| view.class.clone());
            let newest = self.newcomers.entry((class, host)).or_insert(view.created);
            *newest = view.created.max(*newest);
        }
    }

    fn is_known(&self, view: &IngressView) -> bool {
        let is_same = |one: &IngressView| one.uid == view.uid;
        let gathered = self.gathered.as_ref().and_then(|newest| newest.get(&view.key));
        gathered.is_some_and(is_same) || self.index.borrow().view(&view.key).is_some_and(is_same)
    }

    /// Notes the routes to the solver in an Ingress of a user, or that they are gone.
    fn note_routes(&mut self, view: &mut IngressView) {
        let were_known = !self.routed.is_empty() && self.routed.remove(&view.key);
        if view.routed.is_none() && !were_known {
            view.generation = 0; // as in the index, which keeps none
            return;
        }
        let seen = Seen::take(view);
        if seen.is_routed() {
            self.routed.insert(view.key.clone());
        }
        if seen.is_routed() || were_known {
            self.seen.push(seen);
        }
    }

    fn note_deleted(&mut self, key: &IngressKey) {
        if self.routed.remove(key) {
            self.seen.push(Seen::deleted(key));
        }
    }

    /// Notes the Ingresses with routes that were deleted while the watch had a gap.
    fn note_gone(&mut self, scope: &WatchScope) {
        let is_gone = |key: &&IngressKey| {
            covers(scope, &key.namespace) && self.index.borrow().view(key).is_none()
        };
        let gone: Vec<IngressKey> = self.routed.iter().filter(is_gone).cloned().collect();
        for key in &gone {
            self.note_deleted(key);
        }
    }

    /// Tells the route keeper the hosts of new Ingresses, and routes in users' namespaces. What
    /// comes before its answer is told together, because the context of an actor polls all that is
    /// spawned whenever one of them is ready: thousands at once would take the square of the time.
    fn tell_new(&mut self, ctx: &mut Context<Self>) {
        if self.is_telling || (self.newcomers.is_empty() && self.seen.is_empty()) {
            return;
        }
        self.is_telling = true;
        let (hosts, seen) = (std::mem::take(&mut self.newcomers), std::mem::take(&mut self.seen));
        let (newcomers, routes) = (self.told.newcomers.clone(), self.told.routes.clone());
        let told = async move {
            if !hosts.is_empty() {
                newcomers.send(NewIngresses(hosts)).await?;
            }
            if !seen.is_empty() {
                routes.send(SeenRoutes(seen)).await?;
            }
            Ok::<(), MailboxError>(())
        };
        ctx.spawn(told.into_actor(self).map(|told, watcher, ctx| {
            watcher.is_telling = false;
            match told {
                Ok(()) => watcher.tell_new(ctx),
                Err(gone) => error!(%gone, "the route keeper has stopped"),
            }
        }));
    }

    /// Gathers the edit if another one was just applied.
    fn edited(&mut self, mut view: IngressView, ctx: &mut Context<Self>) {
        self.note_new(&view);
        self.note_routes(&mut view);
        self.tell_new(ctx);
        let Some(newest) = &mut self.gathered else {
            self.gathered = Some(IndexMap::new());
            ctx.run_later(limits::EDIT_BURST, Self::burst_ends);
            return self.take(IngressChange::Applied(view));
        };
        if newest.insert(view.key.clone(), view).is_some() {
            self.metrics.event(Source::Watch);
            self.metrics.event_coalesced();
        }
        if newest.len() >= limits::EDIT_BURST_INGRESSES {
            self.apply_burst();
        }
    }

    /// Applies the edits of the burst. The next burst begins if there were any.
    fn burst_ends(&mut self, ctx: &mut Context<Self>) {
        if self.apply_burst() {
            ctx.run_later(limits::EDIT_BURST, Self::burst_ends);
        } else {
            self.gathered = None;
        }
    }

    /// Applies the gathered edits, in order. Returns whether there were any.
    fn apply_burst(&mut self) -> bool {
        let Some(newest) = &mut self.gathered else { return false };
        if newest.is_empty() {
            return false;
        }
        let views = std::mem::take(newest).into_values();
        let changed = {
            let mut index = self.index.borrow_mut();
            views.flat_map(|view| index.apply(view)).collect()
        };
        self.notify(changed);
        true
    }

    fn notify(&self, mut changed: Vec<IngressKey>) {
        self.add_edited(&mut changed);
        for key in changed.into_iter().filter(|key| self.is_listed(key)) {
            self.registry.notify(&key.into(), Source::Watch);
        }
    }

    /// Adds failing Ingresses with an edit that changes no certificate, and takes the rest that the
    /// index has noted.
    fn add_edited(&self, changed: &mut Vec<IngressKey>) {
        let mut index = self.index.borrow_mut();
        self.metrics.managed(index.managed_count());
        let edited = index.take_edited();
        changed.extend(edited.into_iter().filter(|key| self.is_failing(&index, key)));
        for secret in index.take_unused() {
            self.expiries.forget(&secret);
        }
        for namespace in index.take_full() {
            warn!(%namespace, "the Ingresses of a namespace are too large together; some are left out");
        }
    }

    /// Whether a certificate of the Ingress fails. An edit that changes no desired certificate is
    /// work for these only.
    fn is_failing(&self, index: &Index, key: &IngressKey) -> bool {
        index.planned(key).iter().any(|planned| (self.fails)(&planned.secret))
    }

    fn list_ended(&mut self, scope: WatchScope, ctx: &mut Context<Self>) {
        if self.listed.contains(&scope) {
            return;
        }
        if self.ended.is_empty() {
            ctx.run_later(limits::FIRST_LISTS, Self::check_listed);
        }
        self.ended.insert(scope);
        let has_ended = |scope| self.listed.contains(scope) || self.ended.contains(scope);
        if self.begun.iter().all(has_ended) {
            self.check_listed(ctx);
        }
    }

    /// Lets the scanner check all scopes whose first list is complete.
    fn check_listed(&mut self, ctx: &mut Context<Self>) {
        for scope in std::mem::take(&mut self.ended) {
            self.listed.insert(scope.clone());
            self.check(scope, ctx);
        }
    }

    fn check(&self, scope: WatchScope, ctx: &mut Context<Self>) {
        let managed = self.index.borrow().managed_count();
        info!(namespace = scope.as_deref(), managed, "all Ingresses are listed");
        let sent = self.told.scanner.send(Listed(scope)).into_actor(self);
        ctx.spawn(sent.map(|sent, _, _| {
            if let Err(gone) = sent {
                error!(%gone, "the scanner has stopped");
            }
        }));
    }

    /// Reads Ingresses again that were left out and have room by now.
    fn look_for_room(&mut self, ctx: &mut Context<Self>) {
        let keys = self.index.borrow().with_room_again();
        for key in keys {
            let Some(before) = self.index.borrow().left_out_stamp(&key) else { continue };
            let source = self.source.clone();
            let read = async move { source.get(&key).await };
            ctx.spawn(read.into_actor(self).map(move |read, watcher, ctx| {
                let Some(view) = read.filter(|view| view.uid == before.1) else { return };
                // The watch may have shown something newer meanwhile.
                watcher.apply_burst();
                if watcher.index.borrow().left_out_stamp(&view.key) == Some(before) {
                    watcher.edited(view, ctx);
                }
            }));
        }
    }

    fn is_listed(&self, key: &IngressKey) -> bool {
        self.listed.iter().any(|scope| covers(scope, &key.namespace))
    }
}

impl Actor for Watcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.add_stream(self.source.watch());
        ctx.run_interval(limits::ROOM_LOOK, Self::look_for_room);
    }
}

impl StreamHandler<IngressChange> for Watcher {
    fn handle(&mut self, mut change: IngressChange, ctx: &mut Context<Self>) {
        let ended = match change {
            IngressChange::Applied(view) => return self.edited(view, ctx),
            IngressChange::ListEnds(ref scope) => Some(scope.clone()),
            _ => None,
        };
        // The changes of one Ingress stay in their order.
        self.apply_burst();
        match &mut change {
            IngressChange::Listed(view) => {
                self.note_new(view);
                self.note_routes(view);
                if self.newcomers.len().max(self.seen.len()) >= limits::NEW_HOSTS {
                    self.tell_new(ctx);
                }
            }
            IngressChange::Deleted(key) => {
                self.note_deleted(key);
                self.tell_new(ctx);
            }
            _ => {}
        }
        self.take(change);
        if let Some(scope) = ended {
            self.note_gone(&scope);
            self.tell_new(ctx);
            self.list_ended(scope, ctx);
        }
    }

    /// Restarts the watch after `RESTART`. The default implementation would stop the actor.
    fn finished(&mut self, ctx: &mut Context<Self>) {
        error!("the watch of Ingresses ended; it is restarted in {RESTART:?}");
        ctx.run_later(RESTART, |watcher, ctx| _ = ctx.add_stream(watcher.source.watch()));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{self, LocalBoxStream, StreamExt};

    use super::*;
    use crate::dedup::actor::DedupDependencies;
    use crate::domain::scheduling::dedup::SettleTimes;
    use crate::domain::scheduling::requeue::Requeue;
    use crate::fakes::{Fakes, ingress};
    use crate::messages::Reconcile;

    /// Receiver of all messages, with the number of hosts of new Ingresses in each.
    #[derive(Default)]
    struct Counts {
        newcomers: Rc<RefCell<Vec<usize>>>,
    }

    impl Actor for Counts {
        type Context = Context<Self>;
    }

    impl Handler<NewIngresses> for Counts {
        type Result = ();

        fn handle(&mut self, NewIngresses(hosts): NewIngresses, _: &mut Context<Self>) {
            self.newcomers.borrow_mut().push(hosts.len());
        }
    }

    impl Handler<SeenRoutes> for Counts {
        type Result = ();

        fn handle(&mut self, _: SeenRoutes, _: &mut Context<Self>) {}
    }

    impl Handler<Listed> for Counts {
        type Result = ();

        fn handle(&mut self, _: Listed, _: &mut Context<Self>) {}
    }

    impl Handler<Reconcile> for Counts {
        type Result = ResponseFuture<Requeue>;

        fn handle(&mut self, _: Reconcile, _: &mut Context<Self>) -> Self::Result {
            Box::pin(async { Requeue::AwaitChange })
        }
    }

    /// New Ingresses in one burst, after an empty list.
    struct Burst(usize);

    #[async_trait::async_trait(?Send)]
    impl IngressSource for Burst {
        async fn get(&self, _: &IngressKey) -> Option<IngressView> {
            None
        }

        fn watch(&self) -> LocalBoxStream<'static, IngressChange> {
            let new = |n: usize| {
                let host = format!("h{n}.example.com");
                IngressChange::Applied(ingress("web", &format!("i{n}"), &[&host]))
            };
            let listed = [IngressChange::ListBegins(None), IngressChange::ListEnds(None)];
            let changes: Vec<_> = listed.into_iter().chain((0..self.0).map(new)).collect();
            stream::iter(changes).chain(stream::pending()).boxed_local()
        }
    }

    #[test]
    fn a_burst_of_new_ingresses_is_told_in_few_messages_that_have_all_of_them() {
        let counts = Counts::default();
        let newcomers = counts.newcomers.clone();
        Fakes::paused(async move {
            let counts = counts.start();
            let (pool, clock) = (Rc::new(counts.clone().recipient()), Fakes::default().clock);
            let settle_times = SettleTimes::default();
            let dependencies = DedupDependencies { pool, settle_times, clock };
            let registry = Registry::new(dependencies, Metrics::default());
            let told = Told {
                scanner: counts.clone().recipient(),
                newcomers: counts.clone().recipient(),
                routes: counts.recipient(),
            };
            let (index, fails) = (Rc::default(), Rc::new(|_: &SecretKey| false));
            let (metrics, expiries) = (Metrics::default(), SharedExpiries::default());
            let source = Rc::new(Burst(5_000));
            Watcher::new(source, index, registry, told, fails, metrics, expiries).start();
            tokio::time::sleep(Duration::from_secs(5)).await;
        });
        let told = newcomers.borrow();
        assert_eq!(told.iter().sum::<usize>(), 5_000);
        assert!(told.len() < 500, "{} messages", told.len());
    }
}
