//! Jobs by namespace. One namespace never has all slots, so a job of another one starts at once,
//! however long the jobs of the first take.

use crate::domain::limits;

/// Whether a namespace with `held` slots may take one more of `free` slots.
///
/// The bound falls with the free slots (the dynamic threshold of shared buffers in switches), so
/// several greedy namespaces also leave some, and a namespace alone has nearly all.
pub(super) fn may_take(held: usize, free: usize) -> bool {
    held < free.saturating_mul(limits::SLOTS_PER_FREE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots of `greedy` namespaces that take all they may, and the slots left.
    fn taken(slots: usize, greedy: usize) -> (Vec<usize>, usize) {
        let (mut held, mut free) = (vec![0; greedy], slots);
        while let Some(next) = held.iter_mut().filter(|held| may_take(**held, free)).min() {
            *next += 1;
            free -= 1;
        }
        (held, free)
    }

    #[test]
    fn a_namespace_alone_has_nearly_all_slots_and_several_leave_some() {
        assert_eq!(taken(64, 1), (vec![56], 8));
        assert_eq!(taken(16, 1), (vec![14], 2));
        assert_eq!(taken(8, 1), (vec![7], 1));
        assert_eq!(taken(64, 2).1, 4);
        assert_eq!(taken(64, 3).1, 2);
    }

    #[test]
    fn few_slots_are_all_used() {
        for slots in 1..8 {
            assert_eq!(taken(slots, 1).1, 0, "{slots}");
        }
    }
}
