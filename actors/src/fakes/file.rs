//! The file of `--cas-file`, as each operator reads it: with clients that end with the operator.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::watch;

use super::ca::FakeCa;
use super::crash_point::{CrashPoint, Crashable};
use crate::cas::{CaClient, CaSet, CaSets};
use crate::domain::cas::Cas;

/// The file.
#[derive(Default)]
pub(super) struct FakeFile {
    cas: RefCell<Option<Rc<Cas>>>,
    readers: RefCell<Vec<Reader>>,
}

/// An operator that follows the file.
type Reader = (watch::Sender<Rc<CaSet>>, Rc<CrashPoint>);

/// The CAs by their directories.
pub(super) type ByDirectory<'a> = [(&'a str, &'a Rc<FakeCa>); 3];

impl FakeFile {
    /// Writes the file, which all operators follow.
    pub(super) fn write(&self, cas: Cas, all: ByDirectory<'_>) {
        let cas = Rc::new(cas);
        for (reader, crash_point) in &*self.readers.borrow() {
            reader.send_replace(set(&cas, all, crash_point));
        }
        *self.cas.borrow_mut() = Some(cas);
    }

    /// Begins to read the file, where there is one.
    pub(super) fn read(
        &self,
        all: ByDirectory<'_>,
        crash_point: &Rc<CrashPoint>,
    ) -> Option<CaSets> {
        let set = set(self.cas.borrow().as_ref()?, all, crash_point);
        let (reader, sets) = watch::channel(set);
        self.readers.borrow_mut().push((reader, crash_point.clone()));
        Some(sets)
    }
}

fn set(cas: &Rc<Cas>, all: ByDirectory<'_>, crash_point: &Rc<CrashPoint>) -> Rc<CaSet> {
    let named = all.into_iter().filter_map(|(directory, ca)| {
        let guards = cas.at(directory)?.guards.unwrap_or_default();
        let ca = Rc::new(Crashable { port: ca.clone(), crash_point: crash_point.clone() });
        Some((directory.to_owned(), CaClient { ca, through_proxy: false, guards }))
    });
    Rc::new(CaSet { clients: named.collect(), cas: cas.clone() })
}
