//! Certificate lifetimes of CAs in 2026: 90, 64 and 45 days, and 160 hours.

use std::collections::BTreeSet;

use super::*;
use crate::domain::validity::check::tests::secret;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const DIRECTORY: &str = "https://ca.example/directory";

fn now() -> Timestamp {
    Timestamp::from_secs(1_795_478_400)
}

fn leaf(life: Duration) -> CertificateView {
    secret(&["a.example.com"], now(), life).certificate.unwrap()
}

fn id(number: u32) -> CertId {
    CertId::new(&format!("aki.{number}"))
}

fn window(start: Timestamp, length: Duration) -> RenewalWindow {
    RenewalWindow { start, end: start + length, explanation: None }
}

fn key(number: u32) -> SecretKey {
    SecretKey::new("web", &number.to_string())
}

fn is_ours(directory: &str) -> bool {
    directory == DIRECTORY
}

fn due(windows: &mut RenewalWindows, count: usize, at: Timestamp) -> Vec<(SecretKey, CertId)> {
    let due = windows.due(count, is_ours, at).into_iter();
    due.map(|(secret, id, _)| (secret, id)).collect()
}

#[test]
fn by_age_it_is_a_third_of_life_and_half_for_short_lives_and_a_little_earlier() {
    let lives = [
        (90 * DAY, 57 * DAY, 60 * DAY),
        (64 * DAY, 40 * DAY, 43 * DAY),
        (45 * DAY, 28 * DAY, 30 * DAY),
        (160 * HOUR, 72 * HOUR, 80 * HOUR),
    ];
    for (life, earliest, latest) in lives {
        let after = renewal(&leaf(life), AriStatus::None).since(now());
        assert!(after >= earliest && after <= latest, "{life:?}: {after:?}");
    }
}

#[test]
fn certificates_issued_together_are_not_renewed_together() {
    let at =
        |serial: u32| by_age(&CertificateView { serial: serial.to_string(), ..leaf(90 * DAY) });
    let times: BTreeSet<Timestamp> = (0..50).map(at).collect();
    assert!(times.len() > 40);
}

#[test]
fn a_moment_in_the_window_is_the_same_each_time_and_spread_over_certificates() {
    let suggested = window(now() + 60 * DAY, 43 * HOUR);
    let instants: BTreeSet<Timestamp> = (0..100).map(|n| suggested.instant(&id(n))).collect();
    assert_eq!(suggested.instant(&id(1)), suggested.instant(&id(1)));
    assert!(instants.len() > 90);
    let (first, last) = (*instants.first().unwrap(), *instants.last().unwrap());
    assert!(first >= suggested.start && last <= suggested.end);
    assert!(last.since(first) > 30 * HOUR, "all of the window is used");
}

#[test]
fn a_suggestion_goes_before_age_in_both_directions() {
    let leaf = leaf(90 * DAY);
    let later = window(now() + 65 * DAY, HOUR);
    assert!(renewal(&leaf, AriStatus::Window(&later)) >= now() + 65 * DAY);
    let revoked = window(now() - 2 * DAY, DAY);
    assert!(renewal(&leaf, AriStatus::Window(&revoked)) < now());
}

#[test]
fn a_window_of_never_leaves_time_to_try_again() {
    let leaf = leaf(90 * DAY);
    let never = window(now() + 4_000 * DAY, 365_000 * DAY);
    assert_eq!(renewal(&leaf, AriStatus::Window(&never)), now() + 75 * DAY);
}

#[test]
fn a_new_certificate_drops_the_window_of_the_one_before() {
    let mut renewal_windows = RenewalWindows::default();
    let found = secret(&["a.example.com"], now(), 90 * DAY);
    renewal_windows.record(&key(1), Some(&found), is_ours, now());
    let [(secret, first)] = &due(&mut renewal_windows, 9, now())[..] else { panic!("one is due") };
    renewal_windows.answered(secret, first, window(now(), HOUR), None, now());
    assert!(matches!(renewal_windows.of(&key(1), Some(first)), AriStatus::Window(_)));
    let mut renewed = found.clone();
    renewed.certificate.as_mut().unwrap().id = Some(id(2));
    renewal_windows.record(&key(1), Some(&renewed), is_ours, now());
    assert_eq!(renewal_windows.of(&key(1), Some(&id(2))), AriStatus::Unasked);
    assert_eq!(renewal_windows.of(&key(1), Some(first)), AriStatus::None);
    renewal_windows.answered(&key(1), first, window(now(), HOUR), None, now());
    assert_eq!(
        renewal_windows.of(&key(1), Some(&id(2))),
        AriStatus::Unasked,
        "it was about the old one"
    );
    renewal_windows.unanswered(&key(1), &id(2), None, now());
    assert_eq!(renewal_windows.of(&key(1), Some(&id(2))), AriStatus::None, "it cannot be had");
}

#[test]
fn only_ours_of_this_directory_are_asked_about() {
    let mut renewal_windows = RenewalWindows::default();
    let ours = secret(&["a.example.com"], now(), 90 * DAY);
    let foreign = SecretView { ours: false, ..ours.clone() };
    renewal_windows.record(&key(1), Some(&foreign), is_ours, now());
    renewal_windows.record(&key(2), Some(&ours), |_| false, now());
    renewal_windows.record(&key(3), None, is_ours, now());
    assert_eq!(due(&mut renewal_windows, 9, now()), []);
}

#[test]
fn the_ca_is_asked_as_often_as_it_wants_within_a_minute_and_a_day() {
    let asked_again = |again: Option<Duration>| {
        let mut renewal_windows = RenewalWindows::default();
        let found = secret(&["a.example.com"], now(), 90 * DAY);
        renewal_windows.record(&key(1), Some(&found), is_ours, now());
        let (secret, id) = due(&mut renewal_windows, 1, now()).pop().unwrap();
        renewal_windows.answered(&secret, &id, window(now(), HOUR), again, now());
        let is_due = |after: &Duration| !due(&mut renewal_windows, 1, now() + *after).is_empty();
        let minutes = (0..=1_500).map(|n| n * Duration::from_mins(1)).find(is_due);
        minutes.unwrap().as_secs() / 60
    };
    let cases = [
        (None, 360),
        (Some(Duration::ZERO), 1),
        (Some(Duration::from_hours(3)), 180),
        (Some(30 * DAY), 1_440),
    ];
    for (again, minutes) in cases {
        assert_eq!(asked_again(again), minutes, "{again:?}");
    }
}

#[test]
fn a_ca_that_does_not_answer_is_asked_less_and_less() {
    let mut renewal_windows = RenewalWindows::default();
    let found = secret(&["a.example.com"], now(), 90 * DAY);
    renewal_windows.record(&key(1), Some(&found), is_ours, now());
    let (mut at, mut asked) = (now(), Vec::new());
    while at < now() + DAY {
        if let Some((secret, id)) = due(&mut renewal_windows, 1, at).pop() {
            renewal_windows.unanswered(&secret, &id, None, at);
            asked.push(at.since(now()).as_secs() / 60);
        }
        at = at + Duration::from_mins(1);
    }
    assert_eq!(asked, [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 871, 1231]);
}

#[test]
fn who_was_not_asked_about_yet_waits_a_little_for_the_answer() {
    let leaf = leaf(90 * DAY);
    assert_eq!(renewal(&leaf, AriStatus::Unasked), now() + 67 * DAY + 12 * HOUR);
}

#[test]
fn when_more_are_due_than_can_be_asked_none_is_left_out() {
    let mut renewal_windows = RenewalWindows::default();
    for number in 0..20 {
        let mut found = secret(&["a.example.com"], now(), 90 * DAY);
        found.certificate.as_mut().unwrap().id = Some(id(number));
        renewal_windows.record(&key(number), Some(&found), is_ours, now());
    }
    let mut asked = BTreeSet::new();
    for round in 0..10 {
        let at = now() + round * Duration::from_mins(2);
        for (secret, id) in due(&mut renewal_windows, 4, at) {
            renewal_windows.answered(&secret, &id, window(now(), HOUR), Some(Duration::ZERO), at);
            asked.insert(secret);
        }
    }
    assert_eq!(asked.len(), 20, "though each is due again at once");
}

#[test]
fn renewals_by_age_are_spread_over_a_tenth_of_the_time_that_is_left() {
    let at =
        |serial: u32| by_age(&CertificateView { serial: serial.to_string(), ..leaf(90 * DAY) });
    let times: BTreeSet<Timestamp> = (0..100).map(at).collect();
    let (first, last) = (*times.first().unwrap(), *times.last().unwrap());
    assert!(first >= now() + 57 * DAY && last <= now() + 60 * DAY);
    assert!(last.since(first) > 2 * DAY, "of three days");
}

#[test]
fn a_life_of_ten_days_is_no_short_one() {
    let renewal = |life: Duration| renewal(&leaf(life), AriStatus::Unasked);
    assert_eq!(renewal(limits::SHORT_LIVED), now() + 180 * HOUR, "3/4 of a third is left");
    let shorter = limits::SHORT_LIVED.saturating_sub(8 * HOUR);
    assert_eq!(renewal(shorter), now() + 145 * HOUR, "3/4 of a half is left");
}

#[test]
fn a_window_has_begun_from_its_first_second_on() {
    let hour = window(now(), HOUR);
    let begun = |at: Timestamp| AriStatus::Window(&hour).is_within_window(at);
    assert!(begun(now()) && begun(now() + DAY));
    assert!(!begun(now() - Duration::from_secs(1)));
    assert!(
        !AriStatus::None.is_within_window(now()) && !AriStatus::Unasked.is_within_window(now())
    );
}

/// Windows of certificates with these numbers, recorded at these times, and their lives.
fn recorded(all: &[(u32, Timestamp, Duration)]) -> RenewalWindows {
    let mut renewal_windows = RenewalWindows::default();
    for (number, at, life) in all {
        let mut found = secret(&["a.example.com"], now(), *life);
        found.certificate.as_mut().unwrap().id = Some(id(*number));
        renewal_windows.record(&key(*number), Some(&found), is_ours, *at);
    }
    renewal_windows
}

#[test]
fn of_those_that_wait_since_the_same_minute_the_first_to_expire_is_asked_about_first() {
    let half_a_minute = now() + Duration::from_secs(30);
    let mut same = recorded(&[(1, now(), 90 * DAY), (2, half_a_minute, 45 * DAY)]);
    assert_eq!(due(&mut same, 1, half_a_minute), [(key(2), id(2))]);
    let minute = now() + Duration::from_mins(1);
    let mut later = recorded(&[(1, now(), 90 * DAY), (2, minute, 45 * DAY)]);
    assert_eq!(due(&mut later, 1, minute), [(key(1), id(1))]);
}

#[test]
fn a_question_without_an_answer_is_asked_again_after_six_hours_and_never_after_the_expiry() {
    let mut renewal_windows = recorded(&[(1, now(), DAY)]);
    assert_eq!(due(&mut renewal_windows, 9, now()).len(), 1);
    let again = now() + limits::ARI_RETRY_MAX;
    assert_eq!(due(&mut renewal_windows, 9, again - Duration::from_secs(1)), []);
    assert_eq!(due(&mut renewal_windows, 9, again).len(), 1);
    assert_eq!(due(&mut renewal_windows, 9, now() + DAY), []);
    assert_eq!(renewal_windows.of(&key(1), Some(&id(1))), AriStatus::None, "it is forgotten");
}

#[test]
fn nobody_is_asked_about_a_secret_that_is_gone() {
    let mut renewal_windows = recorded(&[(1, now(), 90 * DAY), (2, now(), 90 * DAY)]);
    renewal_windows.forget(&key(1));
    renewal_windows.record(&key(2), None, is_ours, now());
    assert_eq!(due(&mut renewal_windows, 9, now()), []);
}

#[test]
fn no_answer_is_waited_for_where_the_ca_has_no_windows() {
    let mut renewal_windows = recorded(&[(1, now(), 90 * DAY)]);
    assert_eq!(renewal_windows.of(&key(1), Some(&id(1))), AriStatus::Unasked);
    assert!(renewal_windows.are_unsupported(DIRECTORY));
    assert_eq!(renewal_windows.of(&key(1), Some(&id(1))), AriStatus::None);
}
