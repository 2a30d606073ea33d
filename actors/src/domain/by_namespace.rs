//! Counts by namespace, for bounds that no namespace may use up alone.

use std::collections::HashMap;
use std::sync::Arc;

/// Whether a namespace with `own` of `all` places may have one more of `most`: as many as there is
/// free room, so one that takes any number leaves half to the others.
pub(crate) fn has_share(own: usize, all: usize, most: usize) -> bool {
    own < most.saturating_sub(all)
}

/// Number of jobs, actors or Events, in all and by namespace.
#[derive(Debug, Default)]
pub struct CountByNamespace {
    total: usize,
    by_namespace: HashMap<Arc<str>, usize>,
}

impl CountByNamespace {
    /// Counts one more.
    pub fn begin(&mut self, namespace: &Arc<str>) {
        self.total += 1;
        *self.by_namespace.entry(namespace.clone()).or_default() += 1;
    }

    /// Counts one less, if there is one.
    pub fn end(&mut self, namespace: &str) {
        let Some(own) = self.by_namespace.get_mut(namespace) else { return };
        self.total -= 1;
        *own -= 1;
        if *own == 0 {
            self.by_namespace.remove(namespace);
        }
    }

    /// Number in all namespaces.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Number in one namespace.
    pub fn of(&self, namespace: &str) -> usize {
        self.by_namespace.get(namespace).copied().unwrap_or_default()
    }
}
