//! Memory limit of the operator: a memory cgroup where one can be written.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Memory limit of `deploy/install.yaml`, in MiB.
pub(super) const LIMIT_MIB: u64 = 256;

/// A memory cgroup below our own, removed on drop. Without one, the guard's samples are the limit.
pub(super) struct MemoryLimit {
    cgroup: Option<PathBuf>,
    /// Directory of the launchers.
    directory: PathBuf,
}

impl MemoryLimit {
    pub(super) fn new(directory: &Path) -> Self {
        let cgroup = own_cgroup().and_then(|own| limited_below(&own));
        let how = if cgroup.is_some() { "a memory cgroup" } else { "samples of VmHWM" };
        figure!("worst tenant: {LIMIT_MIB} MiB by {how}");
        Self { cgroup, directory: directory.to_owned() }
    }

    /// Writes a script that enters the cgroup and becomes `program`, so that no memory is counted
    /// elsewhere.
    pub(super) fn launcher(&self, program: &str) -> PathBuf {
        let enter = self.cgroup.as_ref().map(|cgroup| {
            let list = cgroup.join("cgroup.procs");
            format!("echo $$ > '{}' || exit 1\n", list.display())
        });
        // In a cluster the operator does not share its cores with etcd, the API server and whoever
        // creates the objects. Where this is not allowed, all have the same priority.
        let first = "renice -n -10 -p $$ >/dev/null 2>&1\n";
        let enter = enter.unwrap_or_default();
        let script = format!("#!/bin/sh\n{first}{enter}exec '{program}' \"$@\"\n");
        let path = self.directory.join("limited-operator");
        fs::write(&path, script).expect("the launcher is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is executable");
        path
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        if let Some(cgroup) = &self.cgroup {
            _ = fs::remove_dir(cgroup);
        }
    }
}

/// Directory of this process's memory cgroup, of version 1 or 2.
fn own_cgroup() -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let of = |controllers: &str| {
        own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (names, path) = rest.split_once(':')?;
            (names == controllers).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    let first = of("memory").map(|path| Path::new("/sys/fs/cgroup/memory").join(path));
    first.or_else(|| of("").map(|path| Path::new("/sys/fs/cgroup").join(path)))
}

/// Makes a cgroup with the limit; `None` where this is not allowed, or where the kernel does not
/// count memory there.
fn limited_below(own: &Path) -> Option<PathBuf> {
    let cgroup = own.join(format!("ingress-acme-{}", std::process::id()));
    fs::create_dir(&cgroup).ok()?;
    let limit = (LIMIT_MIB * 1024 * 1024).to_string();
    let limits = ["memory.limit_in_bytes", "memory.max"];
    let file = limits.map(|file| cgroup.join(file)).into_iter().find(|file| file.exists());
    if file.is_some_and(|file| fs::write(file, limit).is_ok()) {
        return Some(cgroup);
    }
    _ = fs::remove_dir(&cgroup);
    None
}
