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
use crate::domain::ingress::{IngressKey, IngressView, SecretKey};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::routes::Seen;
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
    newcomers: HashMap<DnsName, Timestamp>,
    /// Ingresses of users with routes to the solver, and news of them for the route keeper.
    routed: HashSet<IngressKey>,
    seen: Vec<Seen>,
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
        let is_known = self.index.borrow().view(&view.key).is_some_and(|one| one.uid == view.uid);
        if is_known || view.is_solver {
            return;
        }
        for host in view.rule_hosts.iter().filter_map(|host| DnsName::parse(host).ok()) {
            let newest = self.newcomers.entry(host).or_insert(view.created);
            *newest = view.created.max(*newest);
        }
    }

    /// Notes the routes to the solver in an Ingress of a user, or that they are gone.
    fn note_routes(&mut self, view: &mut IngressView) {
        let seen = Seen::take(view);
        let were_known = self.routed.remove(&view.key);
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

    /// Tells the route keeper the hosts of new Ingresses, and routes in users' namespaces.
    fn tell_new(&mut self, ctx: &mut Context<Self>) {
        let (hosts, seen) = (std::mem::take(&mut self.newcomers), std::mem::take(&mut self.seen));
        let stopped = |gone| error!(%gone, "the route keeper has stopped");
        if !hosts.is_empty() {
            let sent = self.told.newcomers.send(NewIngresses(hosts)).into_actor(self);
            ctx.spawn(sent.map(move |sent, _, _| sent.unwrap_or_else(stopped)));
        }
        if !seen.is_empty() {
            let sent = self.told.routes.send(SeenRoutes(seen)).into_actor(self);
            ctx.spawn(sent.map(move |sent, _, _| sent.unwrap_or_else(stopped)));
        }
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
