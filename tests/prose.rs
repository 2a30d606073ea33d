//! Plain words: comments and docs name things instead of pointing at them, and fit the page.
//!
//! A text with many "what" and "it" has relative clauses and pronouns in place of nouns. The counts
//! were 13 and 25 per 1,000 words before the names and comments of this project were rewritten;
//! comparable projects have 0 to 1 and 5 to 8.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::{Path, PathBuf};

/// Most "what" in 1,000 words.
const WHAT: usize = 2;
/// Most "it" in 1,000 words.
const IT: usize = 9;
/// Widest comment line, in characters.
const COLUMNS: usize = 100;
/// Folders of sources and docs.
const FOLDERS: [&str; 6] = ["src", "actors", "sim", "tests", "benches", "docs"];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_text = path.extension().is_some_and(|one| one == "rs" || one == "md");
        if path.is_dir() && !path.ends_with("target") {
            files(&path, found);
        } else if is_text {
            found.push(path);
        }
    }
}

fn texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in FOLDERS {
        files(&root.join(folder), &mut found);
    }
    let pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];
    found.extend(pages.map(|page| root.join(page)));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.strip_prefix(root).unwrap().to_owned(), text)
    };
    found.into_iter().map(read).collect()
}

/// The prose of a file: comments of Rust, or Markdown without its code blocks.
fn prose(path: &Path, text: &str) -> String {
    if path.extension().is_some_and(|extension| extension == "md") {
        return text.split("```").step_by(2).collect();
    }
    let comments = text.lines().map(str::trim_start).filter(|line| line.starts_with("//"));
    comments.map(|line| line.trim_start_matches(['/', '!'])).collect::<Vec<_>>().join("\n")
}

/// Words in lower case; code in backticks does not count.
fn words(prose: &str) -> Vec<String> {
    let outside: String = prose.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let is_separator = |c: char| !(c.is_ascii_alphabetic() || c == '\'' || c == '-');
    let words = outside.split(is_separator).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

#[test]
fn comments_and_docs_use_nouns() {
    let texts = texts();
    let words: Vec<String> =
        texts.iter().flat_map(|(path, text)| words(&prose(path, text))).collect();
    for (word, most) in [("what", WHAT), ("it", IT)] {
        let count = words.iter().filter(|one| *one == word).count();
        let per_thousand = 1000 * count / words.len();
        assert!(
            per_thousand < most,
            "\"{word}\" stands {count} times in {} words of comments and docs, and fewer than \
             {most} in 1,000 are the goal: name the thing instead",
            words.len()
        );
    }
}

/// Names in backticks on a page, each with its line.
fn named(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1..).zip(page.lines());
    lines.flat_map(|(number, line)| {
        line.split('`').skip(1).step_by(2).map(move |name| (number, name))
    })
}

#[test]
fn the_inventory_of_bounds_names_files_constants_and_tests_that_exist() {
    let texts = texts();
    let page = &texts.iter().find(|(path, _)| path.ends_with("security.md")).unwrap().1;
    let sources = texts.iter().filter(|(path, _)| path.extension().unwrap() == "rs");
    let sources: String = sources.map(|(_, text)| text.as_str()).collect();
    for (line, name) in named(page) {
        let is_file =
            name.contains('/') && Path::new(name).extension().is_some_and(|one| one == "rs");
        let is_constant = name.len() > 2
            && name.bytes().all(|c| c.is_ascii_uppercase() || c == b'_')
            && !["NAME", "FILE", "SIGTERM", "SIGINT", "POD_NAME", "RUST_LOG"].contains(&name);
        let is_test = name.split('_').count() > 3
            && name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
        let exists = match (is_file, is_constant, is_test) {
            (true, ..) => texts.iter().any(|(path, _)| path == Path::new(name)),
            (_, true, _) => sources.contains(&format!("const {name}: ")),
            (.., true) => sources.contains(&format!("fn {name}(")),
            _ => continue,
        };
        assert!(
            exists,
            "docs/security.md:{line}: `{name}` does not exist any more; correct the row"
        );
    }
}

/// A row of the hard cases names a test as `file::function`; further functions stand alone.
#[test]
fn the_hard_cases_name_tests_that_exist() {
    let texts = texts();
    let page = &texts.iter().find(|(path, _)| path.ends_with("testing.md")).unwrap().1;
    let (_, cases) = page.split_once("## Hard cases").expect("the page has the table");
    let text_of = |file: &str| texts.iter().find(|(path, _)| path == Path::new(file));
    let sources = texts.iter().filter(|(path, _)| path.extension().unwrap() == "rs");
    let mut rows = 0;
    for (line, name) in named(cases) {
        let is_sentence = |name: &str| name.split('_').count() > 2;
        let exists = match name.split_once("::") {
            Some((file, test)) => {
                rows += 1;
                text_of(file).is_some_and(|(_, text)| text.contains(&format!("fn {test}(")))
            }
            None if is_sentence(name)
                && name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_') =>
            {
                sources.clone().any(|(_, text)| text.contains(&format!("fn {name}(")))
            }
            None => continue,
        };
        assert!(
            exists,
            "docs/testing.md, line {line} of the hard cases: there is no test `{name}`"
        );
    }
    assert!(rows > 100, "only {rows} tests are named");
    let without = cases.lines().filter(|row| row.starts_with("| ") && row.contains("PART"));
    assert_eq!(without.count(), 0, "each case has its test");
}

/// Each answer of the FAQ has a comment with the tests that show it, as `file::function`.
#[test]
fn the_answers_of_the_faq_name_tests_that_exist() {
    let texts = texts();
    let page = &texts.iter().find(|(path, _)| path.ends_with("faq.md")).unwrap().1;
    let answers: Vec<&str> = page.split("\n## ").skip(1).collect();
    assert!(answers.len() > 20, "only {} questions", answers.len());
    for answer in answers {
        let question = answer.lines().next().unwrap_or_default();
        let (_, comment) = answer.rsplit_once("<!-- ").unwrap_or_default();
        let tests: Vec<(&str, &str)> =
            named(comment).filter_map(|(_, name)| name.split_once("::")).collect();
        assert!(!tests.is_empty(), "docs/faq.md: no test shows the answer to: {question}");
        for (file, test) in tests {
            let text = texts.iter().find(|(path, _)| path == Path::new(file));
            let exists = text.is_some_and(|(_, text)| text.contains(&format!("fn {test}(")));
            assert!(exists, "docs/faq.md, {question}: there is no test {file}::{test}");
        }
    }
}

#[test]
fn comment_lines_fit_the_page() {
    for (path, text) in texts().iter().filter(|(path, _)| path.extension().unwrap() == "rs") {
        for (number, line) in (1..).zip(text.lines()) {
            let wide = line.trim_start().starts_with("//") && line.chars().count() > COLUMNS;
            assert!(!wide, "{}:{number} is wider than {COLUMNS} columns: {line}", path.display());
        }
    }
}
