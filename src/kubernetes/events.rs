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
use ingress_acme_actors::domain::ingress::IngressRef;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::status::kube_event::KubeEvent;
use ingress_acme_actors::ports::{Clock, EventRecorder, PortError};
use k8s_openapi::api::events::v1::Event;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::kubernetes::client::{FIELD_MANAGER, port_error};
pub use event::CONTROLLER;
use event::event;

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
    pending: Arc<watch::Sender<usize>>,
    dropped: DroppedHook,
    clock: Box<dyn Clock>,
    /// Name of the reporting pod: `reportingInstance`.
    pod: String,
    task: JoinHandle<()>,
}

impl KubeEvents {
    /// Starts the task on the current runtime.
    pub fn start(client: Client, pod: &str, clock: Box<dyn Clock>, dropped: DroppedHook) -> Self {
        let (queue, waiting) = mpsc::channel(limits::EVENTS_QUEUED);
        let pending = Arc::new(watch::Sender::new(0));
        let task = tokio::spawn(drain(client, waiting, pending.clone(), dropped.clone()));
        Self { queue, pending, dropped, clock, pod: pod.to_owned(), task }
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
        let event = event(about, kube_event, &self.pod, self.clock.now());
        self.pending.send_modify(|pending| *pending += 1);
        if self.queue.try_send(event).is_err() {
            self.pending.send_modify(|pending| *pending -= 1);
            (self.dropped)();
            tracing::warn!(
                ingress = %about.key, queue = limits::EVENTS_QUEUED,
                "an Event is not sent because too many are queued; the API server accepts them too slowly"
            );
        }
    }

    async fn flush(&self) {
        let mut pending = self.pending.subscribe();
        // Cannot fail: the sender is a field of `self`.
        _ = pending.wait_for(|pending| *pending == 0).await;
    }
}

async fn drain(
    client: Client,
    waiting: mpsc::Receiver<Event>,
    pending: Arc<watch::Sender<usize>>,
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
            let ingress = object.and_then(|object| object.name.as_deref());
            tracing::warn!(namespace = event.metadata.namespace, ingress, %error, "an Event could not be sent");
            dropped();
        }
        pending.send_modify(|pending| *pending -= 1);
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
    let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let params =
        PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, event).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(port_error(error, "send an Event")),
    }
}
