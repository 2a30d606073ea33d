//! Spread of a scan over an interval. Each Ingress always has the same moment in the interval.

use std::time::Duration;

use crate::domain::hash::stable_hash;
use crate::domain::ingress::IngressKey;
use crate::domain::limits;

/// Tick of the interval, `0..SCAN_TICKS`, in which the scan checks an Ingress.
pub fn tick(key: &IngressKey) -> u32 {
    u32::try_from(stable_hash(key) % u64::from(limits::SCAN_TICKS)).unwrap_or(0)
}

/// Time between two ticks.
pub fn pace(interval: Duration) -> Duration {
    interval / limits::SCAN_TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingresses_are_spread_over_all_slots() {
        let ticks: std::collections::BTreeSet<u32> =
            (0..5000).map(|n| tick(&IngressKey::new("web", &n.to_string()))).collect();
        assert_eq!(ticks.len(), usize::try_from(limits::SCAN_TICKS).unwrap());
    }
}
