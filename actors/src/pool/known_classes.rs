//! Ingress classes of the cluster, kept for a while. They are read only where hosts are not
//! reached.

use std::cell::RefCell;
use std::rc::Rc;

use tracing::debug;

use crate::domain::controllers::ClassView;
use crate::domain::limits;
use crate::domain::time::Timestamp;
use crate::ports::{IngressClasses, bounded};

/// The classes, as last read.
pub(crate) struct KnownClasses {
    port: Rc<dyn IngressClasses>,
    read: RefCell<Option<(Timestamp, Rc<[ClassView]>)>>,
}

impl KnownClasses {
    pub(crate) fn new(port: Rc<dyn IngressClasses>) -> Self {
        Self { port, read: RefCell::new(None) }
    }

    /// The classes; none where they cannot be read. A read that was tried is not tried again within
    /// [`limits::CLASSES_KEPT`].
    pub(crate) async fn list(&self, now: Timestamp) -> Rc<[ClassView]> {
        let known = self.read.borrow().clone();
        let before = match known {
            Some((at, classes)) if now < at + limits::CLASSES_KEPT => return classes,
            Some((_, classes)) => classes,
            None => Rc::default(),
        };
        // Jobs that ask meanwhile have what was known before.
        *self.read.borrow_mut() = Some((now, before.clone()));
        let listed = bounded(limits::KUBE_CALL, "API server", self.port.list()).await;
        let classes: Rc<[ClassView]> = match listed {
            Ok(classes) => classes.into(),
            Err(error) => {
                debug!(%error, "the IngressClasses cannot be read");
                before
            }
        };
        *self.read.borrow_mut() = Some((now, classes.clone()));
        classes
    }
}
