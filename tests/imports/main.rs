//! Imports between folders: docs/architecture.md lists them, and no two files import each other.
//!
//! The `use` lines and the paths of the code are compared with the table, so that the table cannot
//! go stale. `UPDATE_IMPORTS=1 cargo test --test imports` writes the table anew.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod graph;
mod source;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use graph::circles;
use source::{Crate, Source};

const PAGE: &str = "docs/architecture.md";
const BEGIN: &str = "<!-- imports:begin -->\n";
const END: &str = "<!-- imports:end -->";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn crates() -> [Crate; 2] {
    [
        Crate::read(root(), "actors/src", "ingress_acme_actors"),
        Crate::read(root(), "src", "ingress_acme"),
    ]
}

/// The unit of a module: its top folder, and below `domain` one folder more. Files directly in
/// `domain` are the unit `domain`.
fn unit(module: &str, folders: &BTreeSet<String>) -> Option<String> {
    let parts: Vec<&str> = module.split("::").collect();
    let top = parts.first().filter(|top| !top.is_empty())?;
    let folder = parts.iter().take(2).copied().collect::<Vec<_>>().join("::");
    Some(if *top == "domain" && folders.contains(&folder) { folder } else { (*top).to_owned() })
}

/// Folders of a crate below `domain`.
fn domain_folders(sources: &[Source]) -> BTreeSet<String> {
    let nested = sources.iter().filter(|source| source.module.starts_with("domain::"));
    nested
        .filter_map(|source| {
            let parts: Vec<&str> = source.module.split("::").collect();
            (parts.len() > 2).then(|| parts[..2].join("::"))
        })
        .collect()
}

/// Units that a unit imports, by the name that the table shows.
fn imports_of(unit_name: &str, own: &Crate, other: &Crate) -> BTreeSet<String> {
    let (folders, others) = (domain_folders(&own.sources), domain_folders(&other.sources));
    let of_unit = |source: &&Source| unit(&source.module, &folders).as_deref() == Some(unit_name);
    let mut imports = BTreeSet::new();
    for source in own.sources.iter().filter(of_unit) {
        let inner = source.imports.iter().filter_map(|module| unit(module, &folders));
        imports.extend(inner.filter(|import| import != unit_name));
        let outer = source.foreign.iter().filter(|(name, _)| name == other.name);
        let outer = outer.filter_map(|(_, path)| unit(&other.resolve(path), &others));
        imports.extend(outer.map(|import| format!("actors: {import}")));
    }
    imports
}

/// Path of a unit: its folder if it has one, else its file.
fn path_of(unit: &str, own: &Crate) -> String {
    let path = format!("{}/{}", own.folder, unit.replace("::", "/"));
    if root().join(&path).is_dir() { format!("{path}/") } else { format!("{path}.rs") }
}

fn table() -> String {
    let [actors, adapters] = crates();
    let mut text = "| Folder | Purpose | Imports |\n|---|---|---|\n".to_owned();
    for (own, other) in [(&actors, &adapters), (&adapters, &actors)] {
        let folders = domain_folders(&own.sources);
        let units: BTreeSet<String> =
            own.sources.iter().filter_map(|source| unit(&source.module, &folders)).collect();
        for unit in units {
            let source = own.sources.iter().find(|source| source.module == unit);
            let sentence = &source.unwrap_or_else(|| panic!("{unit} has a file")).sentence;
            let imports: Vec<String> =
                imports_of(&unit, own, other).iter().map(|one| format!("`{one}`")).collect();
            let (path, imports) = (path_of(&unit, own), imports.join(", "));
            writeln!(text, "| `{path}` | {sentence} | {imports} |").expect("a string takes all");
        }
    }
    text
}

#[test]
fn the_architecture_page_lists_the_imports_of_each_folder() {
    let page: PathBuf = root().join(PAGE);
    let text = std::fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the page marks the begin of the table");
    let (listed, after) = rest.split_once(END).expect("the page marks the end of the table");
    let table = table();
    if std::env::var_os("UPDATE_IMPORTS").is_some() {
        std::fs::write(&page, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(
        listed == table,
        "{PAGE} does not list the imports of the code; UPDATE_IMPORTS=1 cargo test --test imports \
         writes this table:\n{table}"
    );
}

#[test]
fn no_two_files_import_each_other_but_the_dedup_actor_and_the_registry() {
    let circles: Vec<Vec<String>> = crates().iter().flat_map(|one| circles(&one.sources)).collect();
    assert_eq!(circles, [["dedup::actor", "dedup::registry"]]);
}

/// Words of single ingress controllers. An adapter may know them; the core must work without.
const CONTROLLERS: [&str; 10] = [
    "nginx",
    "traefik",
    "haproxy",
    "contour",
    "istio",
    "cilium",
    "envoy",
    "kong",
    "openresty",
    "gateway.networking",
];

#[test]
fn the_core_names_no_ingress_controller() {
    let mut named = Vec::new();
    for path in rust_files(&root().join("actors/src")) {
        let text = std::fs::read_to_string(&path).unwrap().to_lowercase();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let bad = lines.filter(|line| CONTROLLERS.iter().any(|name| line.contains(name)));
        named.extend(bad.map(|line| format!("{}: {line}", path.display())));
    }
    assert_eq!(named, [""; 0]);
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| if path.is_dir() { rust_files(&path) } else { vec![path] };
    let all = entries.flat_map(of);
    all.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

#[test]
fn the_rules_import_no_actor_and_no_port() {
    let [actors, _] = crates();
    for source in actors.sources.iter().filter(|source| source.module.starts_with("domain")) {
        let outside = source.imports.iter().find(|module| !module.starts_with("domain"));
        assert_eq!(outside, None, "{} imports it", source.module);
    }
}
