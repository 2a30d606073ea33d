//! Commands of the documents, and the table `commands.txt`, which names for each of them the test
//! that runs the command, or the reason why none does.

use std::fs;
use std::path::{Path, PathBuf};

/// A command of a page, on one line and without its comment.
#[derive(Clone, Debug)]
pub(crate) struct Documented {
    /// Page and line, as in `docs/operations.md:43`.
    pub(crate) place: String,
    pub(crate) text: String,
}

/// An entry of the table.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// A test as `file::function`, or `not run: ` and a reason.
    pub(crate) by: String,
    pub(crate) command: String,
}

/// Programs whose names begin a command in a comment of YAML.
const PROGRAMS: [&str; 6] = ["kubectl ", "ingress-acme ", "make ", "oc ", "curl ", "promtool "];
/// Fenced blocks without commands.
const OTHER_LANGUAGES: [&str; 5] = ["text", "yaml", "json", "mermaid", "rust"];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Pages with commands: all Markdown but the change log, which tells of older releases, and the
/// YAML that users edit.
pub(crate) fn pages() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["", "docs", "deploy", "kustomize", "tests/manifests"] {
        files(&root().join(folder), !folder.is_empty(), &mut found);
    }
    found.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a page");
        (path.strip_prefix(root()).expect("below the root").display().to_string(), text)
    };
    let is_page = |(page, _): &(String, String)| {
        page != "CHANGELOG.md" && (is(page, "md") || !page.starts_with("tests/"))
    };
    found.into_iter().map(read).filter(is_page).collect()
}

fn files(folder: &Path, deep: bool, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && deep {
            files(&path, deep, found);
        } else if path.is_file() && (is(&path, "md") || is(&path, "yaml")) {
            found.push(path);
        }
    }
}

fn is(page: impl AsRef<Path>, extension: &str) -> bool {
    page.as_ref().extension().is_some_and(|one| one == extension)
}

/// The commands of all pages, in their order.
pub(crate) fn commands() -> Vec<Documented> {
    let of = |(page, text): &(String, String)| {
        let lines = if is(page, "md") { in_blocks(page, text) } else { in_comments(text) };
        let place = |(line, text)| Documented { place: format!("{page}:{line}"), text };
        joined(&lines).into_iter().map(place).collect::<Vec<_>>()
    };
    pages().iter().flat_map(of).collect()
}

/// A line with its number, and whether a command can begin there.
type Line<'a> = (usize, &'a str, bool);

/// Lines of the fenced blocks of Markdown. In `console` the output stands below each command.
fn in_blocks<'a>(page: &str, text: &'a str) -> Vec<Line<'a>> {
    let (mut language, mut lines) = (None, Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        match (line.strip_prefix("```"), language) {
            (Some(opened), None) => language = Some(opened),
            (Some(_), Some(_)) => language = None,
            (None, Some("sh")) => lines.push((number, line, true)),
            (None, Some("console")) => match line.strip_prefix("$ ") {
                Some(command) => lines.push((number, command, true)),
                None => lines.push((number, line, false)),
            },
            (None, Some(other)) => assert!(
                OTHER_LANGUAGES.contains(&other),
                "{page}:{number}: ```{other} is not looked at: commands stand in ```sh or ```console"
            ),
            (None, None) => {}
        }
    }
    lines
}

/// Lines of the comments of YAML. A command is indented there, or follows a colon.
fn in_comments(text: &str) -> Vec<Line<'_>> {
    let comments = (1..).zip(text.lines()).map(|(number, line)| {
        let comment = line.trim_start().strip_prefix('#').unwrap_or_default();
        let words = comment.trim_start();
        let numbered = words.trim_start_matches(|c: char| c.is_ascii_digit());
        let after_colon = words.rsplit_once(": ").map(|(_, last)| last);
        let indented =
            (comment.len() - words.len() > 2).then(|| numbered.strip_prefix(". ").unwrap_or(words));
        let is_command = |text: &&str| PROGRAMS.iter().any(|program| text.starts_with(program));
        match indented.into_iter().chain(after_colon).find(is_command) {
            Some(command) => (number, command, true),
            None => (number, words, false),
        }
    });
    comments.collect()
}

/// Joins the lines of each command, which goes on after an open quote, after `\\`, `|` or `&&`, and
/// up to the end of a loop.
fn joined(lines: &[Line<'_>]) -> Vec<(usize, String)> {
    let mut all: Vec<(usize, String)> = Vec::new();
    // What stands before the next line of an open command, and how many loops are open.
    let (mut separator, mut loops, mut quote) = (None, 0_usize, None);
    for (number, line, begins) in lines {
        if separator.is_none() && !begins {
            continue;
        }
        let line = without_comment(line, &mut quote).trim();
        let (piece, continues) = match line.strip_suffix('\\') {
            Some(piece) => (piece.trim_end(), true),
            None => (line, quote.is_some() || line.ends_with('|') || line.ends_with("&&")),
        };
        match (separator, all.last_mut()) {
            (Some(separator), Some((_, command))) => command.extend([separator, piece]),
            _ if piece.is_empty() => {}
            _ => all.push((*number, piece.to_owned())),
        }
        let count = |word: &str| piece.split([' ', ';']).filter(|one| *one == word).count();
        loops = (loops + count("do")).saturating_sub(count("done"));
        separator = match (continues, loops) {
            (true, _) => Some(" "),
            (false, 0) => None,
            (false, _) => Some(if piece.ends_with(" do") { " " } else { "; " }),
        };
    }
    all
}

/// Cuts the comment off a line of shell; `quote` is the open quotation mark.
fn without_comment<'a>(line: &'a str, quote: &mut Option<char>) -> &'a str {
    let (mut before, mut escaped) = (' ', false);
    for (at, c) in line.char_indices() {
        match (*quote, c) {
            _ if escaped => escaped = false,
            (Some('"') | None, '\\') => escaped = true,
            (Some(open), _) if open == c => *quote = None,
            (None, '\'' | '"') => *quote = Some(c),
            (None, '#') if before.is_whitespace() => return &line[..at],
            _ => {}
        }
        before = c;
    }
    line
}

/// The table: commands are indented below their test or reason.
pub(crate) fn table() -> Vec<Entry> {
    let (mut by, mut entries) = ("", Vec::new());
    for line in include_str!("commands.txt").lines().filter(|line| !line.starts_with('#')) {
        match line.strip_prefix("    ") {
            Some(command) => {
                entries.push(Entry { by: by.to_owned(), command: command.to_owned() });
            }
            None if line.is_empty() => {}
            None => by = line,
        }
    }
    entries
}
