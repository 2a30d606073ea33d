//! HTTP interface of the CA: injected faults, signatures, documents. Decisions belong to `core`.

mod answer;
mod signed;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::core::{Core, Validation};
use super::documents::{AuthorizationForm, Urls, renewal_info};
use super::nonces::Nonces;
use super::problem::Problem;
use super::target::Target;
use super::validation::Validator;
use crate::clock::Clock;
use crate::exchange::{Request, Response};
use crate::faults::{Fault, Faults, HALF_OPEN};

pub(super) use answer::Answer;

/// Behaviour of the CA apart from its decisions.
#[derive(Debug)]
pub(super) struct Manners {
    /// Delay of every answer.
    pub(super) slow: Duration,
    /// Whether alternate chains are linked but fail to download.
    pub(super) broken_alternates: bool,
    /// `Retry-After` of pending or processing resources, in seconds.
    pub(super) retry_after: Option<u64>,
    /// Whether `Retry-After` of rate limits is a date.
    pub(super) retry_after_as_date: bool,
    /// `Retry-After` of renewal information.
    pub(super) poll_renewal_info: Duration,
    /// Time between the client's response to a challenge and the validation request.
    pub(super) validation_delay: Duration,
    /// Whether the response to a challenge waits for the validation.
    pub(super) within_request: bool,
    pub(super) authorizations: AuthorizationForm,
}

/// State shared by the server's thread and the `Ca` handle.
pub(super) struct Shell {
    pub(super) core: Mutex<Core>,
    pub(super) nonces: Mutex<Nonces>,
    pub(super) manners: Mutex<Manners>,
    /// Answers by endpoint and status; 0 is a broken connection.
    pub(super) requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    pub(super) frozen: watch::Sender<bool>,
    pub(super) faults: Faults,
    pub(super) clock: Clock,
    pub(super) validator: Validator,
    /// Validations that a response waits for, by authorization.
    pub(super) validating: Mutex<BTreeMap<u64, JoinHandle<()>>>,
}

/// Locks a mutex, ignoring poison: values are replaced as a whole, so a panic leaves none half
/// changed.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers the single handler, which parses the path itself.
pub(super) fn configure(
    shell: &Arc<Shell>,
) -> impl Fn(&mut ServiceConfig) + Clone + Send + 'static {
    let shell = web::Data::from(Arc::clone(shell));
    move |config: &mut ServiceConfig| {
        config.app_data(shell.clone()).default_service(web::to(answer));
    }
}

async fn answer(request: HttpRequest, body: web::Bytes, shell: web::Data<Shell>) -> HttpResponse {
    respond(&shell, &Request::of(&request, body)).await.over_socket()
}

/// Answers one request, whatever transport has brought it.
pub(super) async fn respond(shell: &Arc<Shell>, request: &Request) -> Response {
    let target = Target::of(&request.path);
    let fault = shell.faults.next();
    // The sender lives as long as the server.
    _ = shell.frozen.subscribe().wait_for(|frozen| !frozen).await;
    let late = match fault {
        Some(Fault::Delayed(late)) => late,
        Some(Fault::HalfOpen) => HALF_OPEN,
        _ => Duration::ZERO,
    };
    let late = late + locked(&shell.manners).slow;
    if !late.is_zero() {
        tokio::time::sleep(late).await;
    }
    let outcome = shell.outcome(request, target, fault);
    let outcome = shell.validated(outcome, target, request).await;
    let endpoint = target.endpoint();
    if matches!(fault, Some(Fault::Dropped | Fault::Unanswered | Fault::HalfOpen)) {
        shell.count(endpoint, 0);
        return Response::broken();
    }
    let nonce = (request.method == "POST" || target == Target::NewNonce)
        .then(|| locked(&shell.nonces).give());
    let answer = outcome.unwrap_or_else(|problem| shell.refuse(&problem, request));
    shell.count(endpoint, answer.status);
    let response = answer.respond(nonce, &urls(request), target);
    if fault == Some(Fault::Truncated) { response.cut() } else { response }
}

/// Returns URLs with the host name used by this client.
fn urls(request: &Request) -> Urls {
    Urls { base: format!("https://{}", request.host) }
}

impl Shell {
    fn count(&self, endpoint: &'static str, status: u16) {
        *locked(&self.requests).entry((endpoint, status)).or_default() += 1;
    }

    fn outcome(
        self: &Arc<Self>,
        request: &Request,
        target: Target<'_>,
        fault: Option<Fault>,
    ) -> Result<Answer, Problem> {
        let now = self.clock.now();
        match fault {
            Some(Fault::Dropped | Fault::HalfOpen) => return Ok(Answer::empty(200)),
            Some(Fault::Throttled) => {
                let soon = now + SignedDuration::from_secs(1);
                return Err(Problem::rate_limited("Service busy; retry later.", Some(soon)));
            }
            Some(Fault::Failed) => {
                return Err(Problem::new(500, "serverInternal", "The service is having trouble"));
            }
            Some(Fault::Unanswered | Fault::Delayed(_) | Fault::Truncated) | None => {}
        }
        locked(&self.core).meter.request(target.endpoint(), request.peer, now)?;
        if request.header("user-agent").is_none() {
            return Err(Problem::malformed("The request has no User-Agent header"));
        }
        match request.method.as_str() {
            "GET" | "HEAD" => self.read(target, &urls(request), &request.method, now),
            "POST" => self.post(request, target, now),
            _ => Err(Problem::new(405, "malformed", "Method not allowed")),
        }
    }

    /// Answers a GET or HEAD, which needs no signature.
    fn read(
        &self,
        target: Target<'_>,
        urls: &Urls,
        method: &str,
        now: Timestamp,
    ) -> Result<Answer, Problem> {
        let core = locked(&self.core);
        Ok(match target {
            Target::Directory => Answer::json(200, urls.directory(core.wants_external_accounts())),
            Target::NewNonce => Answer::empty(if method == "HEAD" { 200 } else { 204 }),
            Target::Terms => Answer::text("There are no terms.\n"),
            Target::RenewalInfo(id) => {
                let window = core.renewal_info(id, now)?;
                let poll = locked(&self.manners).poll_renewal_info.as_secs();
                Answer::json(200, renewal_info(&window)).retry_after(Some(poll))
            }
            Target::Nothing => return Err(Problem::not_found("Page not found")),
            _ => return Err(Problem::new(405, "malformed", "Method not allowed")),
        })
    }

    fn refuse(&self, problem: &Problem, request: &Request) -> Answer {
        let mut answer = Answer::problem(problem);
        if let Some(at) = problem.retry_at {
            let as_date = locked(&self.manners).retry_after_as_date;
            answer = answer.retry_at(at, self.clock.now(), as_date);
        }
        match problem.existing {
            Some(account) => answer.at(urls(request).account_url(account)),
            None => answer,
        }
    }

    /// Waits for the validation that a request has begun, if the CA validates within the request,
    /// and returns the challenge afterwards.
    async fn validated(
        &self,
        outcome: Result<Answer, Problem>,
        target: Target<'_>,
        request: &Request,
    ) -> Result<Answer, Problem> {
        let Target::Challenge(account, id, Some(kind)) = target else { return outcome };
        let begun = locked(&self.validating).remove(&id);
        let Some(begun) = begun else { return outcome };
        _ = begun.await; // a validation that panics leaves the challenge as it is
        let (core, urls) = (locked(&self.core), urls(request));
        let authorization = core.orders.authorizations.get(account, id, self.clock.now())?;
        let document = urls.challenge(authorization, kind);
        Ok(Answer::json(200, document).link(&urls.authorization_url(account, id), "up"))
    }

    /// Starts a validation in the background, for the account of this URL.
    fn begin(self: &Arc<Self>, validation: Validation, account_url: String) {
        let (shell, id) = (Arc::clone(self), validation.authorization);
        let begun = tokio::spawn(async move {
            let delay = locked(&shell.manners).validation_delay;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let outcome =
                shell.validator.validate(&validation, &account_url, shell.clock.now()).await;
            let now = shell.clock.now();
            locked(&shell.core).validated(&validation, outcome, now);
        });
        if locked(&self.manners).within_request {
            locked(&self.validating).insert(id, begun);
        }
    }
}
