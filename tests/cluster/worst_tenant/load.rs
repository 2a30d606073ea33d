//! Creation of the bad tenant's objects, kind by kind.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use http::{Method, Request};
use kube::Client;

use super::objects::{self, Object};

/// Requests under way at a time.
const AT_ONCE: usize = 4;

/// Number of claims on the other tenant's first hosts.
pub(super) const CLAIMS: usize = 5;

/// Numbers of objects.
pub(super) struct Scale {
    /// Ingresses of about 1 MiB, of each form.
    large: usize,
    /// Secrets of 1 MiB.
    secrets: usize,
    /// Ingresses of one Secret.
    sharers: usize,
    /// Ingresses with a class of their own.
    classes: usize,
    /// Ingresses with a host that does harm.
    dead: usize,
    /// Time of watching before and after the restart.
    pub(super) calm: Duration,
}

impl Scale {
    /// The short version, or the full one if `WORST_TENANT` is `full`.
    pub(super) fn chosen() -> Self {
        if std::env::var("WORST_TENANT").is_ok_and(|chosen| chosen == "full") {
            let calm = Duration::from_mins(2);
            return Self {
                large: 30,
                secrets: 130,
                sharers: 2_000,
                classes: 400,
                dead: 5_000,
                calm,
            };
        }
        let calm = Duration::from_secs(20);
        Self { large: 6, secrets: 70, sharers: 500, classes: 200, dead: 1_000, calm }
    }
}

/// One kind of objects.
pub(super) struct Act {
    pub(super) name: &'static str,
    count: usize,
    object: Arc<dyn Fn(usize) -> Object + Send + Sync>,
}

pub(super) struct Load {
    client: Client,
    acts: Vec<Act>,
}

impl Load {
    pub(super) fn new(client: Client, scale: &Scale) -> Self {
        let act = |name, count, object: fn(usize) -> Object| Act {
            name,
            count,
            object: Arc::new(object),
        };
        let many_names = objects::many_names();
        let secret = move |number: usize| match number % 4 {
            0 => objects::secret(number, &many_names),
            _ => objects::garbage(number),
        };
        let secrets =
            Act { name: "Secrets of 1 MiB", count: scale.secrets, object: Arc::new(secret) };
        let acts = vec![
            act("hosts that do harm", scale.dead, objects::dead),
            act("classes", scale.classes, objects::class),
            act("sharers of one Secret", scale.sharers, objects::sharer),
            act("sharers of one host", scale.sharers, objects::twin),
            act("claims on the other tenant's hosts", CLAIMS, objects::claim),
            act("squares of blocks × rules", scale.large, objects::small_square),
            act("large squares", scale.large, objects::square),
            act("Ingresses of 1 MiB of blocks", scale.large, objects::blocks),
            act("Ingresses of 1 MiB of stalling hosts", scale.large, objects::stalling),
            act("Ingresses of 1 MiB of hosts", scale.large, objects::hosts),
            act("Ingresses of 256 KiB of annotations", 4 * scale.large, objects::annotated),
            secrets,
            act("Ingresses of these Secrets", scale.secrets, objects::large_secret_user),
        ];
        Self { client, acts }
    }

    pub(super) fn acts(&self) -> &[Act] {
        &self.acts
    }

    /// Creates all objects of one kind; returns their number.
    pub(super) async fn create(&self, act: &Act) -> usize {
        let creations = stream::iter(0..act.count).map(|number| {
            // Made on another thread, so that the other tenant's clock stays right.
            let make = Arc::clone(&act.object);
            let object = tokio::task::spawn_blocking(move || make(number));
            async move { self.create_one(act.name, object.await.expect("an object")).await }
        });
        creations.buffer_unordered(AT_ONCE).count().await
    }

    async fn create_one(&self, name: &str, object: Object) {
        let size = object.body.len();
        let request = Request::builder().method(Method::POST).uri(object.collection);
        let request = request.header("content-type", "application/json").body(object.body);
        let created = self.client.request_text(request.expect("a request")).await;
        if let Err(error) = created {
            let error: String = error.to_string().chars().take(500).collect();
            panic!("{name} of {size} bytes: {error}");
        }
    }
}
