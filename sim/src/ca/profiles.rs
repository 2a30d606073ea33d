//! Certificate profiles (draft-aaron-acme-profiles), as of July 2026 at Let's Encrypt
//! (<https://letsencrypt.org/docs/profiles/>).

use std::time::Duration;

use super::problem::Problem;

/// A certificate profile, selected by name in an order.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) name: &'static str,
    /// Description in the directory.
    pub(super) description: &'static str,
    /// Lifetime of the certificates.
    pub(super) life: Duration,
    pub(super) names_max: usize,
    /// Time for which a valid authorization can be reused.
    pub(super) reuse: Duration,
    /// Time after which a pending authorization expires.
    pub(super) pending: Duration,
    /// Time after which an unfinished order expires.
    pub(super) order: Duration,
}

const DAY: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);

/// Profiles of the CA. The first applies to orders without a profile.
pub(super) static PROFILES: [Profile; 3] = [
    Profile {
        name: "classic",
        description: "https://letsencrypt.org/docs/profiles#classic",
        life: Duration::from_hours(90 * 24),
        names_max: 100,
        reuse: Duration::from_hours(30 * 24),
        pending: Duration::from_hours(7 * 24),
        order: Duration::from_hours(7 * 24),
    },
    Profile {
        name: "tlsserver",
        description: "https://letsencrypt.org/docs/profiles#tlsserver",
        life: Duration::from_hours(45 * 24),
        names_max: 25,
        reuse: Duration::from_hours(7),
        pending: HOUR,
        order: Duration::from_hours(8),
    },
    Profile {
        name: "shortlived",
        description: "https://letsencrypt.org/docs/profiles#shortlived",
        life: Duration::from_hours(160),
        names_max: 25,
        reuse: Duration::from_hours(7),
        pending: HOUR,
        order: Duration::from_hours(8),
    },
];

/// Returns the profile of an order.
pub(super) fn profile(asked: Option<&str>) -> Result<&'static Profile, Problem> {
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return Ok(&PROFILES[0]) };
    let unknown = || {
        let detail = format!("profile name {asked:?} not recognized");
        Problem::new(400, "invalidProfile", detail)
    };
    PROFILES.iter().find(|profile| profile.name == asked).ok_or_else(unknown)
}

/// Start and end of the suggested renewal window, as offsets from `notBefore`. The window is a
/// fiftieth of the lifetime long (letsencrypt/boulder#8024), centred at half of a lifetime below
/// ten days and at two thirds of a longer one.
pub(super) fn suggested(life: Duration) -> (Duration, Duration) {
    let centre = if life < 10 * DAY { life / 2 } else { life * 2 / 3 };
    let half = life / 100;
    (centre.saturating_sub(half), centre + half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_classic_and_unknown_ones_are_reported() {
        assert_eq!(profile(None).unwrap().name, "classic");
        assert_eq!(profile(Some("shortlived")).unwrap().names_max, 25);
        assert_eq!(profile(Some("gold")).unwrap_err().kind, "invalidProfile");
    }

    #[test]
    fn windows_are_a_fiftieth_of_the_life_around_two_thirds_or_half() {
        let (start, end) = suggested(90 * DAY);
        assert_eq!(end, start + 90 * DAY / 50);
        assert_eq!((start + end) / 2, 60 * DAY);
        let (start, end) = suggested(Duration::from_hours(160));
        assert_eq!((start + end) / 2, Duration::from_hours(80));
    }
}
