//! Route keeper: writes the shared solver Ingresses in batches, so that challenges reach the
//! solver.
//!
//! One write is in flight at a time; requests in the meantime are collected for the next write.

use std::rc::Rc;

use actix::prelude::*;
use tokio::sync::oneshot;
use tracing::warn;

use crate::domain::failure::FailureClass;
use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::domain::routes::{RouteTable, SolverIngress, SolverName, Unplaced};
use crate::domain::time::Timestamp;
use crate::messages::{NewIngresses, PrefetchRoutes, Publish, SeenRoutes, StopWriting, Withdraw};
use crate::ports::{Clock, PortError, Routes, Written, bounded};

/// Actor that owns the solver Ingresses.
pub(crate) struct RouteKeeper {
    routes: Rc<dyn Routes>,
    clock: Rc<dyn Clock>,
    table: RouteTable,
    waiting: Vec<RouteWaiter>,
    writing: Option<SolverName>,
    /// Whether endpoints are being copied, which no write may meet.
    copying: bool,
    expiry: Option<SpawnHandle>,
    /// Those who wait for the end of the last write, once no further one may begin.
    stopping: Option<Vec<oneshot::Sender<()>>>,
}

type Found = Result<Vec<SolverIngress>, PortError>;

struct RouteWaiter {
    stream: SecretKey,
    answer: oneshot::Sender<Result<Option<Timestamp>, PortError>>,
}

impl RouteKeeper {
    /// Creates a route keeper. The actor starts by listing the solver Ingresses of an earlier
    /// process.
    pub(crate) fn new(routes: Rc<dyn Routes>, clock: Rc<dyn Clock>) -> Self {
        Self {
            routes,
            clock,
            table: RouteTable::default(),
            waiting: Vec::new(),
            writing: None,
            copying: false,
            expiry: None,
            stopping: None,
        }
    }

    /// Lists the existing solver Ingresses: those of an earlier process, and later those changed by
    /// others.
    fn look(&self) -> impl Future<Output = Found> + use<> {
        let routes = self.routes.clone();
        async move { bounded(limits::KUBE_CALL, "API server", routes.list()).await }
    }

    fn looked(&mut self, found: Found, ctx: &mut Context<Self>) {
        let next = match found {
            Ok(found) => {
                self.table.compare(found, self.clock.now());
                limits::ROUTE_CHECK
            }
            Err(error) => {
                warn!(%error, retry_in = ?limits::ROUTE_RETRY, "the solver Ingresses cannot be listed");
                limits::ROUTE_RETRY
            }
        };
        ctx.run_later(next, |keeper, ctx| {
            let looked = keeper.look().into_actor(keeper);
            ctx.spawn(looked.map(|found, keeper, ctx| keeper.looked(found, ctx)));
        });
        self.sweep(ctx);
    }

    /// Writes the next solver Ingress that differs from the desired state.
    fn write(&mut self, ctx: &mut Context<Self>) {
        if self.writing.is_some() || self.copying {
            return;
        }
        if let Some(waiting) = &mut self.stopping {
            return waiting.drain(..).for_each(|stopped| _ = stopped.send(()));
        }
        let waiting = self.waiting.iter().map(|waits| &waits.stream);
        let Some(write) = self.table.next_write(waiting, self.clock.now()) else { return };
        self.writing = Some(write.name.clone());
        let (routes, is_last) = (self.routes.clone(), self.table.is_last(&write));
        let written = async move {
            let result = routes.write(&write, is_last);
            let result = bounded(limits::KUBE_CALL, "API server", result).await;
            (write, result)
        };
        ctx.spawn(written.into_actor(self).map(|(write, result), keeper, ctx| {
            keeper.writing = None;
            keeper.written(write, result, ctx);
        }));
    }

    fn written(
        &mut self,
        mut write: SolverIngress,
        result: Result<Option<Written>, PortError>,
        ctx: &mut Context<Self>,
    ) {
        match result {
            Ok(written) => {
                write.created = written.and_then(|written| written.created);
                write.generation = written.map_or(0, |written| written.generation);
                self.table.written(&write, self.clock.now());
            }
            Err(PortError::Permanent(_)) if self.table.isolate(&write) => {
                warn!(solver_ingress = %write.name, "routes refused; each new host is tried alone");
            }
            Err(PortError::Permanent(why)) if is_removal_of_a_user(&write) => {
                let why = &why.detail;
                warn!(solver_ingress = %write.name, why, "a route in a user's namespace stays");
                self.table.forget(&write.name);
            }
            Err(error) => self.not_written(write, &error, ctx),
        }
        self.answer_those_in_place();
        self.write(ctx);
    }

    fn not_written(&mut self, write: SolverIngress, error: &PortError, ctx: &mut Context<Self>) {
        let name = write.name.clone();
        let Self { table, waiting, .. } = self;
        let concerned = |waiting: &mut RouteWaiter| table.waits_for(&waiting.stream, &write);
        for waiting in waiting.extract_if(.., concerned) {
            _ = waiting.answer.send(Err(error.clone())); // the requester may be gone
        }
        let pause = self.table.failed(write, self.clock.now());
        warn!(solver_ingress = %name, %error, retry_in = ?pause, "routes not written");
        ctx.run_later(pause, Self::write);
    }

    fn answer_those_in_place(&mut self) {
        let now = self.clock.now();
        let Self { table, writing, waiting, .. } = self;
        let has_no_place = |waits: &mut RouteWaiter| table.unplaced(&waits.stream).is_some();
        for waits in waiting.extract_if(.., has_no_place) {
            let Some(why) = table.unplaced(&waits.stream) else { continue };
            _ = waits.answer.send(Err(refusal(&why))); // the requester may be gone
        }
        let writing = writing.as_ref();
        let in_place = |waiting: &mut RouteWaiter| table.is_in_place(&waiting.stream, writing);
        for waiting in waiting.extract_if(.., in_place) {
            let settled_at = table.settled_at(&waiting.stream).filter(|at| *at > now);
            _ = waiting.answer.send(Ok(settled_at)); // the requester may be gone
        }
    }

    /// Copies the endpoints of the solver to users' namespaces, while the operator may write.
    fn copy_endpoints(&mut self, ctx: &mut Context<Self>) {
        if self.stopping.is_some() {
            return;
        }
        if self.writing.is_some() {
            ctx.run_later(limits::ROUTE_RETRY, Self::copy_endpoints);
            return;
        }
        self.copying = true;
        let routes = self.routes.clone();
        let copied = async move {
            let copied = routes.copy_endpoints();
            bounded(limits::KUBE_CALL, "API server", copied).await
        };
        ctx.spawn(copied.into_actor(self).map(|copied, keeper, ctx| {
            keeper.copying = false;
            if let Err(error) = copied {
                warn!(%error, "the endpoints of the solver are not copied");
            }
            ctx.run_later(limits::ENDPOINTS_LOOK, Self::copy_endpoints);
            keeper.write(ctx);
        }));
    }

    /// Removes expired routes, schedules the next sweep and starts the next write.
    fn sweep(&mut self, ctx: &mut Context<Self>) {
        self.expiry.take().map(|timer| ctx.cancel_future(timer));
        let now = self.clock.now();
        if let Some(until) = self.table.expire(now) {
            let pause = until.since(now).max(limits::ROUTE_SWEEP);
            self.expiry = Some(ctx.run_later(pause, Self::sweep));
        }
        self.write(ctx);
    }
}

/// Whether the write removes a route from a user's namespace, for which the rights may be gone.
fn is_removal_of_a_user(write: &SolverIngress) -> bool {
    write.hosts.is_empty() && write.name.namespace.is_some()
}

fn refusal(why: &Unplaced) -> PortError {
    match why {
        Unplaced::PutBack { .. } => {
            PortError::permanent(FailureClass::Unreachable, why.to_string())
        }
        Unplaced::Full(_) => PortError::transient(why.to_string()),
    }
}

impl Actor for RouteKeeper {
    type Context = Context<Self>;

    /// Lists the existing solver Ingresses before the first write. A failed list does not block
    /// writes.
    fn started(&mut self, ctx: &mut Context<Self>) {
        let looked = self.look();
        ctx.wait(looked.into_actor(self).map(|found, keeper, ctx| keeper.looked(found, ctx)));
        ctx.run_later(limits::ENDPOINTS_LOOK, Self::copy_endpoints);
    }
}

impl Handler<Publish> for RouteKeeper {
    type Result = ResponseFuture<Result<Option<Timestamp>, PortError>>;

    fn handle(&mut self, publish: Publish, ctx: &mut Context<Self>) -> Self::Result {
        self.table.hold(&publish.stream, &publish.routes, self.clock.now());
        let (answer, answered) = oneshot::channel();
        self.waiting.push(RouteWaiter { stream: publish.stream, answer });
        self.write(ctx);
        self.answer_those_in_place();
        Box::pin(async {
            answered
                .await
                .unwrap_or_else(|_| Err(PortError::transient("the route keeper has stopped")))
        })
    }
}

impl Handler<PrefetchRoutes> for RouteKeeper {
    type Result = ();

    fn handle(&mut self, PrefetchRoutes(soon): PrefetchRoutes, _: &mut Context<Self>) {
        for (stream, routes) in soon {
            self.table.hold(&stream, &routes, self.clock.now());
        }
    }
}

impl Handler<NewIngresses> for RouteKeeper {
    type Result = ();

    fn handle(&mut self, NewIngresses(created): NewIngresses, ctx: &mut Context<Self>) {
        self.table.outdate(&created, self.clock.now());
        self.sweep(ctx);
    }
}

impl Handler<SeenRoutes> for RouteKeeper {
    type Result = ();

    fn handle(&mut self, SeenRoutes(seen): SeenRoutes, ctx: &mut Context<Self>) {
        for one in seen {
            self.table.seen(one, self.clock.now());
        }
        self.answer_those_in_place();
        self.sweep(ctx);
    }
}

impl Handler<Withdraw> for RouteKeeper {
    type Result = ();

    fn handle(&mut self, Withdraw(stream): Withdraw, ctx: &mut Context<Self>) {
        self.table.release(&stream, self.clock.now());
        if self.expiry.is_none() {
            self.expiry = Some(ctx.run_later(limits::ROUTE_LINGER, Self::sweep));
        }
    }
}

impl Handler<StopWriting> for RouteKeeper {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: StopWriting, ctx: &mut Context<Self>) -> Self::Result {
        let (stopped, last_written) = oneshot::channel();
        self.stopping.get_or_insert_default().push(stopped);
        self.write(ctx);
        Box::pin(async { last_written.await.unwrap_or(()) })
    }
}
