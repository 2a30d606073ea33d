//! Circles in the import graph of files.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

/// Files that import each other, directly or through others, as groups in order. A file and the
/// files below it are one thing, so that imports from an ancestor do not count.
pub(crate) fn circles(sources: &[Source]) -> Vec<Vec<String>> {
    let below = |module: &str, ancestor: &str| module.starts_with(&format!("{ancestor}::"));
    let edges: BTreeMap<&str, Vec<&str>> = sources
        .iter()
        .map(|source| {
            let imports = source.imports.iter().map(String::as_str);
            let kept = imports.filter(|import| !below(&source.module, import));
            (source.module.as_str(), kept.collect())
        })
        .collect();
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        edges.keys().map(|module| (*module, reachable(&edges, module))).collect();
    let mut circles = BTreeSet::new();
    for (module, reached) in &reach {
        let back = |other: &&&str| reach.get(**other).is_some_and(|from| from.contains(module));
        let circle: Vec<String> = reached.iter().filter(back).map(ToString::to_string).collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

/// Modules that can be reached from `module` by one import or more.
fn reachable<'a>(edges: &BTreeMap<&'a str, Vec<&'a str>>, module: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = edges.get(module).cloned().unwrap_or_default();
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(edges.get(next).into_iter().flatten());
        }
    }
    reached
}
