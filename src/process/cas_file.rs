//! File of `--cas-file`, with the roots that it names. The kubelet replaces a mounted file as a whole,
//! behind a symbolic link.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, ensure};
use ingress_acme_actors::domain::cas::{Cas, CasFile, Readers};
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::limits;

use crate::commands::cli::{contact, directory, duration};

/// Reads the text of a file, up to `most` bytes.
pub(crate) fn bounded_text(path: &Path, most: usize, flag: &str) -> anyhow::Result<String> {
    let read = || {
        let mut text = String::new();
        std::fs::File::open(path)?.take(most as u64 + 1).read_to_string(&mut text)?;
        std::io::Result::Ok(text)
    };
    let text = read().with_context(|| format!("the file of {flag} cannot be read"))?;
    ensure!(text.len() <= most, "the file of {flag} is larger than {most} bytes");
    Ok(text)
}

/// Reads the CAs of a file, and the files of their roots.
pub fn read(path: &Path) -> anyhow::Result<Cas> {
    let mut cas = parse(&bounded_text(path, limits::CAS_FILE_MAX, "--cas-file")?)?;
    for ca in cas.all_mut() {
        let Some(roots) = ca.roots.as_mut().filter(|roots| !roots.contains("-----BEGIN ")) else {
            continue;
        };
        let what = format!("`roots` of CA `{}`", ca.name);
        *roots = bounded_text(Path::new(roots.trim()), limits::CA_FILE_MAX, &what)?;
    }
    Ok(cas)
}

fn parse(text: &str) -> anyhow::Result<Cas> {
    let file: CasFile = serde_saphyr::from_str(text).map_err(|error| {
        let shown = error.to_string();
        let first = shown.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let line = error.location().map(|at| format!("line {}: ", at.line())).unwrap_or_default();
        anyhow::anyhow!(
            "the file of --cas-file cannot be used: {line}{}",
            cut(first, limits::QUOTED_MAX)
        )
    })?;
    let readers = Readers {
        directory: &|text| Ok(directory(text)?.to_string()),
        duration: &|text| duration(text),
        contact: &|text| contact(text),
    };
    Cas::of_file(file, readers).context("the file of --cas-file cannot be used")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "cas:\n- name: le\n  directory: https://le.example\n- name: own\n  directory: https://own.example/dir\n";

    #[test]
    fn a_file_is_read_with_urls_as_the_flags_have_them() {
        let cas = parse(GOOD).unwrap();
        assert_eq!(cas.first.directory, "https://le.example/");
        assert_eq!(cas.others[0].name, "own");
    }

    #[test]
    fn a_fault_is_told_with_its_line_and_the_text_is_bounded() {
        let why = |text: &str| format!("{:#}", parse(text).unwrap_err());
        let unknown = why("cas:\n- name: le\n  directory: https://le.example\n  colour: red\n");
        assert!(unknown.contains("line 4") && unknown.contains("colour"), "{unknown}");
        let twice = why(
            "cas:\n- name: le\n  directory: https://le.example\n- name: le\n  directory: https://b.example\n",
        );
        assert!(twice.contains("CA `le`: another CA has the same name"), "{twice}");
        assert!(why("- [").len() < 600);
        let bomb = format!("a: &a [x]\nb: &b [{}]\n", "*a,".repeat(10_000));
        assert!(!why(&bomb).is_empty());
    }

    #[test]
    fn an_endless_file_is_refused() {
        let endless = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(endless.contains("larger than 262144 bytes"), "{endless}");
        assert!(read(Path::new("/nowhere")).unwrap_err().to_string().contains("cannot be read"));
    }
}
