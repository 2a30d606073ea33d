//! When each Ingress of a storm was made and last changed, and when its Secret was last written.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

/// Times from the storm's begin on.
#[derive(Debug)]
pub struct Tally {
    began: Instant,
    rows: Vec<Row>,
    by_key: HashMap<(String, String), usize>,
    /// Whose Secret is there, but was not found to be right yet.
    unverified: BTreeSet<u32>,
    written: usize,
    verified: usize,
}

/// One Ingress.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Row {
    /// When it was made.
    pub made: Option<Duration>,
    /// When it was made, or edited last.
    pub changed: Option<Duration>,
    /// When its Secret was written last.
    pub written: Option<Duration>,
    /// The Secret was read, and its certificate is the one that was to come.
    pub right: bool,
}

impl Row {
    /// From the last change to the Secret; none when the Secret is not right. A Secret that was there before the
    /// last edit, which changed nothing for it, took no time.
    pub fn took(&self) -> Option<Duration> {
        self.right.then_some(self.written?.saturating_sub(self.changed?))
    }
}

impl Tally {
    /// Of Ingresses with these keys, in the order of their numbers.
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

    /// The time since the begin.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// An Ingress was made, or edited.
    pub fn changed(&mut self, number: u32) {
        let now = self.began.elapsed();
        let Some(row) = self.rows.get_mut(number as usize) else { return };
        row.made.get_or_insert(now);
        row.changed = Some(now);
        self.unsettle(number);
    }

    /// A Secret was written.
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

    /// Those whose Secret is to be looked at, as long as nothing changes.
    pub fn to_verify(&self) -> Vec<u32> {
        self.unverified.iter().copied().collect()
    }

    /// The Secret was read since it was written last, and is right.
    pub fn verified(&mut self, number: u32) {
        if self.unverified.remove(&number) {
            self.rows[number as usize].right = true;
            self.verified += 1;
        }
    }

    /// How many Secrets have come.
    pub fn written_count(&self) -> usize {
        self.written
    }

    /// Every Ingress has a Secret.
    pub fn all_written(&self) -> bool {
        self.written == self.rows.len()
    }

    /// Every Ingress has the right one.
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
