//! Orders from creation to expiry; the time is an argument.

use super::super::profiles::profile;
use super::*;

fn start() -> Timestamp {
    "2026-11-24T09:00:00Z".parse().unwrap()
}

fn wanted(names: &[&str]) -> Wanted {
    let names: Names = names.iter().map(|name| Box::from(*name)).collect();
    let (set, profile) = (SetId::of(&names), profile(None).unwrap());
    Wanted { account: 1, names, set, profile, replaces: None, exemption: Exemption::No }
}

fn open(orders: &mut Orders, names: &[&str], now: Timestamp) -> OrderId {
    orders.open(wanted(names), &mut fastrand::Rng::with_seed(1), now).0
}

fn status(orders: &Orders, id: OrderId, now: Timestamp) -> Status {
    orders.status(orders.get(1, id).unwrap(), now)
}

fn validate(orders: &mut Orders, id: OrderId, outcome: &Result<(), Problem>, now: Timestamp) {
    for authorization in orders.get(1, id).unwrap().authorizations.clone() {
        _ = orders.authorizations.respond(1, (authorization, Kind::Http01), now);
        orders.authorizations.validated(authorization, outcome.clone(), now);
    }
}

#[test]
fn an_order_is_pending_ready_processing_and_valid_in_turn() {
    let (mut orders, now) = (Orders::new(10, Reuse::ByProfile), start());
    let id = open(&mut orders, &["a.example.com", "b.example.com"], now);
    assert_eq!(status(&orders, id, now), Status::Pending);
    validate(&mut orders, id, &Ok(()), now);
    assert_eq!(status(&orders, id, now), Status::Ready);
    let later = now + SignedDuration::from_secs(5);
    orders.issue(id, Serial::new(1), later);
    assert_eq!(status(&orders, id, now), Status::Processing);
    assert_eq!(status(&orders, id, later), Status::Valid);
}

#[test]
fn one_failed_deactivated_or_expired_authorization_makes_an_order_invalid() {
    let (mut orders, now) = (Orders::new(10, Reuse::Never), start());
    let id = open(&mut orders, &["a.example.com"], now);
    validate(&mut orders, id, &Err(Problem::unauthorized("no")), now);
    assert_eq!(status(&orders, id, now), Status::Invalid);
    let id = open(&mut orders, &["a.example.com"], now);
    validate(&mut orders, id, &Ok(()), now);
    let authorization = orders.get(1, id).unwrap().authorizations[0];
    orders.authorizations.deactivate(1, authorization, now).unwrap();
    assert_eq!(status(&orders, id, now), Status::Invalid);
    assert!(orders.authorizations.deactivate(1, authorization, now).is_err());
    let id = open(&mut orders, &["a.example.com"], now);
    assert_eq!(status(&orders, id, now + SignedDuration::from_hours(7 * 24)), Status::Invalid);
}

#[test]
fn a_valid_authorization_is_used_again_until_it_expires() {
    let (mut orders, now) = (Orders::new(10, Reuse::ByProfile), start());
    let id = open(&mut orders, &["a.example.com"], now);
    validate(&mut orders, id, &Ok(()), now);
    let second = open(&mut orders, &["a.example.com", "b.example.com"], now);
    assert_eq!(status(&orders, second, now), Status::Pending);
    let shared = orders.get(1, id).unwrap().authorizations[0];
    assert_eq!(orders.get(1, second).unwrap().authorizations[0], shared);
    let later = now + SignedDuration::from_hours(30 * 24);
    let third = open(&mut orders, &["a.example.com"], later);
    assert_ne!(orders.get(1, third).unwrap().authorizations[0], shared);
}

/// Let's Encrypt's 7 hours, from 2028-02-16 for all profiles.
#[test]
fn a_ca_may_use_an_authorization_for_seven_hours_whatever_the_profile() {
    let reuse = Reuse::For(std::time::Duration::from_hours(7));
    let (mut orders, now) = (Orders::new(10, reuse), start());
    let id = open(&mut orders, &["a.example.com"], now);
    validate(&mut orders, id, &Ok(()), now);
    let before = now + SignedDuration::from_hours(7) - SignedDuration::from_secs(1);
    let second = open(&mut orders, &["a.example.com"], before);
    assert_eq!(status(&orders, second, before), Status::Ready);
    let later = now + SignedDuration::from_hours(7);
    let third = open(&mut orders, &["a.example.com"], later);
    assert_eq!(status(&orders, third, later), Status::Pending);
    assert_eq!(status(&orders, second, later), Status::Invalid);
}

#[test]
fn a_challenge_is_accepted_once() {
    let (mut orders, now) = (Orders::new(10, Reuse::ByProfile), start());
    let id = open(&mut orders, &["a.example.com"], now);
    let authorization = orders.get(1, id).unwrap().authorizations[0];
    let begins = |orders: &mut Orders| {
        orders
            .authorizations
            .respond(1, (authorization, Kind::Http01), now)
            .map(|(_, begins)| begins)
    };
    assert_eq!(begins(&mut orders), Ok(true));
    assert_eq!(begins(&mut orders), Ok(false));
    orders.authorizations.validated(authorization, Err(Problem::unauthorized("no")), now);
    assert_eq!(begins(&mut orders).unwrap_err().kind, "malformed");
    assert!(orders.authorizations.respond(2, (authorization, Kind::Http01), now).is_err());
}

#[test]
fn the_same_order_is_found_while_it_waits_for_its_client() {
    let (mut orders, now) = (Orders::new(10, Reuse::ByProfile), start());
    let id = open(&mut orders, &["a.example.com"], now);
    assert_eq!(orders.same(&wanted(&["a.example.com"]), now), Some(id));
    assert_eq!(orders.same(&wanted(&["b.example.com"]), now), None);
    validate(&mut orders, id, &Ok(()), now);
    orders.issue(id, Serial::new(1), now);
    assert_eq!(orders.same(&wanted(&["a.example.com"]), now), None);
}

#[test]
fn another_accounts_order_is_not_found() {
    let (mut orders, now) = (Orders::new(10, Reuse::ByProfile), start());
    let id = open(&mut orders, &["a.example.com"], now);
    assert_eq!(orders.get(2, id).unwrap_err().status, 404);
    assert_eq!(orders.get(1, 7).unwrap_err().status, 404);
}

#[test]
fn of_orders_that_are_over_only_so_many_are_remembered_and_open_ones_all() {
    let (mut orders, now) = (Orders::new(100, Reuse::Never), start());
    let waiting = open(&mut orders, &["waiting.example.com"], now);
    let mut forgotten = 0;
    for number in 0..1_000_u128 {
        let names = wanted(&[&format!("h{number}.example.com")]);
        let (id, old) = orders.open(names, &mut fastrand::Rng::with_seed(1), now);
        forgotten += old.len();
        validate(&mut orders, id, &Ok(()), now);
        orders.issue(id, Serial::new(number), now);
    }
    assert!(orders.all.len() <= 102, "{}", orders.all.len());
    assert_eq!(forgotten + orders.all.len(), 1_001);
    assert_eq!(orders.authorizations.len(), orders.all.len());
    assert_eq!(status(&orders, waiting, now), Status::Pending);
}
