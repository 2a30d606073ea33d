//! Memory of what the log says about lasting states, so that a state is logged once and not at each
//! scan.

use std::collections::HashMap;
use std::hash::Hash;

use crate::domain::hash::stable_hash;
use crate::domain::limits;

/// Last text about each of the last [`limits::SAID`] things, as a hash.
#[derive(Debug)]
pub struct Said<K>(HashMap<K, u64>);

impl<K> Default for Said<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Said<K> {
    /// Whether `text` is another one than the last about this thing, and is to be logged. When the
    /// memory is full, everything is forgotten and said once more.
    pub fn is_news(&mut self, about: K, text: impl Hash) -> bool {
        let hash = stable_hash(text);
        if self.0.len() >= limits::SAID && !self.0.contains_key(&about) {
            self.0.clear();
        }
        self.0.insert(about, hash) != Some(hash)
    }

    /// Forgets a thing whose state has ended, so that its return is news.
    pub fn has_ended(&mut self, about: &K) {
        self.0.remove(about);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_news_once_and_again_when_it_changes_or_has_ended() {
        let mut said = Said::default();
        let news = ["full", "full", "busy", "busy", "full"].map(|text| said.is_news("a", text));
        assert_eq!(news, [true, false, true, false, true]);
        assert!(said.is_news("b", "full"), "another thing");
        said.has_ended(&"a");
        assert!(said.is_news("a", "full") && !said.is_news("b", "full"));
    }

    #[test]
    fn any_number_of_things_is_remembered_within_the_bound() {
        let mut said = Said::default();
        for thing in 0..10 * limits::SAID {
            assert!(said.is_news(thing, "full"));
            assert!(said.0.len() <= limits::SAID);
        }
        assert!(!said.is_news(10 * limits::SAID - 1, "full"), "the last one");
    }
}
