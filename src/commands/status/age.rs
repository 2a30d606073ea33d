//! Ages as kubectl prints them: `HumanDuration` of `k8s.io/apimachinery/pkg/util/duration`, so that
//! both say the same of one Ingress.

use ingress_acme_actors::domain::time::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// Formats the age of an object. The clock of the API server may be a second ahead.
pub(super) fn age(created: Timestamp, now: Timestamp) -> String {
    if created == Timestamp::default() {
        return "<unknown>".to_owned();
    }
    match now.as_secs() - created.as_secs() {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        seconds if seconds < 2 * MINUTE => format!("{seconds}s"),
        seconds if seconds < 10 * MINUTE => two(seconds, (MINUTE, "m"), (1, "s")),
        seconds if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        seconds if seconds < 8 * HOUR => two(seconds, (HOUR, "h"), (MINUTE, "m")),
        seconds if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        seconds if seconds < 8 * DAY => two(seconds, (DAY, "d"), (HOUR, "h")),
        seconds if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        seconds if seconds < 8 * YEAR => two(seconds, (YEAR, "y"), (DAY, "d")),
        seconds => format!("{}y", seconds / YEAR),
    }
}

/// Formats with two units, and with the larger one alone if nothing of the smaller one is left.
fn two(seconds: i64, (large, name): (i64, &str), (small, its_name): (i64, &str)) -> String {
    let (many, rest) = (seconds / large, seconds % large / small);
    if rest == 0 { format!("{many}{name}") } else { format!("{many}{name}{rest}{its_name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seconds: i64) -> String {
        let now = Timestamp::from_secs(1_795_478_400);
        age(Timestamp::from_secs(now.as_secs() - seconds), now)
    }

    #[test]
    fn an_age_reads_as_kubectl_prints_it() {
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 4 * MINUTE, "3h4m"),
            (8 * HOUR - 1, "7h59m"),
            (8 * HOUR, "8h"),
            (2 * DAY - 1, "47h"),
            (2 * DAY, "2d"),
            (2 * DAY + 3 * HOUR, "2d3h"),
            (8 * DAY - 1, "7d23h"),
            (8 * DAY, "8d"),
            (2 * YEAR - 1, "729d"),
            (2 * YEAR, "2y"),
            (2 * YEAR + DAY, "2y1d"),
            (8 * YEAR - 1, "7y364d"),
            (8 * YEAR, "8y"),
            (64 * YEAR, "64y"),
        ] {
            assert_eq!(of(seconds), text, "{seconds}");
        }
        assert_eq!(age(Timestamp::default(), Timestamp::from_secs(9)), "<unknown>");
    }
}
