//! Model of the journal with two leaders: every order of their steps, of lost answers, late writes,
//! append timeouts, crashes, snapshots and deletions, searched breadth first.
//!
//! The decisions are the operator's own: `decide`, `apply`, `fold`, `replay`, `snapshot`, the rules
//! of a write (`domain::log::fence`) and of a take-over (`is_enough`). Modelled are the process
//! around them (`world`: what the ledger, the journal and the job do with a decision), the API
//! server, and a CA. Both processes may lead at any time: the Lease is not trusted.
//!
//! The last tests break one rule each: a model that finds nothing then would show nothing.

mod interned;
mod search;
mod world;

use search::{Found, search};
use world::{Budget, Rules, World};

/// Two terms, and no faults but those named, each at any moment. One search of all of them at once
/// would take an hour; each fault that was found needs two of them at most.
const NONE: Budget =
    Budget { starts: 2, losses: 0, timeouts: 0, crashes: 0, refusals: 0, reads_again: 1 };
const THREE_TERMS: Budget = Budget { starts: 3, ..NONE };
const LOST_ANSWER: Budget = Budget { losses: 1, ..NONE };
const CRASH: Budget = Budget { crashes: 1, ..NONE };
const TIMEOUT: Budget = Budget { timeouts: 1, refusals: 1, ..NONE };
const LOST_ANSWER_AND_CRASH: Budget = Budget { losses: 1, crashes: 1, ..NONE };

fn faults_found(rules: Rules, faults: Budget) -> Found {
    search(World::new(faults), rules)
}

fn nothing_is_found(faults: Budget) {
    let found = faults_found(Rules::default(), faults);
    assert_eq!(found.violation, None, "{}", found.trace.join("\n"));
    assert!(found.installed > 0 && found.fenced > 0 && found.snapshots > 0, "{found:?}");
    _ = std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!("figure: {} states of two leaders with {faults:?}\n", found.states),
    );
}

#[test]
fn two_leaders_never_get_two_certificates_nor_lose_an_acknowledged_record() {
    let (timeout, refusal) = (Budget { timeouts: 1, ..NONE }, Budget { refusals: 1, ..NONE });
    for faults in [NONE, CRASH, timeout, refusal, LOST_ANSWER, THREE_TERMS] {
        nothing_is_found(faults);
    }
}

#[test]
fn nor_do_they_with_a_lost_answer_and_a_crash() {
    nothing_is_found(LOST_ANSWER_AND_CRASH);
}

/// The fault of release 0.1.0: the ledger gave up an append after 150 s, and its job decided again.
#[test]
fn an_append_that_is_given_up_while_its_record_is_pending_is_found_as_two_certificates() {
    let rules = Rules { stops_at_a_timeout: false, misfits_count: false, ..Rules::default() };
    let found = faults_found(rules, TIMEOUT);
    assert_eq!(found.violation, Some("two certificates"), "{found:?}");
    let rules = Rules { stops_at_a_timeout: false, ..Rules::default() };
    let found = faults_found(rules, TIMEOUT);
    assert_eq!(found.violation, Some("a record does not fit"), "{found:?}");
}

#[test]
fn a_writer_that_takes_an_existing_number_for_its_own_is_found_as_a_lost_record() {
    let rules = Rules { compares: false, ..Rules::default() };
    let found = faults_found(rules, NONE);
    assert_eq!(found.violation, Some("an acknowledged record is lost"), "{found:?}");
}

/// The fault that this model found: the log is compacted between the list and the fence.
#[test]
fn a_take_over_that_does_not_list_again_after_its_fence_is_found() {
    let rules = Rules { lists_again: false, ..Rules::default() };
    let found = faults_found(rules, NONE);
    assert_eq!(found.violation, Some("an acknowledged record is lost"), "{found:?}");
}

#[test]
fn a_leader_without_a_fence_is_found() {
    let rules = Rules { fences: false, ..Rules::default() };
    let found = faults_found(rules, NONE);
    assert!(found.violation.is_some(), "{found:?}");
}
