//! Copies of the sources under `target/mutants`: nothing in the worktree is ever changed.

use std::path::Path;

use anyhow::Context;

use crate::build::Package;

/// Copies the sources: once unchanged, and once for each package that is built with switches.
pub(crate) fn copy(root: &Path, work: &Path) -> anyhow::Result<()> {
    let switch = std::fs::read_to_string(root.join("tests/mutants/switch.rs"))?;
    for package in ["sources", "rules"] {
        let folder = work.join(package);
        copy_tree(&root.join("actors/src/domain"), &folder.join("src/domain"))?;
        write(
            &folder.join("src/domain.rs"),
            &std::fs::read_to_string(root.join("actors/src/domain.rs"))?,
        )?;
        let mut library = "#![allow(warnings)]\npub mod domain;\n".to_owned();
        if package == "rules" {
            library.push_str("pub mod mutant;\n");
            write(&folder.join("src/mutant.rs"), &switch)?;
        }
        write(&folder.join("src/lib.rs"), &library)?;
        write(
            &folder.join("Cargo.toml"),
            &std::fs::read_to_string(root.join("tests/mutants/rules.toml"))?,
        )?;
        write(&folder.join("Cargo.lock"), &std::fs::read_to_string(root.join("Cargo.lock"))?)?;
    }
    let flows = work.join("flows");
    copy_tree(&root.join("actors"), &flows.join("actors"))?;
    let library = std::fs::read_to_string(root.join("actors/src/lib.rs"))?;
    write(
        &flows.join("actors/src/lib.rs"),
        &format!("{library}\n#[allow(warnings)]\npub mod mutant;\n"),
    )?;
    write(&flows.join("actors/src/mutant.rs"), &switch)?;
    write(&flows.join("Cargo.lock"), &std::fs::read_to_string(root.join("Cargo.lock"))?)?;
    write(&flows.join("README.md"), "A copy for mutation tests.\n")?;
    let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let shared = manifest.find("[workspace.package]").context("the workspace has a package")?;
    let workspace =
        format!("[workspace]\nmembers = [\"actors\"]\nresolver = \"3\"\n\n{}", &manifest[shared..]);
    write(&flows.join("Cargo.toml"), &workspace)
}

/// Domain alone, with its unit tests.
pub(crate) fn rules(work: &Path) -> Package {
    Package {
        folder: work.join("rules"),
        target: work.join("build"),
        targets: vec!["--lib".to_owned()],
    }
}

/// Actors with their tests on fakes. The programs `invariants` and `model` are left out: each of
/// their tests takes minutes, and there would be one run for each mutant.
pub(crate) fn flows(work: &Path) -> Package {
    let targets = ["--all-features", "--test", "fakes"].map(str::to_owned).to_vec();
    Package { folder: work.join("flows/actors"), target: work.join("build-flows"), targets }
}

fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().context("a file has a name")?);
        if path.is_dir() {
            copy_tree(&path, &target)?;
        } else {
            write(&target, &std::fs::read_to_string(&path)?)?;
        }
    }
    Ok(())
}

/// Writes a file if it differs, so that cargo builds no more than has changed.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if std::fs::read_to_string(file).is_ok_and(|old| old == text) {
        return Ok(());
    }
    Ok(std::fs::write(file, text)?)
}
