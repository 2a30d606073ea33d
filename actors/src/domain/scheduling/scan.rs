//! Spread of a scan over an interval. Each Ingress always has the same moment in the interval.

use std::collections::HashMap;
use std::sync::Arc;
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

/// Order of a scan of all Ingresses: first those with an issuance under way, because the CA waits
/// for an open order; then the namespaces in turn, because one with much to read delays no other.
pub(crate) fn in_turn(
    mut keys: Vec<IngressKey>,
    is_under_way: impl Fn(&IngressKey) -> bool,
) -> Vec<IngressKey> {
    let mut rounds: HashMap<Arc<str>, u32> = HashMap::new();
    keys.sort_by_cached_key(|key| {
        let round = rounds.entry(key.namespace.clone()).or_default();
        *round += 1;
        (!is_under_way(key), *round)
    });
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_orders_go_first_and_then_the_namespaces_take_turns() {
        let keys = ["bad/1", "bad/2", "bad/3", "good/1", "good/2"].map(|key| key.parse().unwrap());
        let ordered = in_turn(keys.to_vec(), |key| &*key.name == "2" && &*key.namespace == "good");
        let ordered: Vec<String> = ordered.iter().map(ToString::to_string).collect();
        assert_eq!(ordered, ["good/2", "bad/1", "good/1", "bad/2", "bad/3"]);
    }

    #[test]
    fn ingresses_are_spread_over_all_slots() {
        let ticks: std::collections::BTreeSet<u32> =
            (0..5000).map(|n| tick(&IngressKey::new("web", &n.to_string()))).collect();
        assert_eq!(ticks.len(), usize::try_from(limits::SCAN_TICKS).unwrap());
    }

    #[test]
    fn all_ticks_together_take_the_interval() {
        assert_eq!(pace(Duration::from_hours(1)), Duration::from_secs(10));
    }
}
