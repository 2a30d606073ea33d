//! HTTP layer: turns each request into one call of the store and the result into a response.
//!
//! All decisions about objects belong to the store. This module handles faults, request counts and
//! the signals that wake watches.

mod answer;
mod asked;
mod core_event;
mod table;
mod watching;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::web::{self, Data, PayloadConfig, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use tokio::sync::watch;

use super::User;
use super::audit::{Audit, Audited};
use super::ownership::Author;
use super::refusal::Refusal;
use super::store::Store;
use crate::clock::Clock;
use crate::exchange::{Request, Response};
use crate::faults::{Fault, Faults, HALF_OPEN};
use answer::Answer;
use asked::Asked;

/// Largest request body in bytes, as on a real server.
const BODY_MAX: usize = 3 << 20;
/// Start of a path that names the token of its user.
pub(crate) const TOKEN_PATH: &str = "/as/";
/// Time between a deletion and the garbage collection after it, similar to a real cluster.
const COLLECT_AFTER: Duration = Duration::from_millis(50);

/// State shared by requests, watches and the `ApiServer` handle.
#[derive(Debug)]
pub(crate) struct State {
    store: Mutex<Store>,
    clock: Clock,
    random: Mutex<fastrand::Rng>,
    faults: Faults,
    audit: Audit,
    signals: watch::Sender<Signals>,
    /// Verbs and resources that are refused to the operator.
    forbidden: Mutex<BTreeSet<(String, String)>>,
}

/// Values whose changes wake waiting tasks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signals {
    /// Revision of the store.
    revision: u64,
    /// Number of times all watches were ended.
    pub(crate) cuts: u64,
    /// Whether watches deliver no events.
    pub(crate) held: bool,
    /// Whether the operator gets no answers.
    pub(crate) frozen: bool,
}

impl State {
    pub(crate) fn new(clock: Clock, seed: u64) -> Self {
        Self {
            store: Mutex::new(Store::new()),
            clock,
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            faults: Faults::seeded(seed),
            audit: Audit::default(),
            signals: watch::Sender::default(),
            forbidden: Mutex::default(),
        }
    }

    /// Refuses requests of the operator with this verb and resource, or accepts them again.
    pub(crate) fn forbid(&self, verb: &str, resource: &str, forbidden: bool) {
        let mut all = self.forbidden.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = (verb.to_owned(), resource.to_owned());
        if forbidden {
            all.insert(rule)
        } else {
            all.remove(&rule)
        };
    }

    fn is_forbidden(&self, asked: &Asked) -> bool {
        let all = self.forbidden.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = || (asked.verb.to_owned(), asked.resource_name());
        asked.user == User::Operator && !all.is_empty() && all.contains(&rule())
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `act` with the store, an author with the current time, and a random number; then wakes
    /// the watches.
    pub(crate) fn write<T>(
        &self,
        manager: &str,
        status: bool,
        act: impl FnOnce(&mut Store, &Author<'_>, u128) -> T,
    ) -> T {
        let random = self.random.lock().unwrap_or_else(PoisonError::into_inner).u128(..);
        let by = Author { manager, now: self.clock.now(), status };
        let (done, revision) = {
            let mut store = self.store();
            (act(&mut store, &by, random), store.revision())
        };
        self.signals.send_if_modified(|signals| {
            let is_new = signals.revision < revision;
            signals.revision = signals.revision.max(revision);
            is_new
        });
        done
    }

    pub(crate) fn signal(&self, change: impl FnOnce(&mut Signals)) {
        self.signals.send_modify(change);
    }

    async fn thawed(&self) {
        let mut signals = self.signals.subscribe();
        // The sender is a field of `self`, so the channel stays open.
        _ = signals.wait_for(|signals| !signals.frozen).await;
    }
}

/// Collects garbage until dropped.
pub(crate) async fn collect(state: Arc<State>) {
    let mut signals = state.signals.subscribe();
    loop {
        if state.store().has_garbage() {
            tokio::time::sleep(COLLECT_AFTER).await;
            state.write("", false, |store, by, _| store.collect(by.now));
            continue;
        }
        if signals.changed().await.is_err() {
            return;
        }
    }
}

/// Registers the single handler for all paths.
pub(crate) fn configure(
    state: &Arc<State>,
) -> impl Fn(&mut ServiceConfig) + Clone + Send + 'static {
    let state = Data::from(Arc::clone(state));
    move |config: &mut ServiceConfig| {
        config
            .app_data(state.clone())
            .app_data(PayloadConfig::new(BODY_MAX))
            .default_service(web::to(serve));
    }
}

async fn serve(
    request: HttpRequest,
    body: Result<Bytes, actix_web::Error>,
    state: Data<State>,
) -> HttpResponse {
    let is_too_large = body.is_err();
    let request = with_token_of_path(Request::of(&request, body.unwrap_or_default()));
    respond(&state, &request, is_too_large).await.over_socket()
}

/// Answers one request, whatever transport has brought it.
pub(crate) async fn respond(state: &Arc<State>, request: &Request, is_too_large: bool) -> Response {
    let Some(user) = user(request) else {
        return answer::refused(&Refusal::unauthorized());
    };
    let mut fault = None;
    if user == User::Operator {
        state.thawed().await;
        fault = state.faults.next();
    }
    if fault == Some(Fault::HalfOpen) {
        tokio::time::sleep(HALF_OPEN).await;
    }
    if matches!(fault, Some(Fault::Dropped | Fault::HalfOpen)) {
        return Response::broken();
    }
    let asked = Asked::read(request, user);
    let answer = match (&asked, is_too_large, fault) {
        (_, _, Some(Fault::Throttled)) => Err(Refusal::throttled()),
        (_, _, Some(Fault::Failed)) => Err(Refusal::failed()),
        (Err(refusal), ..) => Err(refusal.clone()),
        (_, true, _) => Err(Refusal::too_large()),
        (Ok(asked), ..) if state.is_forbidden(asked) => {
            Err(Refusal::no_right(asked.user.name(), asked.verb, &asked.resource_name()))
        }
        (Ok(asked), false, _) => answer::answer(state, asked, &request.body),
    };
    state.audit.count(audited(request, user, asked.as_ref().ok(), &answer));
    match fault {
        Some(Fault::Unanswered) => return Response::broken(),
        Some(Fault::Delayed(delay)) => tokio::time::sleep(delay).await,
        _ => {}
    }
    let response =
        answer.map_or_else(|refusal| answer::refused(&refusal), |answer| answer.response(state));
    if fault == Some(Fault::Truncated) { response.cut() } else { response }
}

/// Moves the token of a path such as `/as/admin/api/v1/secrets` into the header. kubectl sends no
/// token over plain HTTP, but keeps the path of the server's URL.
fn with_token_of_path(mut request: Request) -> Request {
    let rest = request.path.strip_prefix(TOKEN_PATH).and_then(|rest| rest.split_once('/'));
    let Some((token, path)) = rest else { return request };
    let (header, path) = (format!("Bearer {token}"), format!("/{path}"));
    request.headers.retain(|(name, _)| name != "authorization");
    request.headers.push(("authorization".to_owned(), header));
    Request { path, ..request }
}

fn user(request: &Request) -> Option<User> {
    let token = request.header("authorization")?.strip_prefix("Bearer ")?;
    [User::Admin, User::Operator].into_iter().find(|user| user.token() == token)
}

fn audited(
    request: &Request,
    user: User,
    asked: Option<&Asked>,
    answer: &Result<Answer, Refusal>,
) -> Audited {
    Audited {
        user,
        verb: asked.map_or("get", |asked| asked.verb),
        resource: asked.map_or_else(String::new, Asked::resource_name),
        code: answer.as_ref().map_or_else(Refusal::code, Answer::code),
        user_agent: request.header("user-agent").unwrap_or_default().to_owned(),
        count: 0,
    }
}
