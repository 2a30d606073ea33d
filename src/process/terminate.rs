//! Request to drain and end: a signal, or a word of the code that runs the replica.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::info;

/// Request to drain and end.
pub struct Terminate {
    source: RequestSource,
    /// Time of the request.
    came: Option<Instant>,
    /// Time of the request that the process before in this place had.
    inherited: Option<Instant>,
}

enum RequestSource {
    /// SIGTERM, which the kubelet sends, and Ctrl-C.
    Signals {
        terminate: Signal,
        interrupt: Signal,
    },
    OnRequest(watch::Receiver<bool>),
}

impl Terminate {
    /// Listens for the signals from now on.
    pub fn on_signals() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self {
            source: RequestSource::Signals { terminate, interrupt },
            came: None,
            inherited: None,
        })
    }

    /// Waits for code of the same process: until the value turns true, or its sender is dropped.
    pub fn on_request(receiver: watch::Receiver<bool>) -> Self {
        Self { source: RequestSource::OnRequest(receiver), came: None, inherited: None }
    }

    /// Makes the request one that came this long ago, if the process before in this place had one.
    #[must_use]
    pub fn inherited(self, ago: Option<Duration>) -> Self {
        let now = Instant::now();
        let inherited = ago.map(|ago| now.checked_sub(ago).unwrap_or(now));
        Self { inherited, ..self }
    }

    /// Time since the request, if it has come.
    pub(super) fn came_before(&mut self) -> Option<Duration> {
        if self.came.is_none() {
            self.wait().now_or_never();
        }
        self.came.map(|came| came.elapsed())
    }

    /// Waits for the request to end.
    pub async fn wait(&mut self) {
        match &mut self.source {
            _ if self.inherited.is_some() => {}
            RequestSource::Signals { terminate, interrupt } => tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            },
            RequestSource::OnRequest(signal) => _ = signal.wait_for(|signal| *signal).await,
        }
        self.came = self.inherited.or_else(|| Some(Instant::now()));
    }

    /// Waits until `pause` after the request, if there was one. Ctrl-C ends the wait: then a person
    /// waits for the end, and no endpoints follow.
    pub(super) async fn linger(&mut self, pause: Duration) {
        let Some(until) = self.came.map(|came| came + pause) else { return };
        if until > Instant::now() {
            info!(after_the_request = ?pause, "challenges are answered while endpoints follow");
        }
        let interrupted = async {
            match &mut self.source {
                RequestSource::Signals { interrupt, .. } => _ = interrupt.recv().await,
                RequestSource::OnRequest(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep_until(until) => {}
            () = interrupted => {}
        }
    }
}
