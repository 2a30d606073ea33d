//! Segments, records and states as small numbers, so that a state of the model is small and has a
//! hash.

use std::cell::RefCell;
use std::collections::HashMap;
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

/// Values of one kind, by number and by their bytes.
pub(crate) struct Table<T> {
    values: Vec<T>,
    numbers: HashMap<Vec<u8>, u32>,
}

impl<T> Table<T> {
    fn new() -> Self {
        Self { values: Vec::new(), numbers: HashMap::new() }
    }
}

/// A kind of value with a table of its own.
pub(crate) trait Interned: Clone + Sized + 'static {
    /// Calls `with` with the table of the values seen so far.
    fn table<R>(with: impl FnOnce(&mut Table<Self>) -> R) -> R;

    /// Bytes that differ for different values.
    fn bytes(&self) -> Vec<u8>;

    /// The number of this value.
    fn id(self) -> Id<Self> {
        let bytes = self.bytes();
        Self::table(|table| {
            let next = u32::try_from(table.values.len()).expect("a model has few values");
            let number = *table.numbers.entry(bytes).or_insert(next);
            if number == next {
                table.values.push(self);
            }
            Id(number, PhantomData)
        })
    }
}

impl<T: Interned> Id<T> {
    /// The value of this number.
    pub(crate) fn value(self) -> T {
        T::table(|table| table.values[self.0 as usize].clone())
    }
}

macro_rules! interned {
    ($kind:ty, $bytes:expr) => {
        impl Interned for $kind {
            fn table<R>(with: impl FnOnce(&mut Table<Self>) -> R) -> R {
                thread_local! {
                    static TABLE: RefCell<Table<$kind>> = RefCell::new(Table::new());
                }
                TABLE.with(|table| with(&mut table.borrow_mut()))
            }

            fn bytes(&self) -> Vec<u8> {
                let bytes: fn(&Self) -> Vec<u8> = $bytes;
                bytes(self)
            }
        }
    };
}

interned!(Segment, |segment| segment.encode());
interned!(Record, |record| serde_json::to_vec(record).expect("a record is JSON"));
// `Debug` hides the key.
interned!(State, |state| {
    let key = state.issuance().map(|issuance| issuance.key.pem());
    format!("{state:?} {key:?}").into_bytes()
});
