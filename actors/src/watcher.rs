//! The watcher: keeps the index and tells the dedup actors of what has work to do.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use tracing::{error, info};

use crate::domain::index::{Index, Scope};
use crate::domain::ingress::IngressKey;
use crate::messages::Listed;
use crate::metrics::{Metrics, Source};
use crate::ports::{IngressChange, IngressSource};
use crate::registry::Registry;

/// Pause before a source that ended, which none should, is asked again.
const RESTART: Duration = Duration::from_secs(5);

/// The actor.
pub struct Watcher {
    source: Rc<dyn IngressSource>,
    index: Rc<RefCell<Index>>,
    registry: Rc<Registry>,
    scanner: Recipient<Listed>,
    metrics: Metrics,
    first_lists: FirstLists,
}

/// The scopes whose first list is still to come. Until then no event is passed on: the scanner looks at all
/// Ingresses anyway, and a start is no storm.
#[derive(Debug)]
pub struct FirstLists {
    scopes: usize,
    complete: HashSet<Scope>,
}

impl FirstLists {
    /// Lists of this many scopes are to come.
    pub fn of(scopes: usize) -> Self {
        Self { scopes, complete: HashSet::new() }
    }

    fn done(&self) -> bool {
        self.complete.len() >= self.scopes
    }
}

impl Watcher {
    /// A watcher of `source`, which begins with the lists in `first_lists`.
    pub fn new(
        source: Rc<dyn IngressSource>,
        index: Rc<RefCell<Index>>,
        registry: Rc<Registry>,
        scanner: Recipient<Listed>,
        metrics: Metrics,
        first_lists: FirstLists,
    ) -> Self {
        Self { source, index, registry, scanner, metrics, first_lists }
    }

    fn take(&mut self, change: IngressChange) -> Vec<IngressKey> {
        let mut index = self.index.borrow_mut();
        let changed = match change {
            IngressChange::ListBegins(scope) => {
                index.list_begins(scope);
                Vec::new()
            }
            IngressChange::Listed(view) | IngressChange::Applied(view) => index.apply(view),
            IngressChange::Deleted(key) => index.remove(&key),
            IngressChange::ListEnds(scope) => index.list_ends(&scope),
        };
        self.metrics.managed(index.managed_count());
        for secret in index.take_unused() {
            self.metrics.forget(&secret);
        }
        changed
    }

    fn list_ended(&mut self, scope: Scope, ctx: &mut Context<Self>) {
        if self.first_lists.done() || !self.first_lists.complete.insert(scope) {
            return;
        }
        if self.first_lists.done() {
            info!(managed = self.index.borrow().managed_count(), "all Ingresses are listed");
            let told = self.scanner.send(Listed).into_actor(self);
            ctx.spawn(told.map(|told, _, _| {
                if let Err(gone) = told {
                    error!(%gone, "the scanner is gone");
                }
            }));
        }
    }
}

impl Actor for Watcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.add_stream(self.source.watch());
    }
}

impl StreamHandler<IngressChange> for Watcher {
    fn handle(&mut self, change: IngressChange, ctx: &mut Context<Self>) {
        let ended = match &change {
            IngressChange::ListEnds(scope) => Some(scope.clone()),
            _ => None,
        };
        let changed = self.take(change);
        if self.first_lists.done() {
            for key in &changed {
                self.registry.observe(key, Source::Watch);
            }
        }
        if let Some(scope) = ended {
            self.list_ended(scope, ctx);
        }
    }

    /// The default would stop the actor.
    fn finished(&mut self, ctx: &mut Context<Self>) {
        error!("the watch of Ingresses ended; it is begun anew in {RESTART:?}");
        ctx.run_later(RESTART, |watcher, ctx| _ = ctx.add_stream(watcher.source.watch()));
    }
}
