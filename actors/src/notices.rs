//! Tells each user once what of an Ingress cannot be served, and remembers that it did.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::domain::announcement::Announcement;
use crate::domain::desired::{DesiredCertificate, stable_hash};
use crate::domain::index::Index;
use crate::domain::ingress::{IngressKey, IngressRef};
use crate::ports::Announcer;

/// What was told, by Ingress: the hash of the last notice.
pub struct Notices {
    announcer: Rc<dyn Announcer>,
    told: RefCell<HashMap<IngressKey, u64>>,
}

impl Notices {
    /// Nothing told yet.
    pub fn new(announcer: Rc<dyn Announcer>) -> Self {
        Self { announcer, told: RefCell::default() }
    }

    /// Whether there is something to tell that was not.
    pub fn has_news(&self, index: &Index, key: &IngressKey) -> bool {
        notice(index, key).is_some_and(|(_, announcement)| !self.was_told(key, &announcement))
    }

    /// Tells what there is to tell of this Ingress, once; forgets one that is fine or gone.
    pub fn tell(&self, index: &Index, key: &IngressKey) {
        let Some((about, announcement)) = notice(index, key) else {
            self.told.borrow_mut().remove(key);
            return;
        };
        if !self.was_told(key, &announcement) {
            self.told.borrow_mut().insert(key.clone(), stable_hash(&announcement));
            self.announcer.announce(&about, announcement);
        }
    }

    /// Tells all Ingresses that a desired certificate comes from.
    pub fn announce(&self, desired: &DesiredCertificate, announcement: &Announcement) {
        for owner in &desired.owners {
            self.announcer.announce(owner, announcement.clone());
        }
    }

    fn was_told(&self, key: &IngressKey, announcement: &Announcement) -> bool {
        self.told.borrow().get(key) == Some(&stable_hash(announcement))
    }
}

fn notice(index: &Index, key: &IngressKey) -> Option<(IngressRef, Announcement)> {
    let announcement = Announcement::skipped(index.problems(key)?)?;
    Some((index.view(key)?.reference(), announcement))
}
