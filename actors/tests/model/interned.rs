//! Segments, records and states as small numbers, so that a state of the model is small and has a
//! hash.

use std::cell::RefCell;
use std::marker::PhantomData;

use ingress_acme_actors::domain::issuance::{Record, State};
use ingress_acme_actors::domain::log::segment::Segment;

/// Number of a value that was seen before.
#[derive(Debug)]
pub(crate) struct Id<T>(u32, PhantomData<T>);

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<T> std::hash::Hash for Id<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// A kind of value with a table of its own.
pub(crate) trait Interned: Clone + PartialEq + Sized + 'static {
    /// Calls `with` with the table of the values seen so far.
    fn table<R>(with: impl FnOnce(&mut Vec<Self>) -> R) -> R;

    /// The number of this value.
    fn id(self) -> Id<Self> {
        Self::table(|table| {
            let known = table.iter().position(|value| *value == self);
            let index = known.unwrap_or_else(|| {
                table.push(self);
                table.len() - 1
            });
            Id(u32::try_from(index).expect("a model has few values"), PhantomData)
        })
    }
}

impl<T: Interned> Id<T> {
    /// The value of this number.
    pub(crate) fn value(self) -> T {
        T::table(|table| table[self.0 as usize].clone())
    }
}

macro_rules! interned {
    ($kind:ty) => {
        impl Interned for $kind {
            fn table<R>(with: impl FnOnce(&mut Vec<Self>) -> R) -> R {
                thread_local! {
                    static TABLE: RefCell<Vec<$kind>> = const { RefCell::new(Vec::new()) };
                }
                TABLE.with(|table| with(&mut table.borrow_mut()))
            }
        }
    };
}

interned!(Segment);
interned!(Record);
interned!(State);
