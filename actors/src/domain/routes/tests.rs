//! Routes: the writes, their time, and the objects that stay.

use super::*;
use crate::domain::desired::desired_certificate::WantedRoute;
use crate::domain::name::DnsName;

/// Whether the job of a Secret needs the solver Ingress `name`.
fn needs(table: &RouteTable, secret: &str, name: &SolverName) -> bool {
    table.shards_of(&stream(secret)).any(|shard| shard == name)
}

fn routes(hosts: &[&str]) -> Vec<WantedRoute> {
    newer(hosts, Timestamp::default())
}

/// Routes of hosts whose newest Ingress was created at `newest`.
fn newer(hosts: &[&str], newest: Timestamp) -> Vec<WantedRoute> {
    let wanted = |host: &&str| WantedRoute { newest, ..wanted(IngressClass::Default, host, host) };
    let mut wanted: Vec<WantedRoute> = hosts.iter().map(wanted).collect();
    wanted.sort_by(|one, other| one.host.cmp(&other.host));
    wanted
}

/// The route of `name` through the rule of `host`.
fn wanted(class: IngressClass, name: &str, host: &str) -> WantedRoute {
    let rule = RuleHost::parse(host).unwrap();
    WantedRoute {
        host: DnsName::parse(name).unwrap(),
        route: Route { class, rule, place: SolverPlace::Shared },
        newest: Timestamp::default(),
    }
}

fn names(hosts: &[&str]) -> BTreeSet<RuleHost> {
    hosts.iter().map(|host| RuleHost::parse(host).unwrap()).collect()
}

fn of_class(class: &str, host: &str) -> WantedRoute {
    wanted(IngressClass::Named(class.into()), host, host)
}

fn stream(name: &str) -> SecretKey {
    SecretKey::new("web", name)
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

#[test]
fn names_of_one_wildcard_rule_share_a_route_that_stays_until_the_last_one_is_done() {
    let mut table = RouteTable::default();
    let by = |name: &str, host: &str| [wanted(IngressClass::Default, name, host)];
    table.hold(&stream("a"), &by("a.example.com", "*.example.com"), at(0));
    table.hold(&stream("b"), &by("b.example.com", "*.example.com"), at(0));
    let write = table.next_write([], at(0)).unwrap();
    assert_eq!(write.hosts, names(&["*.example.com"]));
    table.written(&write, at(1));
    assert!(table.is_in_place(&stream("a"), None) && table.is_in_place(&stream("b"), None));
    table.release(&stream("a"), at(1));
    assert_eq!(table.expire(at(1_000)), None, "the other name needs it");
    assert_eq!(table.next_write([], at(1_000)), None);
    table.release(&stream("b"), at(1_000));
    table.expire(at(2_000));
    assert_eq!(table.next_write([], at(2_000)).unwrap().hosts, names(&[]));
}

#[test]
fn exact_names_and_wildcards_are_in_solver_ingresses_of_their_own() {
    let mut table = RouteTable::default();
    let hosts = ["a.example.com", "b.example.com", "*.example.com", "*"];
    for host in hosts {
        let wanted = [wanted(IngressClass::Default, "a.example.com", host)];
        table.hold(&stream(host), &wanted, at(0));
    }
    let written: Vec<_> =
        std::iter::from_fn(|| table.next_write([], at(0))).map(|write| write.hosts).collect();
    assert_eq!(written.len(), 3);
    for kind in [&hosts[..2], &hosts[2..3], &hosts[3..]] {
        assert!(written.contains(&names(kind)), "{written:?}");
    }
}

#[test]
fn hosts_gather_into_one_write() {
    let mut table = RouteTable::default();
    table.hold(&stream("a"), &routes(&["a.example.com"]), at(0));
    table.hold(&stream("b"), &routes(&["b.example.com"]), at(0));
    assert_eq!(
        table.next_write([], at(0)).unwrap().hosts,
        names(&["a.example.com", "b.example.com"])
    );
    assert_eq!(table.next_write([], at(0)), None);
}

#[test]
fn a_host_stays_while_anyone_holds_it_and_lingers_after() {
    let mut table = RouteTable::default();
    table.hold(&stream("a"), &routes(&["a.example.com"]), at(0));
    table.hold(&stream("b"), &routes(&["a.example.com"]), at(0));
    table.next_write([], at(0));
    table.release(&stream("a"), at(0));
    assert_eq!(table.expire(at(60)), None);
    table.release(&stream("b"), at(60));
    assert_eq!(table.expire(at(60)), Some(at(70)));
    assert_eq!(table.next_write([], at(0)), None);
    assert_eq!(table.expire(at(70)), None);
    assert!(table.next_write([], at(0)).unwrap().hosts.is_empty());
    assert!(table.routes.is_empty());
}

#[test]
fn a_host_that_is_still_there_needs_no_write() {
    let mut table = RouteTable::default();
    table.hold(&stream("a"), &routes(&["a.example.com"]), at(0));
    table.next_write([], at(0));
    table.release(&stream("a"), at(0));
    table.hold(&stream("a"), &routes(&["a.example.com"]), at(0));
    assert_eq!(table.expire(at(100)), None);
    assert_eq!(table.next_write([], at(0)), None);
}

#[test]
fn a_shard_never_grows_past_its_bound() {
    let mut table = RouteTable::default();
    for n in 0..250 {
        table.hold(&stream("a"), &routes(&[&format!("h{n}.example.com")]), at(0));
    }
    let sizes: Vec<usize> =
        std::iter::from_fn(|| table.next_write([], at(0))).map(|w| w.hosts.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
}

#[test]
fn what_is_found_at_start_goes_unless_it_is_claimed() {
    let mut table = RouteTable::default();
    let hosts = names(&["old.example.com", "live.example.com"]);
    let found = SolverIngress {
        name: SolverName::own("found"),
        class: IngressClass::Default,
        place: SolverPlace::Shared,
        hosts,
        created: Some(at(1)),
        generation: 1,
    };
    table.compare(vec![found.clone()], at(0));
    table.hold(&stream("live"), &routes(&["live.example.com"]), at(0));
    assert!(needs(&table, "live", &found.name));
    assert_eq!(table.next_write([], at(0)), None);
    table.expire(at(0) + limits::ROUTE_GRACE);
    assert_eq!(table.next_write([], at(0)).unwrap().hosts, names(&["live.example.com"]));
}

#[test]
fn a_failed_write_is_done_again_with_what_came_since() {
    let mut table = RouteTable::default();
    table.hold(&stream("a"), &routes(&["a.example.com"]), at(0));
    let write = table.next_write([], at(0)).unwrap();
    table.hold(&stream("b"), &routes(&["b.example.com"]), at(0));
    _ = table.failed(write, at(0));
    assert_eq!(table.next_write([], at(0)), None);
    assert_eq!(table.next_write([], at(0) + limits::ROUTE_RETRY).unwrap().hosts.len(), 2);
}

#[test]
fn what_differs_from_what_should_be_is_written_again() {
    let mut table = RouteTable::default();
    table.hold(&stream("a"), &routes(&["a.example.com"]), at(0));
    let write = table.next_write([], at(0)).unwrap();
    table.compare(vec![write.clone()], at(0));
    assert_eq!(table.next_write([], at(0)), None);
    let more = SolverIngress { hosts: names(&["a.example.com", "b.example.com"]), ..write.clone() };
    table.compare(vec![more], at(0));
    assert_eq!(table.next_write([], at(0)), Some(write.clone()));
    table.compare(vec![], at(0));
    assert_eq!(table.next_write([], at(0)), Some(write));
}

#[test]
fn a_refused_host_is_alone_with_its_refusal() {
    let mut table = RouteTable::default();
    table.hold(&stream("old"), &routes(&["old.example.com"]), at(0));
    let write = table.next_write([], at(0)).unwrap();
    table.written(&write, at(0));
    table.hold(&stream("bad"), &routes(&["bad.example.com"]), at(0));
    table.hold(&stream("good"), &routes(&["good.example.com"]), at(0));
    let refused = table.next_write([], at(0)).unwrap();
    assert!(table.isolate(&refused));
    let solos: Vec<SolverIngress> = std::iter::from_fn(|| table.next_write([], at(0))).collect();
    assert_eq!(solos.len(), 2);
    for solo in solos {
        assert_eq!(solo.hosts.len(), 1);
        assert!(!table.isolate(&solo), "there is nothing left to take apart");
        assert_eq!(needs(&table, "bad", &solo.name), solo.hosts == names(&["bad.example.com"]));
    }
    assert!(table.is_in_place(&stream("old"), None));
}

/// An admission webhook may refuse any write because of somebody else's Ingress.
#[test]
fn a_refused_removal_is_tried_again_later_and_holds_up_no_other() {
    let mut table = RouteTable::default();
    table.hold(&stream("a"), &routes(&["a.example.com"]), at(0));
    table.hold(&stream("b"), &routes(&["b.example.com"]), at(0));
    let write = table.next_write([], at(0)).unwrap();
    table.written(&write, at(0));
    table.release(&stream("a"), at(0));
    let later = at(0) + limits::ROUTE_LINGER;
    table.expire(later);
    let removal = table.next_write([], later).unwrap();
    assert!(!table.isolate(&removal), "there is no new host");
    assert_eq!(table.failed(removal, later), limits::ROUTE_RETRY);
    assert_eq!(table.next_write([], later), None);
    assert!(table.is_in_place(&stream("b"), None), "its route is there");
    table.hold(&stream("d"), &routes(&["a.example.com"]), at(0));
    assert!(!table.is_in_place(&stream("d"), None), "it may have been removed");
    table.hold(&stream("c"), &routes(&["c.example.com"]), at(0));
    assert!(!table.is_in_place(&stream("c"), None));
    assert!(table.next_write([], later + limits::ROUTE_RETRY).is_some());
}

#[test]
fn a_removal_that_is_always_refused_is_tried_ever_more_rarely_and_a_new_host_is_not() {
    for hosts in [&["a.example.com"][..], &["a.example.com", "b.example.com"]] {
        let mut table = RouteTable::default();
        table.hold(&stream("a"), &routes(&hosts[..1]), at(0));
        table.hold(&stream("b"), &routes(&hosts[1..]), at(0));
        let write = table.next_write([], at(0)).unwrap();
        table.written(&write, at(0));
        table.release(&stream("a"), at(0));
        let (mut now, mut tried) = (at(0) + limits::ROUTE_LINGER, 0);
        table.expire(now);
        while now < at(86_400) {
            let removal = table.next_write([], now).unwrap();
            now = now + table.failed(removal, now);
            tried += 1;
        }
        assert!((100..200).contains(&tried), "{tried} removals in a day");
        table.hold(&stream("c"), &routes(&["c.example.com"]), at(0));
        assert!(table.next_write([&stream("c")], at(86_400)).is_some(), "a job waits");
    }
}

#[test]
fn a_solver_ingress_that_cannot_be_written_holds_up_no_other() {
    let mut table = RouteTable::default();
    table.hold(&stream("a"), &routes(&["a.example.com"]), at(0));
    let write = table.next_write([], at(0)).unwrap();
    _ = table.failed(write, at(0));
    let other = of_class("other", "b.example.com");
    table.hold(&stream("b"), std::slice::from_ref(&other), at(0));
    assert_eq!(table.next_write([], at(0)).unwrap().class, other.route.class);
}

#[test]
fn what_a_waiting_job_needs_is_written_before_the_classes_of_others() {
    let mut table = RouteTable::default();
    for number in 0..300 {
        let wanted = of_class(&format!("c{number}"), &format!("h{number}.example.com"));
        let stream = SecretKey::new("many", &format!("s{number}"));
        table.hold(&stream, &[wanted], at(0));
    }
    let waits = SecretKey::new("one", "shop");
    table.hold(&waits, &routes(&["shop.example.com"]), at(0));
    let first = table.next_write([&waits], at(0)).unwrap();
    assert_eq!((first.class, first.hosts), (IngressClass::Default, names(&["shop.example.com"])));
    assert!(table.next_write([&waits], at(0)).is_some_and(|other| other.name != first.name));
}

/// The API server's answer to a write: it has created the solver Ingress at `created`, or before.
fn accept(table: &mut RouteTable, write: &SolverIngress, created: i64, now: i64) {
    table.written(&SolverIngress { created: Some(at(created)), ..write.clone() }, at(now));
}

/// A controller of F5's gives a host to its oldest Ingress: an older solver Ingress would take a
/// site off the air.
#[test]
fn a_host_is_only_put_into_a_solver_ingress_younger_than_its_ingresses() {
    let mut table = RouteTable::default();
    table.hold(&stream("old"), &newer(&["old.example.com"], at(10)), at(12));
    let first = table.next_write([], at(12)).unwrap();
    accept(&mut table, &first, 12, 12);
    table.hold(&stream("older"), &newer(&["older.example.com"], at(11)), at(20));
    let second = table.next_write([], at(20)).unwrap();
    assert_eq!((&second.name, second.hosts.len()), (&first.name, 2), "it is younger than both");
    accept(&mut table, &second, 12, 20);
    for (name, created) in [("same", 12), ("new", 19)] {
        let host = format!("{name}.example.com");
        table.hold(&stream(name), &newer(&[&host], at(created)), at(20));
        assert!(!needs(&table, name, &first.name), "{name}");
    }
    let third = table.next_write([], at(20)).unwrap();
    assert_eq!(third.hosts, names(&["new.example.com", "same.example.com"]));
    assert_eq!(table.next_write([], at(20)), None);
}

#[test]
fn a_host_whose_ingress_is_made_again_moves_and_is_routed_all_the_time() {
    let mut table = RouteTable::default();
    table.hold(&stream("a"), &newer(&["a.example.com", "b.example.com"], at(10)), at(12));
    let first = table.next_write([], at(12)).unwrap();
    accept(&mut table, &first, 12, 12);
    table.hold(&stream("c"), &newer(&["a.example.com"], at(15)), at(17));
    let writes = [(); 3].map(|()| {
        let write = table.next_write([], at(17));
        let has_left = write.as_ref().is_none_or(|write| write.name == first.name);
        let write = write.inspect(|write| accept(&mut table, write, 17, 17));
        assert_eq!(table.is_in_place(&stream("c"), None), has_left, "the old one may answer");
        write
    });
    let hosts = writes.map(|write| write.map(|write| (write.name == first.name, write.hosts)));
    let [new, old] = [names(&["a.example.com"]), names(&["b.example.com"])];
    assert_eq!(hosts, [Some((false, new)), Some((true, old)), None], "the new one comes first");
    assert!(table.is_in_place(&stream("a"), None));
    assert_eq!(table.settled_at(&stream("c")), Some(at(17) + limits::ROUTE_LAG));
}

#[test]
fn a_new_ingress_takes_its_hosts_out_of_older_solver_ingresses_at_once() {
    let mut table = RouteTable::default();
    for (name, host) in [("a", "a.example.com"), ("b", "b.example.com"), ("c", "c.example.com")] {
        table.hold(&stream(name), &newer(&[host], at(10)), at(12));
    }
    let first = table.next_write([], at(12)).unwrap();
    accept(&mut table, &first, 12, 12);
    table.release(&stream("b"), at(14));
    let created = |host: &str, secs| ((None, RuleHost::parse(host).unwrap()), at(secs));
    let new = [("a.example.com", 15), ("b.example.com", 15), ("c.example.com", 11)];
    table.outdate(&new.map(|(host, secs)| created(host, secs)).into(), at(15));
    table.expire(at(15));
    let writes: Vec<BTreeSet<RuleHost>> =
        std::iter::from_fn(|| table.next_write([], at(15))).map(|write| write.hosts).collect();
    assert_eq!(writes, [names(&["a.example.com"]), names(&["c.example.com"])]);
}

/// Whole seconds, and API servers whose clocks differ.
#[test]
fn a_solver_ingress_that_turns_out_too_old_is_made_again_once_the_clock_has_passed() {
    for (newest, again) in [(12, 13), (20, 21)] {
        let mut table = RouteTable::default();
        table.hold(&stream("a"), &newer(&["a.example.com"], at(newest)), at(12));
        let first = table.next_write([], at(12)).unwrap();
        accept(&mut table, &first, 12, 12);
        assert!(!table.is_in_place(&stream("a"), None));
        let removal = table.next_write([], at(12)).unwrap();
        assert_eq!((&removal.name, removal.hosts.len()), (&first.name, 0));
        accept(&mut table, &removal, 12, 12);
        assert_eq!(table.next_write([], at(again - 1)), None);
        let second = table.next_write([], at(again)).unwrap();
        assert_eq!(second.hosts, names(&["a.example.com"]));
        accept(&mut table, &second, newest + 1, again);
        assert!(table.is_in_place(&stream("a"), None));
    }
}

#[test]
fn a_creation_in_the_far_future_keeps_no_host_without_a_route() {
    let mut table = RouteTable::default();
    let far = at(13) + limits::CREATION_SKEW;
    table.hold(&stream("a"), &newer(&["a.example.com"], far), at(12));
    let first = table.next_write([], at(12)).unwrap();
    accept(&mut table, &first, 12, 12);
    assert!(table.is_in_place(&stream("a"), None));
}

/// Withdraws `a.example.com`, whose removal ends at 100.
fn withdrawn(ended: impl Fn(&mut RouteTable, SolverIngress)) -> RouteTable {
    let mut table = RouteTable::default();
    table.hold(&stream("a"), &routes(&["a.example.com"]), at(0));
    let write = table.next_write([], at(0)).unwrap();
    accept(&mut table, &write, 0, 0);
    table.release(&stream("a"), at(80));
    table.expire(at(90));
    let removal = table.next_write([], at(90)).unwrap();
    ended(&mut table, removal);
    table
}

#[test]
fn a_host_that_comes_back_is_believed_once_its_withdrawal_is_applied() {
    let settled = |table: &mut RouteTable, now: i64| {
        table.expire(at(now));
        table.hold(&stream("b"), &routes(&["a.example.com", "b.example.com"]), at(now));
        table.settled_at(&stream("b"))
    };
    let applied = at(100) + limits::ROUTE_LAG;
    let mut table = withdrawn(|table, removal| accept(table, &removal, 0, 100));
    assert_eq!(settled(&mut table, 101), Some(applied));
    assert_eq!(settled(&mut table, applied.as_secs()), None);
    let mut failed = withdrawn(|table, removal| _ = table.failed(removal, at(100)));
    assert_eq!(settled(&mut failed, 101), Some(applied), "it may have been accepted");
}

#[test]
fn a_host_that_is_back_before_its_deletion_has_ended_gets_a_solver_ingress_of_its_own() {
    let mut table = RouteTable::default();
    table.hold(&stream("a"), &routes(&["a.example.com"]), at(0));
    let write = table.next_write([], at(0)).unwrap();
    accept(&mut table, &write, 0, 0);
    table.release(&stream("a"), at(0));
    table.expire(at(10));
    let removal = table.next_write([], at(10)).unwrap();
    table.hold(&stream("a"), &routes(&["a.example.com"]), at(10));
    accept(&mut table, &removal, 0, 11);
    assert!(!table.is_in_place(&stream("a"), None));
    let again = table.next_write([], at(11)).unwrap();
    assert_ne!(again.name, removal.name);
    assert_eq!(table.settled_at(&stream("a")), Some(at(11) + limits::ROUTE_LAG));
}

#[test]
fn each_host_of_a_master_has_a_solver_ingress_that_is_a_minion_of_one_host() {
    let mut table = RouteTable::default();
    let mut wanted = routes(&["a.example.com", "b.example.com", "c.example.com"]);
    wanted.iter_mut().take(2).for_each(|wanted| wanted.route.place = SolverPlace::Minion);
    table.hold(&stream("a"), &wanted, at(0));
    let mut writes: Vec<SolverIngress> =
        std::iter::from_fn(|| table.next_write([], at(0))).collect();
    writes.sort_by(|a, b| a.hosts.cmp(&b.hosts));
    let places = writes.into_iter().map(|write| (write.place, write.hosts.len()));
    let [minion, shared] = [SolverPlace::Minion, SolverPlace::Shared];
    assert_eq!(places.collect::<Vec<_>>(), [(minion.clone(), 1), (minion, 1), (shared, 1)]);
}

/// A solver Ingress of one refused host is named after it, so that the host may come back there.
#[test]
fn a_host_that_comes_back_to_the_solver_ingress_it_has_left_is_in_place() {
    let mut table = RouteTable::default();
    let refused = |table: &mut RouteTable, now: i64| {
        let write = table.next_write([], at(now)).unwrap();
        assert!(table.isolate(&write));
        let solo = table.next_write([], at(now)).unwrap();
        accept(table, &solo, now, now);
        solo.name
    };
    table.hold(&stream("a"), &newer(&["a.example.com"], at(0)), at(1));
    let first = refused(&mut table, 1);
    table.hold(&stream("a"), &newer(&["a.example.com"], at(5)), at(6));
    table.compare(Vec::new(), at(6)); // somebody has deleted all solver Ingresses
    assert_eq!(refused(&mut table, 7), first);
    assert!(table.is_in_place(&stream("a"), None));
}

/// The Ingress `web/shop` as the place of the route of `a.example.com`.
fn in_place() -> Vec<WantedRoute> {
    let mut wanted = routes(&["a.example.com"]);
    let key = IngressKey::new("web", "shop");
    wanted[0].route.place = SolverPlace::InPlace(Arc::new(key));
    wanted
}

/// What the watch shows of `write`, with these hosts.
fn shown(write: &SolverIngress, hosts: &[&str], generation: i64) -> Seen {
    let solver = Some(SolverIngress { hosts: names(hosts), generation, ..write.clone() });
    let (name, writer) = (write.name.clone(), Some("argocd".into()));
    Seen { name, generation: Some(generation), solver, writer }
}

fn accepted(table: &mut RouteTable, write: &SolverIngress, generation: i64, now: i64) {
    table.written(&SolverIngress { generation, ..write.clone() }, at(now));
}

#[test]
fn a_route_in_place_is_in_the_ingress_of_the_user_and_its_removal_is_the_last_one() {
    let mut table = RouteTable::default();
    table.hold(&stream("a"), &in_place(), at(0));
    let write = table.next_write([], at(0)).unwrap();
    assert_eq!(write.name, SolverName::of(&IngressKey::new("web", "shop")));
    assert_eq!((write.hosts.len(), table.isolate(&write)), (1, false), "it cannot be split");
    accepted(&mut table, &write, 2, 0);
    assert!(table.is_in_place(&stream("a"), None));
    table.seen(shown(&write, &["a.example.com"], 2), at(1));
    assert_eq!(table.next_write([], at(1)), None);
    let mut beside = routes(&["b.example.com"]);
    beside[0].route.place = SolverPlace::Namespace("web".into());
    table.hold(&stream("b"), &beside, at(1));
    let other = table.next_write([], at(1)).unwrap();
    assert_eq!(other.name.to_string(), format!("web/{}", other.name.name));
    accepted(&mut table, &other, 1, 1);
    assert!(!table.is_last(&write) && !table.is_last(&other));
    table.release(&stream("a"), at(2));
    table.expire(at(12));
    let removal = table.next_write([], at(12)).unwrap();
    assert!(removal.hosts.is_empty() && removal.name == write.name);
    accepted(&mut table, &removal, 0, 12);
    assert!(table.is_last(&other));
    table.compare(Vec::new(), at(13));
    assert_eq!(table.next_write([], at(13)), None, "the list is of the operator's namespace");
}

#[test]
fn a_host_that_comes_back_while_its_path_is_taken_out_is_added_again() {
    let mut table = RouteTable::default();
    table.hold(&stream("a"), &in_place(), at(0));
    let write = table.next_write([], at(0)).unwrap();
    accepted(&mut table, &write, 2, 0);
    table.release(&stream("a"), at(0));
    table.expire(at(10));
    let removal = table.next_write([], at(10)).unwrap();
    table.hold(&stream("a"), &in_place(), at(10));
    accepted(&mut table, &removal, 0, 11);
    assert!(!table.is_in_place(&stream("a"), None));
    let again = table.next_write([], at(11)).unwrap();
    assert_eq!((again.name, again.hosts), (write.name, write.hosts));
}

#[test]
fn an_ingress_that_is_put_back_twice_gets_no_path_for_an_hour() {
    let mut table = RouteTable::default();
    table.hold(&stream("a"), &in_place(), at(0));
    for (generation, is_given_up) in [(2, false), (4, true)] {
        let write = table.next_write([], at(0)).unwrap();
        accepted(&mut table, &write, generation, 0);
        table.seen(shown(&write, &[], generation - 1), at(0));
        assert_eq!(table.next_write([], at(0)), None, "that was before the write");
        table.seen(shown(&write, &[], generation + 1), at(0));
        assert_eq!(table.unplaced(&stream("a")).is_some(), is_given_up, "{generation}");
    }
    let told = table.unplaced(&stream("a")).unwrap().to_string();
    assert!(told.contains("(argocd) took the challenge path out of Ingress web/shop"), "{told}");
    let removal = table.next_write([], at(0)).unwrap();
    assert!(removal.hosts.is_empty(), "what is left of ours goes");
    accepted(&mut table, &removal, 0, 0);
    table.release(&stream("a"), at(0));
    table.hold(&stream("b"), &in_place(), at(60));
    assert!(table.unplaced(&stream("b")).is_some());
    assert_eq!(table.next_write([], at(60)), None);
    table.release(&stream("b"), at(60));
    table.expire(at(0) + limits::PUT_BACK_PAUSE);
    table.hold(&stream("c"), &in_place(), at(4_000));
    assert_eq!(table.unplaced(&stream("c")), None);
    assert!(table.next_write([], at(4_000)).is_some());
}

#[test]
fn one_that_is_deleted_is_not_put_back_and_one_made_again_gets_the_path() {
    let mut table = RouteTable::default();
    table.hold(&stream("a"), &in_place(), at(0));
    for _ in 0..5 {
        let write = table.next_write([], at(0)).unwrap();
        accepted(&mut table, &write, 7, 0);
        table.seen(shown(&write, &["a.example.com"], 7), at(0));
        table.seen(Seen::deleted(&IngressKey::new("web", "shop")), at(0));
        assert_eq!(table.unplaced(&stream("a")), None);
    }
}

#[test]
fn routes_of_an_earlier_process_are_adopted_written_at_once_and_bounded() {
    let mut table = RouteTable::default();
    let of = |name: &str| SolverIngress {
        name: SolverName::of(&IngressKey::new("web", name)),
        class: IngressClass::Default,
        place: SolverPlace::InPlace(Arc::new(IngressKey::new("web", name))),
        hosts: BTreeSet::new(),
        created: None,
        generation: 0,
    };
    table.seen(shown(&of("shop"), &["a.example.com"], 3), at(0));
    table.hold(&stream("a"), &in_place(), at(1));
    let write = table.next_write([], at(1)).unwrap();
    assert_eq!((&write.name, &write.hosts), (&of("shop").name, &names(&["a.example.com"])));
    accepted(&mut table, &write, 3, 1);
    for number in 0..3 * limits::SOLVERS_FOUND {
        let host = format!("h{number}.example.com");
        table.seen(shown(&of(&format!("s{number}")), &[&host], 1), at(2));
    }
    assert_eq!(table.shards.len(), limits::SOLVERS_FOUND);
    table.expire(at(2) + limits::ROUTE_GRACE);
    let later = at(2) + limits::ROUTE_GRACE;
    let writes: Vec<_> = std::iter::from_fn(|| table.next_write([], later)).collect();
    assert_eq!(writes.len(), limits::SOLVERS_FOUND - 1, "the one in use stays");
    assert!(writes.iter().all(|write| write.hosts.is_empty()));
    table.forget(&writes[0].name);
    assert_eq!(table.shards.len(), limits::SOLVERS_FOUND - 1, "the operator may not remove it");
}

#[test]
fn an_ingress_with_the_paths_of_many_hosts_gets_more_when_some_are_done() {
    let mut table = RouteTable::default();
    let key = Arc::new(IngressKey::new("web", "shop"));
    for number in 0..=limits::HOSTS_PER_SOLVER_INGRESS {
        let mut wanted = routes(&[&format!("h{number}.example.com")]);
        wanted[0].route.place = SolverPlace::InPlace(key.clone());
        table.hold(&stream(&format!("s{number}")), &wanted, at(0));
    }
    assert_eq!(table.unplaced(&stream("s0")), None);
    let last = format!("s{}", limits::HOSTS_PER_SOLVER_INGRESS);
    let full = Unplaced::Full(SolverName::of(&key));
    assert_eq!(table.unplaced(&stream(&last)), Some(full.clone()));
    assert!(full.to_string().contains("100 hosts"), "{full}");
}

/// The watch is often faster than the answer to the write.
#[test]
fn our_own_removal_is_no_put_back() {
    let mut table = RouteTable::default();
    for round in 0..5 {
        table.hold(&stream("a"), &in_place(), at(round));
        let write = table.next_write([], at(round)).unwrap();
        accepted(&mut table, &write, 10 * round + 2, round);
        table.release(&stream("a"), at(round));
        table.expire(at(round) + limits::ROUTE_LINGER);
        let removal = table.next_write([], at(round)).unwrap();
        table.hold(&stream("a"), &in_place(), at(round));
        table.seen(shown(&write, &[], 10 * round + 3), at(round));
        assert_eq!(table.unplaced(&stream("a")), None, "round {round}");
        accepted(&mut table, &removal, 0, round);
        assert_eq!(table.settled_at(&stream("b")), None);
        table.release(&stream("a"), at(round));
        table.expire(at(round) + limits::ROUTE_LINGER);
        while let Some(write) = table.next_write([], at(round)) {
            accepted(&mut table, &write, 0, round);
        }
    }
    table.hold(&stream("a"), &in_place(), at(100));
    assert!(table.unplaced(&stream("a")).is_none());
}

#[test]
fn a_class_whose_solver_ingresses_are_all_refused_leaves_nothing_in_memory() {
    let mut table = RouteTable::default();
    for number in 0..300 {
        let (class, now) = (format!("c{number}"), at(100 * number));
        let mut wanted = of_class(&class, "a.example.com");
        wanted.route.place = SolverPlace::Namespace("web".into());
        table.hold(&stream("a"), &[wanted], now);
        let write = table.next_write([], now).unwrap();
        assert!(table.isolate(&write));
        let solo = table.next_write([], now).unwrap();
        _ = table.failed(solo, now);
        table.release(&stream("a"), now);
        table.expire(now + limits::ROUTE_LINGER);
        let removal = table.next_write([], now + limits::ROUTE_LINGER).unwrap();
        table.forget(&removal.name);
        assert_eq!(table.shards.len(), 0, "{class}");
    }
}
