//! Rounds of checks that the TLS Secrets still exist. A deleted Secret is an outage, and nothing
//! tells of it: the operator has no right to watch Secrets.

use std::collections::VecDeque;

use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::domain::time::Timestamp;

/// The checks of one round, a few each second: a round takes [`limits::SECRET_CHECKS_ROUND`], or
/// longer where there are more Secrets than requests.
#[derive(Debug, Default)]
pub(crate) struct SecretChecks {
    /// Secrets of this round that are not checked yet, in turn.
    left: VecDeque<SecretKey>,
    /// Number of checks in a second of this round.
    at_once: usize,
    /// Earliest time of the next round.
    next_round: Option<Timestamp>,
    /// End of the pause after an error of the API server.
    paused_until: Option<Timestamp>,
}

impl SecretChecks {
    /// Returns the Secrets to check in this second, `most` at the most. `all` lists the Secrets of
    /// a new round, with the one first that is checked first.
    pub(crate) fn next(
        &mut self,
        most: usize,
        now: Timestamp,
        all: impl FnOnce() -> Vec<SecretKey>,
    ) -> Vec<SecretKey> {
        if self.paused_until.is_some_and(|until| now < until) {
            return Vec::new();
        }
        if self.left.is_empty() && self.next_round.is_none_or(|at| at <= now) {
            self.left = all().into();
            self.next_round = Some(now + limits::SECRET_CHECKS_ROUND);
            let seconds = usize::try_from(limits::SECRET_CHECKS_ROUND.as_secs()).unwrap_or(1);
            self.at_once = self.left.len().div_ceil(seconds);
        }
        let count = self.at_once.min(most).min(self.left.len());
        self.left.drain(..count).collect()
    }

    /// Pauses until `until`. `unchecked` come first afterwards.
    pub(crate) fn pause(&mut self, unchecked: Vec<SecretKey>, until: Timestamp) {
        unchecked.into_iter().rev().for_each(|secret| self.left.push_front(secret));
        self.paused_until = Some(until);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    fn secrets(count: usize) -> Vec<SecretKey> {
        (0..count).map(|number| SecretKey::new("web", &format!("s{number}"))).collect()
    }

    fn at(second: usize) -> Timestamp {
        Timestamp::from_secs(i64::try_from(second).unwrap())
    }

    /// Longest time between two checks of one Secret, and most checks in one second.
    fn checked(count: usize, seconds: usize) -> (usize, usize) {
        let (mut checks, mut last) = (SecretChecks::default(), BTreeMap::new());
        let (mut longest, mut most) = (0, 0);
        for second in 0..seconds {
            let now = checks.next(10, at(second), || secrets(count));
            most = most.max(now.len());
            for secret in now {
                let before = last.insert(secret, second).unwrap_or(second);
                longest = longest.max(second - before);
            }
        }
        assert_eq!(last.len(), count, "each one is checked");
        (longest, most)
    }

    #[test]
    fn up_to_six_hundred_secrets_are_checked_each_minute_and_more_proportionally_later() {
        for count in [1, 7, 60, 500, 599, 600] {
            let (longest, most) = checked(count, 300);
            assert!(longest <= 60, "{count}: {longest} s");
            assert!(most <= 10, "{count}: {most} in a second");
        }
        assert_eq!(checked(6_000, 2_000), (600, 10));
        assert_eq!(checked(1, 300), (50, 1), "one Secret costs one request in 50 s");
    }

    #[test]
    fn a_pause_holds_and_loses_no_secret() {
        let mut checks = SecretChecks::default();
        let first = checks.next(10, at(0), || secrets(600));
        assert_eq!(first, secrets(10));
        checks.pause(first[3..].to_vec(), at(0) + Duration::from_secs(30));
        assert!(checks.next(10, at(29), || panic!("no new round")).is_empty());
        let then = checks.next(10, at(30), || panic!("no new round"));
        assert_eq!(then, secrets(13)[3..]);
    }
}
