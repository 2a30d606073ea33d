//! Counts by namespace, for bounds that no namespace may use up alone.

use std::collections::HashMap;
use std::sync::Arc;

/// Number of jobs or actors, in all and by namespace.
#[derive(Debug, Default)]
pub(crate) struct CountByNamespace {
    total: usize,
    by_namespace: HashMap<Arc<str>, usize>,
}

impl CountByNamespace {
    pub(crate) fn begin(&mut self, namespace: &Arc<str>) {
        self.total += 1;
        *self.by_namespace.entry(namespace.clone()).or_default() += 1;
    }

    pub(crate) fn end(&mut self, namespace: &Arc<str>) {
        let Some(own) = self.by_namespace.get_mut(namespace) else { return };
        self.total -= 1;
        *own -= 1;
        if *own == 0 {
            self.by_namespace.remove(namespace);
        }
    }

    /// Number in all namespaces.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Number in one namespace.
    pub(crate) fn of(&self, namespace: &str) -> usize {
        self.by_namespace.get(namespace).copied().unwrap_or_default()
    }
}
