//! Let's Encrypt's limits; the time is an argument.

use jiff::SignedDuration;

use super::*;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn start() -> Timestamp {
    "2026-11-24T09:00:00Z".parse().unwrap()
}

fn names(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|name| (*name).into()).collect()
}

fn order(
    meter: &mut Meter,
    names: &[Box<str>],
    exemption: Exemption,
    now: Timestamp,
) -> Result<(), Problem> {
    let by = LimitedOrder { account: 1, names, set: SetId::of(names), exemption };
    meter.order(by, now)?;
    meter.issued(by, now);
    Ok(())
}

#[test]
fn the_301st_order_of_an_account_waits_36_seconds() {
    let (mut meter, now) = (Meter::new(&Limits::lets_encrypt()), start());
    for number in 0..300 {
        let names = names(&[&format!("a.domain{number}.com")]);
        order(&mut meter, &names, Exemption::No, now).unwrap();
    }
    let names = names(&["a.example.com"]);
    let refused = order(&mut meter, &names, Exemption::No, now).unwrap_err();
    let text = "too many new orders (300) from this account in the last 3h0m0s, retry after \
                2026-11-24 09:00:36 UTC: see https://letsencrypt.org/docs/rate-limits/#new-orders-per-account";
    assert_eq!((refused.status, refused.detail.as_str()), (429, text));
    let later = now + SignedDuration::from_secs(36);
    assert_eq!(refused.retry_at, Some(later));
    assert_eq!(order(&mut meter, &names, Exemption::No, later), Ok(()));
}

#[test]
fn the_51st_certificate_of_a_registered_domain_is_refused_but_for_renewals() {
    let (mut meter, now) = (Meter::new(&Limits::lets_encrypt()), start());
    for number in 0..50 {
        order(&mut meter, &names(&[&format!("h{number}.example.com")]), Exemption::No, now)
            .unwrap();
    }
    let refused = order(&mut meter, &names(&["x.example.com"]), Exemption::No, now).unwrap_err();
    let text = "too many certificates (50) already issued for \"example.com\" in the last 168h0m0s, retry after ";
    assert!(refused.detail.starts_with(text), "{}", refused.detail);
    assert_eq!(order(&mut meter, &names(&["h1.example.com"]), Exemption::Renewal, now), Ok(()));
    assert_eq!(order(&mut meter, &names(&["x.example.org"]), Exemption::No, now), Ok(()));
}

#[test]
fn the_sixth_certificate_of_an_exact_set_is_refused_also_to_a_renewal_but_not_to_a_replacement() {
    let (mut meter, now) = (Meter::new(&Limits::lets_encrypt()), start());
    let set = names(&["a.example.com", "b.example.com"]);
    for _ in 0..5 {
        order(&mut meter, &set, Exemption::Renewal, now).unwrap();
    }
    let refused = order(&mut meter, &set, Exemption::Renewal, now).unwrap_err();
    let text = "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s";
    assert!(refused.detail.starts_with(text), "{}", refused.detail);
    assert_eq!(order(&mut meter, &set, Exemption::Replacement, now), Ok(()));
    assert_eq!(order(&mut meter, &names(&["a.example.com"]), Exemption::No, now), Ok(()));
}

#[test]
fn five_failures_of_a_name_keep_it_out_of_orders_of_that_account_for_12_minutes() {
    let (mut meter, now) = (Meter::new(&Limits::lets_encrypt()), start());
    for _ in 0..5 {
        meter.failed(1, "a.example.com", now);
    }
    let bad = names(&["a.example.com", "b.example.com"]);
    let refused = order(&mut meter, &bad, Exemption::No, now).unwrap_err();
    let text = "too many failed authorizations (5) for \"a.example.com\" in the last 1h0m0s, retry after \
                2026-11-24 09:12:00 UTC";
    assert!(refused.detail.starts_with(text), "{}", refused.detail);
    assert_eq!(order(&mut meter, &names(&["b.example.com"]), Exemption::No, now), Ok(()));
    let by =
        LimitedOrder { account: 2, names: &bad, set: SetId::of(&bad), exemption: Exemption::No };
    assert_eq!(meter.order(by, now), Ok(()));
}

#[test]
fn of_several_limits_the_one_that_lasts_longest_is_reported() {
    let (mut meter, now) = (Meter::new(&Limits::lets_encrypt()), start());
    let set = names(&["a.example.com"]);
    for _ in 0..5 {
        order(&mut meter, &set, Exemption::No, now).unwrap();
        meter.failed(1, "a.example.com", now);
    }
    let refused = order(&mut meter, &set, Exemption::No, now).unwrap_err();
    assert!(refused.detail.contains("exact set"), "{}", refused.detail);
    assert!(refused.retry_at.unwrap() > now + SignedDuration::from_hours(33));
}

#[test]
fn a_refused_order_costs_nothing() {
    let limits = Limits::lets_encrypt();
    let orders = Some(Rate { count: 1, per: Duration::from_mins(1) });
    let mut meter = Meter::new(&Limits { orders, ..limits });
    let now = start();
    for _ in 0..5 {
        meter.failed(1, "a.example.com", now);
    }
    assert!(order(&mut meter, &names(&["a.example.com"]), Exemption::No, now).is_err());
    assert_eq!(order(&mut meter, &names(&["b.example.com"]), Exemption::No, now), Ok(()));
}

#[test]
fn a_name_that_never_succeeds_is_paused_until_it_is_unpaused() {
    let mut meter = Meter::new(&Limits::unlimited());
    meter.limits.pause = Some(Rate { count: 3, per: Duration::from_hours(72) });
    let (now, bad) = (start(), names(&["a.example.com"]));
    for _ in 0..3 {
        meter.failed(1, "a.example.com", now);
    }
    meter.passed(1, "a.example.com");
    for _ in 0..3 {
        meter.failed(1, "a.example.com", now);
    }
    assert_eq!(order(&mut meter, &bad, Exemption::No, now), Ok(()));
    meter.failed(1, "a.example.com", now);
    let refused = order(&mut meter, &bad, Exemption::Replacement, now).unwrap_err();
    assert!(refused.detail.contains("prevented from requesting certificates for a.example.com"));
    assert!(refused.detail.contains("Please visit: https://"), "{}", refused.detail);
    let much_later = now + SignedDuration::from_hours(1_000);
    assert!(order(&mut meter, &bad, Exemption::No, much_later).is_err());
    meter.unpause(1);
    assert_eq!(order(&mut meter, &bad, Exemption::No, now), Ok(()));
}

#[test]
fn an_address_may_register_ten_accounts_and_then_one_every_18_minutes() {
    let (mut meter, now) = (Meter::new(&Limits::lets_encrypt()), start());
    for _ in 0..10 {
        meter.register(ADDRESS, now).unwrap();
    }
    let refused = meter.register(ADDRESS, now).unwrap_err();
    assert_eq!(refused.retry_at, Some(now + SignedDuration::from_mins(18)));
    assert!(refused.detail.starts_with("too many new registrations (10) from this IP address"));
}

#[test]
fn the_load_balancer_says_503_beyond_the_burst() {
    let (mut meter, now) = (Meter::new(&Limits::lets_encrypt()), start());
    for _ in 0..10 {
        meter.request("new-nonce", ADDRESS, now).unwrap();
    }
    assert_eq!(meter.request("new-nonce", ADDRESS, now).unwrap_err().status, 503);
    assert_eq!(meter.request("order", ADDRESS, now), Ok(()));
    let soon = now + SignedDuration::from_millis(50);
    assert_eq!(meter.request("new-nonce", ADDRESS, soon), Ok(()));
}

#[test]
fn full_buckets_are_thrown_away() {
    let mut meter = Meter::new(&Limits::lets_encrypt());
    let mut now = start();
    for number in 0..20_000 {
        now += SignedDuration::from_hours(2);
        meter.failed(number, "a.example.com", now);
    }
    assert!(meter.buckets.len() < 2 * SWEEP_FROM + 1, "{}", meter.buckets.len());
}
