//! Selection of the first few of many items, without a full sort.

/// Returns `count` items of `all`, ordered by `key`, after skipping the first `skip`. Sorts only
/// the returned items, because `all` may be very large.
pub fn top_k<T, K: Ord>(
    all: impl Iterator<Item = T>,
    skip: usize,
    count: usize,
    key: impl Fn(&T) -> K,
) -> Vec<T> {
    let mut all: Vec<T> = all.collect();
    if skip >= all.len() || count == 0 {
        return Vec::new();
    }
    if skip > 0 {
        all.select_nth_unstable_by(skip, |one, other| key(one).cmp(&key(other)));
        all.drain(..skip);
    }
    if count < all.len() {
        all.select_nth_unstable_by(count, |one, other| key(one).cmp(&key(other)));
        all.truncate(count);
    }
    all.sort_unstable_by_key(key);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_what_sorting_all_would_give() {
        let all = [7, 3, 9, 1, 5, 8, 2];
        let mut sorted = all.to_vec();
        sorted.sort_unstable();
        for skip in 0..9 {
            for count in 0..9 {
                let expected: Vec<i32> = sorted.iter().copied().skip(skip).take(count).collect();
                assert_eq!(top_k(all.into_iter(), skip, count, |n| *n), expected, "{skip} {count}");
            }
        }
    }
}
