//! Spreads a scan of all Ingresses over an interval, always at the same moment for the same Ingress.

use std::time::Duration;

use super::desired::stable_hash;
use super::ingress::IngressKey;
use super::limits;

/// The slot of the interval, `0..SCAN_SLOTS`, in which an Ingress is looked at.
pub fn slot(key: &IngressKey) -> u32 {
    u32::try_from(stable_hash(key) % u64::from(limits::SCAN_SLOTS)).unwrap_or(0)
}

/// Time from one slot to the next.
pub fn pace(interval: Duration) -> Duration {
    interval / limits::SCAN_SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingresses_are_spread_over_all_slots() {
        let slots: std::collections::BTreeSet<u32> =
            (0..5000).map(|n| slot(&IngressKey::new("web", &n.to_string()))).collect();
        assert_eq!(slots.len(), usize::try_from(limits::SCAN_SLOTS).unwrap());
    }
}
