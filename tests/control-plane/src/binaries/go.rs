//! Go tool modules: their pins, their packages, and files of the modules that they require.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{read, run};
use crate::error::StartError;

/// Module whose version kube-apiserver tells its clients.
const KUBERNETES: &str = "k8s.io/kubernetes";
/// Variable of that version; without a value, kube-apiserver says `v0.0.0-master`, which some
/// ingress controllers refuse as too old.
const GIT_VERSION: &str = "k8s.io/component-base/version.gitVersion";

/// Contents of go.mod and go.sum, and the linker's flags: they decide on what is built.
pub(super) fn pins(module: &Path) -> Result<String, StartError> {
    let go_mod = read(&module.join("go.mod"))?;
    let flags = linker_flags(&go_mod).unwrap_or_default();
    Ok(go_mod + &read(&module.join("go.sum"))? + &flags)
}

/// Builds a package of a module.
pub(super) fn build(module: &Path, package: &str, target: &Path) -> Result<(), StartError> {
    let mut build = go(module);
    build.args(["build", "-o"]).arg(target);
    if let Some(flags) = linker_flags(&read(&module.join("go.mod"))?) {
        build.arg(format!("-ldflags={flags}"));
    }
    run(build.arg(package)).map(drop)
}

/// Copies a file out of a module that this module requires.
pub(super) fn copy(module: &Path, of: &str, file: &str, target: &Path) -> Result<(), StartError> {
    let path = downloaded(module, of)?.join(file);
    let what = format!("copy {}", path.display());
    fs::read(path).and_then(|content| fs::write(target, content)).map_err(StartError::io(what))
}

/// Directory of a required module in the module cache.
fn downloaded(module: &Path, of: &str) -> Result<PathBuf, StartError> {
    run(go(module).args(["mod", "download", of]))?;
    let found = run(go(module).args(["list", "-m", "-f", "{{.Dir}}", of]))?;
    Ok(PathBuf::from(found.trim()))
}

/// `go`, for binaries that need no C library.
pub(super) fn go(directory: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(directory).env("CGO_ENABLED", "0");
    go
}

/// Stamps the version of a module of Kubernetes into its servers.
fn linker_flags(go_mod: &str) -> Option<String> {
    let version = go_mod.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(KUBERNETES)).then(|| words.next())?
    })?;
    Some(format!("-X {GIT_VERSION}={version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kubernetes_is_stamped_and_with_its_own_version() {
        let go_mod =
            "require (\n\tk8s.io/kubelet v0.36.3\n\tk8s.io/kubernetes v1.36.3 // indirect\n)";
        let expected = "-X k8s.io/component-base/version.gitVersion=v1.36.3";
        assert_eq!(linker_flags(go_mod).as_deref(), Some(expected));
        assert_eq!(linker_flags("require k8s.io/client-go v0.36.3\n"), None);
    }
}
