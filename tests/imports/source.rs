//! Source files of a crate, each with the modules that its code imports. Tests inside a file do not
//! count.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use syn::visit::Visit;
use syn::{Attribute, Item, ItemUse, UseTree};

/// A crate's sources.
pub(crate) struct Crate {
    /// Name in paths.
    pub(crate) name: &'static str,
    /// Folder below the checkout.
    pub(crate) folder: &'static str,
    /// Source files, without tests.
    pub(crate) sources: Vec<Source>,
    modules: BTreeSet<String>,
}

/// One source file.
pub(crate) struct Source {
    /// Module path, such as `domain::log::live`; empty for the root of the crate.
    pub(crate) module: String,
    /// Modules of the same crate that the code imports.
    pub(crate) imports: BTreeSet<String>,
    /// Paths into other crates: name of the crate, and the path in it.
    pub(crate) foreign: Vec<(String, Vec<String>)>,
    /// First sentence of the module's documentation.
    pub(crate) sentence: String,
}

impl Crate {
    /// Reads all sources of the crate in `folder`.
    pub(crate) fn read(root: &Path, folder: &'static str, name: &'static str) -> Self {
        let files = rust_files(&root.join(folder));
        let module = |file: &PathBuf| module_of(file.strip_prefix(root.join(folder)).unwrap());
        let modules: BTreeSet<String> = files.iter().map(module).collect();
        let mut read = Self { name, folder, sources: Vec::new(), modules };
        for file in &files {
            let module = module(file);
            if module != "main" && !module.ends_with("tests") {
                let source = read.source(module, &std::fs::read_to_string(file).unwrap());
                read.sources.push(source);
            }
        }
        read
    }

    fn source(&self, module: String, text: &str) -> Source {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{module}: {error}"));
        let mut paths = Paths::default();
        paths.visit_file(&file);
        let (mut imports, mut foreign) = (BTreeSet::new(), Vec::new());
        for path in paths.0 {
            match self.inner(&module, &path) {
                Some(inner) => _ = imports.insert(self.resolve(&inner)),
                None => foreign.push((path[0].clone(), path[1..].to_vec())),
            }
        }
        imports.retain(|import| *import != module && !import.is_empty());
        Source { module, imports, foreign, sentence: sentence(&file.attrs) }
    }

    /// The path from the root of the crate, where the path is one of this crate.
    fn inner(&self, module: &str, path: &[String]) -> Option<Vec<String>> {
        let own: Vec<String> = module.split("::").map(str::to_owned).collect();
        let supers = path.iter().take_while(|part| *part == "super").count();
        match path[0].as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([&own[..], &path[1..]].concat()),
            "super" => Some([&own[..own.len().checked_sub(supers)?], &path[supers..]].concat()),
            first => {
                let child = [&own[..], &[first.to_owned()]].concat().join("::");
                self.modules.contains(&child).then(|| [&own[..], path].concat())
            }
        }
    }

    /// The longest module that the path begins with.
    pub(crate) fn resolve(&self, path: &[String]) -> String {
        let lengths = (0..=path.len()).rev();
        let mut modules = lengths.map(|length| path[..length].join("::"));
        modules.find(|module| self.modules.contains(module)).unwrap_or_default()
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn module_of(file: &Path) -> String {
    let parts: Vec<_> =
        file.with_extension("").iter().map(std::borrow::ToOwned::to_owned).collect();
    let parts: Vec<&str> = parts.iter().map(|part| part.to_str().unwrap()).collect();
    if parts == ["lib"] { String::new() } else { parts.join("::") }
}

/// First sentence of a file's `//!` comment, without the brackets of links.
fn sentence(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| {
        let syn::Meta::NameValue(doc) = &attribute.meta else { return None };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &doc.value else {
            return None;
        };
        doc.path.is_ident("doc").then(|| text.value().trim().to_owned())
    };
    let lines = attributes.iter().filter_map(line).take_while(|line| !line.is_empty());
    let text = lines.collect::<Vec<_>>().join(" ");
    let text = text.replace("[`", "`").replace("`]", "`");
    text.split_once(". ").map_or(text.clone(), |(first, _)| format!("{first}."))
}

/// Paths of `use` lines, and paths in code that begin with `crate` or `super`.
#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl Paths {
    fn of_tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.of_tree(&with(&path.ident), &path.tree),
            UseTree::Name(name) => self.0.push(with(&name.ident)),
            UseTree::Rename(rename) => self.0.push(with(&rename.ident)),
            UseTree::Glob(_) => self.0.push(before.to_vec()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.of_tree(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        let Item::Mod(module) = item else { return syn::visit::visit_item(self, item) };
        let is_test = |attribute: &Attribute| {
            attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test")
        };
        if !module.attrs.iter().any(is_test) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.of_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1 && (parts[0] == "crate" || parts[0] == "super") {
            self.0.push(parts);
        }
        syn::visit::visit_path(self, path);
    }
}
