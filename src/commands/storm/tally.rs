//! Records when each Ingress of a storm was created and last changed, and when its Secret was last
//! written.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

/// Times since the begin of the storm.
#[derive(Debug)]
pub struct Tally {
    began: Instant,
    rows: Vec<Row>,
    by_key: HashMap<(String, String), usize>,
    /// Numbers of the Ingresses whose Secret exists but is not verified as right yet.
    unverified: BTreeSet<u32>,
    written: usize,
    verified: usize,
}

/// One Ingress.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Row {
    /// Time of creation.
    pub made: Option<Duration>,
    /// Time of creation or of the last edit.
    pub changed: Option<Duration>,
    /// Time of the last write to its Secret.
    pub written: Option<Duration>,
    /// Whether the Secret was read and has the expected certificate.
    pub right: bool,
}

impl Row {
    /// Time from the last change to the Secret; `None` unless the Secret is right. A Secret written
    /// before the last edit, to which that edit changed nothing, took no time.
    pub fn took(&self) -> Option<Duration> {
        self.right.then_some(self.written?.saturating_sub(self.changed?))
    }
}

impl Tally {
    /// Creates a tally of Ingresses with these keys, in the order of their numbers.
    pub fn new(keys: impl Iterator<Item = (String, String)>) -> Self {
        let by_key: HashMap<_, _> = keys.enumerate().map(|(row, key)| (key, row)).collect();
        Self {
            began: Instant::now(),
            rows: vec![Row::default(); by_key.len()],
            by_key,
            unverified: BTreeSet::new(),
            written: 0,
            verified: 0,
        }
    }

    /// Time since the begin.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Records that an Ingress was created or edited.
    pub fn changed(&mut self, number: u32) {
        let now = self.began.elapsed();
        let Some(row) = self.rows.get_mut(number as usize) else { return };
        row.made.get_or_insert(now);
        row.changed = Some(now);
        self.unsettle(number);
    }

    /// Records that a Secret was written.
    pub fn written(&mut self, namespace: &str, name: &str) {
        let now = self.began.elapsed();
        let key = (namespace.to_owned(), name.to_owned());
        let Some((&row, number)) =
            self.by_key.get(&key).and_then(|row| Some((row, u32::try_from(*row).ok()?)))
        else {
            return;
        };
        self.written += usize::from(self.rows[row].written.replace(now).is_none());
        self.unsettle(number);
    }

    fn unsettle(&mut self, number: u32) {
        let row = &mut self.rows[number as usize];
        self.verified -= usize::from(std::mem::replace(&mut row.right, false));
        if row.written.is_some() {
            self.unverified.insert(number);
        }
    }

    /// Returns the numbers of the Ingresses whose Secret must be read, provided that nothing
    /// changes meanwhile.
    pub fn to_verify(&self) -> Vec<u32> {
        self.unverified.iter().copied().collect()
    }

    /// Records that the Secret was read after its last write, and is right.
    pub fn verified(&mut self, number: u32) {
        if self.unverified.remove(&number) {
            self.rows[number as usize].right = true;
            self.verified += 1;
        }
    }

    /// Number of Secrets written.
    pub fn written_count(&self) -> usize {
        self.written
    }

    /// Whether every Ingress has a Secret.
    pub fn all_written(&self) -> bool {
        self.written == self.rows.len()
    }

    /// Whether every Ingress has the right certificate.
    pub fn all_verified(&self) -> bool {
        self.verified == self.rows.len()
    }

    /// All rows, by number.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally::new((0..2).map(|number| ("ns".to_owned(), format!("s{number}"))))
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_counts_from_the_last_change_to_the_last_write() {
        let mut tally = tally();
        tally.changed(0);
        tokio::time::advance(Duration::from_secs(1)).await;
        tally.changed(0);
        tokio::time::advance(Duration::from_secs(2)).await;
        tally.written("ns", "s0");
        assert_eq!((tally.to_verify(), tally.verified), (vec![0], 0));
        tally.verified(0);
        assert_eq!((tally.rows()[0].took(), tally.verified), (Some(Duration::from_secs(2)), 1));
        assert_eq!(tally.rows()[1].took(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_that_is_written_again_is_verified_again() {
        let mut tally = tally();
        tally.changed(1);
        tally.written("ns", "s1");
        assert_eq!(tally.written_count(), 1);
        tally.verified(1);
        tally.written("ns", "s1");
        assert_eq!((tally.to_verify(), tally.verified), (vec![1], 0));
        tally.written("other", "s1");
        tally.verified(0);
        assert_eq!(tally.verified, 0);
    }
}
