//! Breadth-first search over all states of the world.

use std::collections::HashMap;
use std::collections::VecDeque;

use super::world::{Process, Rules, World};

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
    /// Number of steps that wrote a snapshot.
    pub(crate) snapshots: usize,
}

/// Searches all states that follow from `first`, until one violates a property.
pub(crate) fn search(first: World, rules: Rules) -> Found {
    let (mut found, mut queue) = (Found::default(), VecDeque::from([first.clone()]));
    // Each state with the one before and the step from there.
    let mut seen: HashMap<World, Option<(World, String)>> = HashMap::from([(first, None)]);
    while let Some(world) = queue.pop_front() {
        found.installed += usize::from(world.secret.is_some());
        if let Some(violation) = world.violation(rules) {
            found.violation = Some(violation);
            found.trace = trace(&seen, world);
            break;
        }
        for (step, next) in world.steps(rules) {
            found.fenced += usize::from(step.ends_with("fenced"));
            found.snapshots += usize::from(step.ends_with("snapshot"));
            if !seen.contains_key(&next) {
                seen.insert(next.clone(), Some((world.clone(), step)));
                queue.push_back(next);
            }
        }
    }
    found.states = seen.len();
    found
}

fn trace(seen: &HashMap<World, Option<(World, String)>>, mut world: World) -> Vec<String> {
    let mut steps = Vec::new();
    while let Some(Some((before, step))) = seen.get(&world) {
        let leaders = world.processes.iter().filter(|one| matches!(one, Process::Up(_))).count();
        steps.push(format!("{step} (issued {}, leaders {leaders})", world.issued.len()));
        world = before.clone();
    }
    steps.reverse();
    steps
}
