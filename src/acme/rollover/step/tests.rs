//! Model tests of rollovers: interrupted at every step and interleaved in every order.

use super::*;

/// Keys are numbers; the account starts with key 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct World {
    /// The account's key at the CA.
    at_the_ca: u32,
    stored: u32,
    next: Option<u32>,
    version: u32,
}

const FRESH: World = World { at_the_ca: 1, stored: 1, next: None, version: 0 };

/// One process in a rollover, with its own copy of the Secret.
#[derive(Clone, Copy, Debug)]
struct Agent {
    read: World,
    began_with: u32,
    findings: Findings,
    /// The key that this process generates.
    key: u32,
}

impl Agent {
    fn begins(world: World, key: u32) -> Self {
        let findings = Findings { has_next: world.next.is_some(), ..Findings::default() };
        Self { read: world, began_with: world.stored, findings, key }
    }

    /// Writes with the version that was read; a conflict only reads.
    fn writes(&mut self, world: &mut World, stored: u32, next: Option<u32>) {
        if world.version == self.read.version {
            (world.stored, world.next, world.version) = (stored, next, world.version + 1);
        }
        self.read = *world;
        let is_new = world.stored != self.began_with;
        self.findings = Findings { is_new, has_next: world.next.is_some(), ..Findings::default() };
    }

    fn acts(&mut self, step: RolloverStep, world: &mut World) {
        let known =
            |key| if world.at_the_ca == key { KeyAnswer::Known } else { KeyAnswer::Unknown };
        match step {
            RolloverStep::StoreNext => self.writes(world, self.read.stored, Some(self.key)),
            RolloverStep::AskNext => self.findings.next = known(self.read.next.unwrap()),
            RolloverStep::AskCurrent => self.findings.current = known(self.read.stored),
            RolloverStep::Change => {
                if world.at_the_ca == self.read.stored {
                    world.at_the_ca = self.read.next.unwrap();
                }
                (self.findings.changed, self.findings.next) = (true, KeyAnswer::NotAsked);
            }
            RolloverStep::Promote => self.writes(world, self.read.next.unwrap(), None),
            RolloverStep::Done | RolloverStep::Refused | RolloverStep::NoAccount => {
                panic!("it has ended: {step:?}")
            }
        }
    }
}

/// Asserts that the stored keys include the account's key at the CA.
fn is_not_lost(world: World) {
    let keys = [Some(world.stored), world.next];
    assert!(keys.contains(&Some(world.at_the_ca)), "{world:?}");
}

/// Runs one process for at most `most` steps; returns whether the rollover is complete.
fn runs(world: &mut World, key: u32, most: usize) -> bool {
    let mut agent = Agent::begins(*world, key);
    for _ in 0..most {
        match step(agent.findings) {
            RolloverStep::Done => return true,
            next => agent.acts(next, world),
        }
        is_not_lost(*world);
    }
    false
}

#[test]
fn cut_off_after_any_step_the_next_one_finishes_and_makes_no_further_key() {
    for cut in 0..=5 {
        let mut world = FRESH;
        let done = runs(&mut world, 2, cut);
        assert!(!done, "{cut}: one more look is needed to see that it is done");
        if world.stored == 2 {
            continue; // complete but for the final check
        }
        assert!(runs(&mut world, 3, 20), "{cut}: {world:?}");
        let made = if cut == 0 { 3 } else { 2 };
        assert_eq!((world.at_the_ca, world.stored, world.next), (made, made, None), "{cut}");
    }
}

#[test]
fn each_crash_point_has_its_next_step() {
    use KeyAnswer::{Known, NotAsked, Unknown};
    let findings =
        |has_next, current, next| Findings { has_next, next, current, ..Findings::default() };
    assert_eq!(
        step(findings(false, NotAsked, NotAsked)),
        RolloverStep::StoreNext,
        "nothing was done"
    );
    assert_eq!(
        step(findings(true, NotAsked, NotAsked)),
        RolloverStep::AskCurrent,
        "the next key is stored"
    );
    assert_eq!(step(findings(true, Known, NotAsked)), RolloverStep::Change, "the CA was not asked");
    assert_eq!(step(findings(true, Unknown, NotAsked)), RolloverStep::AskNext);
    assert_eq!(step(findings(true, Unknown, Known)), RolloverStep::Promote, "the CA has agreed");
    assert_eq!(
        step(findings(true, Unknown, Unknown)),
        RolloverStep::NoAccount,
        "the CA has forgotten it"
    );
    let changed = Findings { changed: true, ..findings(true, Known, NotAsked) };
    assert_eq!(step(changed), RolloverStep::AskNext, "its answer may have been lost");
    assert_eq!(step(Findings { next: Known, ..changed }), RolloverStep::Promote);
    assert_eq!(
        step(Findings { next: Unknown, ..changed }),
        RolloverStep::Refused,
        "it is asked once"
    );
    let stored = Findings { is_new: true, ..findings(false, NotAsked, NotAsked) };
    assert_eq!(step(stored), RolloverStep::Done, "the new key is the account's");
}

/// Explores every interleaving of two processes.
fn interleaves(world: World, agents: [Agent; 2], ends: &mut u32) {
    let steps = agents.map(|agent| step(agent.findings));
    if steps == [RolloverStep::Done; 2] {
        assert_eq!((world.at_the_ca, world.next), (world.stored, None), "{world:?}");
        assert_ne!(world.stored, FRESH.stored);
        *ends += 1;
    }
    for (index, next) in steps.into_iter().enumerate() {
        if next == RolloverStep::Done {
            continue;
        }
        assert!(
            !matches!(next, RolloverStep::Refused | RolloverStep::NoAccount),
            "{world:?} {agents:?}"
        );
        let (mut world, mut agents) = (world, agents);
        agents[index].acts(next, &mut world);
        is_not_lost(world);
        interleaves(world, agents, ends);
    }
}

#[test]
fn two_at_once_end_with_one_key_in_every_order_of_their_steps() {
    let mut ends = 0;
    interleaves(FRESH, [Agent::begins(FRESH, 2), Agent::begins(FRESH, 3)], &mut ends);
    assert!(ends > 100, "{ends}");
}
