//! Kubernetes Events (events.k8s.io/v1) on users' Ingresses.
//!
//! A bounded queue, drained by one task with few concurrent requests. Events never block work: an
//! Event is dropped if the queue is full or if a few send attempts fail, and both cases are
//! counted. The name of an Event is derived from its content, so the same Event sent twice (after a
//! lost answer, or by the next leader) is stored once.

mod event;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use ingress_acme_actors::domain::by_namespace::CountByNamespace;
use ingress_acme_actors::domain::ingress::{IngressKey, IngressRef};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::status::kube_event::KubeEvent;
use ingress_acme_actors::ports::{Clock, EventRecorder, PortError};
use k8s_openapi::api::events::v1::Event;
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::kubernetes::client::{self, port_error};
pub use event::CONTROLLER;
use event::{event, of_core};

/// Number of Events sent concurrently. The API server's own limits are far higher.
const AT_ONCE: usize = 4;
/// Pause before the next attempt, if the API server names none. Never longer than
/// [`limits::EVENT_CALL`].
const PAUSE: Duration = Duration::from_secs(1);

/// Called for every Event that was not sent: refused, failed at the last attempt, or not queued.
pub type DroppedHook = Arc<dyn Fn() + Send + Sync>;

/// The queue of Events and the task that drains the queue. Dropping this value ends the task.
pub struct KubeEvents {
    queue: mpsc::Sender<Event>,
    /// Number of Events queued or being sent.
    pending: Arc<watch::Sender<CountByNamespace>>,
    dropped: DroppedHook,
    clock: Box<dyn Clock>,
    /// Name of the reporting pod: `reportingInstance`.
    pod: String,
    task: JoinHandle<()>,
}

fn namespace_of(event: &Event) -> &str {
    event.metadata.namespace.as_deref().unwrap_or_default()
}

impl KubeEvents {
    /// Starts the task on the current runtime.
    pub fn start(client: Client, pod: &str, clock: Box<dyn Clock>, dropped: DroppedHook) -> Self {
        let (queue, waiting) = mpsc::channel(limits::EVENTS_QUEUED);
        let pending = Arc::new(watch::Sender::default());
        let task = tokio::spawn(drain(client, waiting, pending.clone(), dropped.clone()));
        Self { queue, pending, dropped, clock, pod: pod.to_owned(), task }
    }
}

impl KubeEvents {
    /// Queues an Event about the operator's own pod, in `namespace`.
    pub fn about_pod(&self, namespace: &str, kube_event: KubeEvent) {
        self.about_core("Pod", namespace, (&self.pod, ""), kube_event);
    }

    /// Queues an Event about a Secret of this name and `metadata.uid`, in `namespace`.
    pub fn about_secret(&self, namespace: &str, secret: (&str, &str), kube_event: KubeEvent) {
        self.about_core("Secret", namespace, secret, kube_event);
    }

    fn about_core(&self, kind: &str, namespace: &str, object: (&str, &str), kube_event: KubeEvent) {
        let (name, uid) = object;
        let about = IngressRef { key: IngressKey::new(namespace, name), uid: uid.into() };
        let event = of_core(event(&about, kube_event, &self.pod, self.clock.now()), kind);
        self.send(&about, event, limits::EVENTS_QUEUED);
    }

    /// Queues an Event where fewer than `most` are queued, and half as many of its namespace: one
    /// with thousands of faulty Ingresses leaves the others room.
    fn queue(&self, about: &IngressRef, kube_event: KubeEvent, most: usize) {
        self.send(about, event(about, kube_event, &self.pod, self.clock.now()), most);
    }

    fn send(&self, about: &IngressRef, event: Event, most: usize) {
        let namespace = &about.key.namespace;
        let (all, own) = {
            let pending = self.pending.borrow();
            (pending.total(), pending.of(namespace))
        };
        let has_room = all < most && own < most / 2;
        self.pending.send_modify(|pending| pending.begin(namespace));
        let is_queued = has_room && self.queue.try_send(event).is_ok();
        if !is_queued {
            self.pending.send_modify(|pending| pending.end(namespace));
            (self.dropped)();
            tracing::warn!(
                ingress = %about.key, queue = most,
                "an Event is not sent because too many are queued, of all namespaces or half as many of this one; the API \
                 server accepts them too slowly"
            );
        }
    }
}

impl Drop for KubeEvents {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait(?Send)]
impl EventRecorder for KubeEvents {
    fn record(&self, about: &IngressRef, kube_event: KubeEvent) {
        self.queue(about, kube_event, limits::EVENTS_QUEUED);
    }

    fn repeat(&self, about: &IngressRef, kube_event: KubeEvent) {
        self.queue(about, kube_event, limits::EVENTS_QUEUED / 2);
    }

    async fn flush(&self) {
        let mut pending = self.pending.subscribe();
        // Cannot fail: the sender is a field of `self`.
        _ = pending.wait_for(|pending| pending.total() == 0).await;
    }
}

async fn drain(
    client: Client,
    waiting: mpsc::Receiver<Event>,
    pending: Arc<watch::Sender<CountByNamespace>>,
    dropped: DroppedHook,
) {
    let (client, pending, dropped) = (&client, &pending, &dropped);
    let waiting = stream::unfold(waiting, async |mut waiting| {
        let next = waiting.recv().await?;
        Some((next, waiting))
    });
    let send = async |event: Event| {
        if let Err(error) = send(client, &event).await {
            let object = event.regarding.as_ref();
            let name = object.and_then(|object| object.name.as_deref()).unwrap_or_default();
            let ingress = format!("{}/{name}", namespace_of(&event));
            tracing::warn!(ingress, %error, "an Event could not be sent");
            dropped();
        }
        pending.send_modify(|pending| pending.end(namespace_of(&event)));
    };
    waiting.for_each_concurrent(AT_ONCE, send).await;
}

async fn send(client: &Client, event: &Event) -> Result<(), PortError> {
    let mut tries = 1;
    loop {
        let tried = tokio::time::timeout(limits::EVENT_CALL, create(client, event)).await;
        let error = match tried.unwrap_or_else(|_| Err(PortError::transient("no answer in time"))) {
            Err(PortError::Transient { retry_after, .. }) if tries < limits::EVENT_TRIES => {
                retry_after
            }
            done => return done,
        };
        tries += 1;
        tokio::time::sleep(error.unwrap_or(PAUSE).min(limits::EVENT_CALL)).await;
    }
}

async fn create(client: &Client, event: &Event) -> Result<(), PortError> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace_of(event));
    match client::create(&api, event).await {
        Ok(()) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(port_error(error, "send an Event")),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use ingress_acme_actors::domain::ingress::IngressKey;
    use ingress_acme_actors::domain::status::kube_event::Severity;
    use kube::client::Body;

    use super::*;
    use crate::process::clock::SystemClock;

    /// A stored Event.
    const EVENT: &str =
        r#"{"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {}, "eventTime": null}"#;

    fn about(namespace: &str, number: usize, lasts: bool) -> (IngressRef, KubeEvent) {
        let key = IngressKey::new(namespace, &format!("i{number}"));
        let about = IngressRef { key, uid: "u1".into() };
        let note = format!("number {number}");
        let (severity, reason, action) = (Severity::Warning, "Skipped", "IssueCertificate");
        (about, KubeEvent { severity, reason, action, note, lasts })
    }

    fn record(events: &KubeEvents, namespace: &str, number: usize) {
        let (about, event) = about(namespace, number, false);
        events.record(&about, event);
    }

    /// A recorder whose Events are stored after `seen` has the path, and the number of those that
    /// are dropped.
    fn recorder(seen: impl Fn(&str) + Send + Sync + 'static) -> (KubeEvents, Arc<AtomicUsize>) {
        let seen = Arc::new(seen);
        let server = tower::service_fn(move |request: Request<Body>| {
            seen(request.uri().path());
            let event = EVENT.as_bytes().to_vec();
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::from(event))))
        });
        let dropped = Arc::new(AtomicUsize::new(0));
        let (client, counter) = (Client::new(server, "web"), dropped.clone());
        let hook: DroppedHook = Arc::new(move || _ = counter.fetch_add(1, Ordering::Relaxed));
        let clock = Box::new(SystemClock::default());
        (KubeEvents::start(client, "pod", clock, hook), dropped)
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_with_thousands_of_events_has_half_of_the_queue_and_its_neighbours_are_sent()
     {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let seen = sent.clone();
        let (events, dropped) =
            recorder(move |path| seen.lock().unwrap().push(path.contains("/other/")));
        let (queue, half) = (limits::EVENTS_QUEUED, limits::EVENTS_QUEUED / 2);
        (0..3 * queue).for_each(|number| record(&events, "bad", number));
        assert_eq!(dropped.load(Ordering::Relaxed), 3 * queue - half);
        (0..half).for_each(|number| record(&events, "other", number));
        assert_eq!(dropped.load(Ordering::Relaxed), 3 * queue - half, "none of its neighbour");
        events.flush().await;
        let of_other: Vec<bool> = sent.lock().unwrap().clone();
        let count = of_other.iter().filter(|is_other| **is_other).count();
        assert_eq!((of_other.len(), count), (queue, half));
        record(&events, "bad", 0);
        events.flush().await;
        assert_eq!(sent.lock().unwrap().len(), queue + 1, "it has room again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_again_leaves_half_of_the_queue_to_what_is_new() {
        let (events, dropped) = recorder(|_| {});
        let (queue, half) = (limits::EVENTS_QUEUED, limits::EVENTS_QUEUED / 2);
        for number in 0..queue {
            let namespace = if number % 2 == 0 { "a" } else { "b" };
            let (about, event) = about(namespace, number, true);
            events.repeat(&about, event);
        }
        assert_eq!(dropped.load(Ordering::Relaxed), half);
        (0..half / 2).for_each(|number| record(&events, "new", number));
        assert_eq!(dropped.load(Ordering::Relaxed), half, "none of what is new");
    }
}
