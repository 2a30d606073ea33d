//! A bounded number of places for lists of any length, so that a long list leaves room for the
//! others.

/// Largest number of places that each list may have so that all lists together have at most `all`
/// places. Lists that need fewer leave theirs to the longer ones.
pub(crate) fn share(lengths: impl IntoIterator<Item = usize>, all: usize) -> usize {
    let mut lengths: Vec<usize> = lengths.into_iter().collect();
    lengths.sort_unstable();
    let (mut free, mut left) = (all, lengths.len());
    for length in lengths {
        let share = free / left;
        if length > share {
            return share;
        }
        (free, left) = (free - length, left - 1);
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_list_leaves_the_short_ones_their_places() {
        assert_eq!(share([1, 5_000, 2], 10), 7);
        assert_eq!(share([5_000, 5_000], 10), 5);
        assert_eq!(share([1, 2, 3], 10), 10, "all fit");
        assert_eq!(share([5, 5], 10), 10, "all fit");
        assert_eq!(share([5, 5, 5], 2), 0);
        assert_eq!(share([], 2), 2);
    }

    proptest! {
        #[test]
        fn lists_never_have_more_places_than_there_are_and_none_could_have_one_more(
            lengths in prop::collection::vec(0..200_usize, 0..50), all in 0..2_000_usize,
        ) {
            let used = |share: usize| lengths.iter().map(|length| (*length).min(share)).sum::<usize>();
            let share = share(lengths.iter().copied(), all);
            prop_assert!(used(share) <= all);
            prop_assert!(used(share) == lengths.iter().sum::<usize>() || used(share + 1) > all);
        }
    }
}
