//! Directory of each world: logs, keys, kubeconfigs and etcd data.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::error::StartError;

/// Retention time of the directories of failed or killed tests.
const KEEP_FAILED: Duration = Duration::from_hours(24);

/// `target/control-plane` of the workspace.
pub(crate) fn shared() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/control-plane")
}

/// A world's directory, deleted on drop unless a test has failed or asked to keep the files.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    keep: AtomicBool,
    /// Locked while the world lives, so that no other world removes the directory.
    _in_use: File,
}

impl Directory {
    /// Creates a new directory, and removes old ones that are no longer in use.
    pub(crate) fn create() -> Result<Self, StartError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let runs = shared().join("run");
        let failed = || StartError::io(format!("make a directory in {}", runs.display()));
        fs::create_dir_all(&runs).map_err(failed())?;
        let runs = runs.canonicalize().map_err(failed())?;
        remove_abandoned(&runs);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = runs.join(format!("{}-{number}", std::process::id()));
            if fs::create_dir(&path).is_ok() {
                let in_use = File::create(path.join("lock")).map_err(failed())?;
                in_use.lock().map_err(failed())?;
                return Ok(Self { path, keep: AtomicBool::new(false), _in_use: in_use });
            }
            // An earlier process with the same ID left this directory: take the next number.
            if !path.exists() {
                return Err(failed()(std::io::ErrorKind::PermissionDenied.into()));
            }
        }
    }

    /// Absolute path of the directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the directory on drop, which then prints its path.
    pub(crate) fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }

    /// Writes a file and returns its absolute path.
    pub(crate) fn write(&self, name: &str, content: &str) -> Result<PathBuf, StartError> {
        let path = self.path.join(name);
        let what = format!("write {}", path.display());
        fs::write(&path, content).map_err(StartError::io(what))?;
        Ok(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if thread::panicking() || self.keep.load(Ordering::Relaxed) {
            eprintln!("control plane: logs are kept in {}", self.path.display());
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes old directories without a live world, best effort: the next world retries failures.
fn remove_abandoned(runs: &Path) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        let lock = entry.path().join("lock");
        let age = lock.metadata().and_then(|metadata| metadata.modified());
        let old = age.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > KEEP_FAILED));
        if old && File::open(&lock).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
