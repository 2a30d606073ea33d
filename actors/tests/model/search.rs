//! Breadth-first search over all states of the world.

use std::collections::{HashSet, VecDeque};

use super::world::{Rules, World};

/// Result of a search.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The first violation, if any.
    pub(crate) violation: Option<&'static str>,
    /// Steps to the violation.
    pub(crate) trace: Vec<String>,
    /// Number of different states.
    pub(crate) states: usize,
    /// Number of states with a certificate in the Secret.
    pub(crate) installed: usize,
    /// Number of steps on which a writer was fenced.
    pub(crate) fenced: usize,
    /// Number of steps that began a snapshot.
    pub(crate) snapshots: usize,
}

/// Largest number of states of one search, about a gigabyte.
const MOST_STATES: usize = 1_000_000;

/// How a state was reached: the index of the state before, and the step.
type Reached = Option<(usize, String)>;

/// Searches all states that follow from `first`, until one violates a property.
pub(crate) fn search(first: World, rules: Rules) -> Found {
    let (mut found, mut reached) = (Found::default(), Vec::<Reached>::from([None]));
    let mut seen = HashSet::from([first.clone()]);
    let mut queue = VecDeque::from([(0, first)]);
    while let Some((index, world)) = queue.pop_front() {
        found.installed += usize::from(world.secret.is_some());
        if let Some(violation) = world.violation(rules) {
            found.violation = Some(violation);
            found.trace = trace(&reached, index);
            break;
        }
        for (step, next) in world.steps(rules) {
            found.fenced += usize::from(step.ends_with("fenced"));
            found.snapshots += usize::from(step.ends_with("snapshot"));
            if seen.insert(next.clone()) {
                assert!(reached.len() < MOST_STATES, "the budgets bound every search");
                queue.push_back((reached.len(), next));
                reached.push(Some((index, step)));
            }
        }
    }
    found.states = seen.len();
    found
}

fn trace(reached: &[Reached], mut index: usize) -> Vec<String> {
    let mut steps = Vec::new();
    while let Some((before, step)) = &reached[index] {
        steps.push(step.clone());
        index = *before;
    }
    steps.reverse();
    steps
}
