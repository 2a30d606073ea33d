//! Watch of the Secrets of the fake cluster, which can fail.

use futures_util::StreamExt;
use futures_util::stream::{LocalBoxStream, unfold};
use tokio::sync::mpsc;

use super::{ClusterState, FakeCluster};
use crate::domain::ingress::SecretKey;
use crate::ports::{SecretChange, SecretWatch};

impl SecretWatch for FakeCluster {
    fn watch(&self) -> LocalBoxStream<'static, SecretChange> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.state.borrow_mut();
        state.secret_watchers.push(sender);
        state.list_secrets();
        unfold(receiver, async |mut changes| changes.recv().await.map(|change| (change, changes)))
            .boxed_local()
    }
}

impl FakeCluster {
    /// Ends the watch of Secrets, so that changes are not reported, or lists them again.
    pub fn fail_secret_watch(&self, fails: bool) {
        let mut state = self.state.borrow_mut();
        if fails {
            state.report(&SecretChange::Failed(None));
        }
        state.secret_watch_fails = fails;
        if !fails {
            state.list_secrets();
        }
    }
}

impl ClusterState {
    fn list_secrets(&mut self) {
        self.report(&SecretChange::ListBegins(None));
        let listed: Vec<SecretKey> = self.secrets.keys().cloned().collect();
        for secret in listed {
            self.report(&SecretChange::Listed(secret));
        }
        self.report(&SecretChange::ListEnds(None));
    }

    /// Reports a change to those who watch Secrets, where the watch does not fail.
    pub(super) fn report(&mut self, change: &SecretChange) {
        if !self.secret_watch_fails {
            self.secret_watchers.retain(|watcher| watcher.send(change.clone()).is_ok());
        }
    }
}
