//! The switch for new orders as jobs see it, and the certificates that wait for it.

use std::cell::RefCell;
use std::collections::HashSet;

use tokio::sync::watch;

use crate::domain::desired::index::Index;
use crate::domain::ingress::SecretKey;
use crate::domain::new_orders::NewOrders;

/// The switch.
pub(crate) struct Switch {
    position: watch::Receiver<NewOrders>,
    waiting: RefCell<HashSet<SecretKey>>,
}

impl Switch {
    /// Creates the switch with nothing that waits.
    pub(crate) fn new(position: watch::Receiver<NewOrders>) -> Self {
        Self { position, waiting: RefCell::default() }
    }

    /// Position at this moment.
    pub(crate) fn position(&self) -> NewOrders {
        self.position.borrow().clone()
    }

    /// Whether new orders wait.
    pub(crate) fn is_off(&self) -> bool {
        self.position.borrow().are_stopped()
    }

    /// Records that the order of a Secret waits. Returns whether it did not before.
    pub(crate) fn wait(&self, stream: &SecretKey) -> bool {
        self.waiting.borrow_mut().insert(stream.clone())
    }

    /// Records that the order of a Secret does not wait any more.
    pub(crate) fn go_on(&self, stream: &SecretKey) {
        self.waiting.borrow_mut().remove(stream);
    }

    /// Whether the order of a Secret waits for the switch.
    pub(crate) fn has(&self, stream: &SecretKey) -> bool {
        self.waiting.borrow().contains(stream)
    }

    /// Number of certificates that wait and that an Ingress still names.
    pub(crate) fn waiting(&self, index: &Index) -> usize {
        self.waiting.borrow().iter().filter(|stream| index.is_wanted(stream)).count()
    }
}
