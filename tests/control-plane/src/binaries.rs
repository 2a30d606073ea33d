//! The servers' binaries, built from the Go tool modules when needed.
//!
//! A binary is built when the file is missing, or when the module's go.mod or go.sum has changed
//! since the last build. A binary without a record of its build (from a cache, or put there by
//! hand) is used unchanged.
//!
//! The variable `KUBERNETES` chooses the release of Kubernetes. Each older release has a tool
//! module and a directory of binaries of its own, so that a change of release builds nothing again.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::directory;
use crate::error::StartError;

/// A server: file name of the binary, Go tool module and Go package.
struct Tool {
    name: &'static str,
    module: &'static str,
    package: &'static str,
}

/// Variable that chooses the release of Kubernetes; without it, or if it is empty, the newest.
const RELEASE: &str = "KUBERNETES";

/// Older releases of Kubernetes. The tool module of each is `kubernetes-<release>`.
const OLDER: [&str; 1] = ["1.34"];

/// Tool module of Kubernetes.
const KUBERNETES: &str = "kubernetes";

const TOOLS: [Tool; 5] = [
    Tool { name: "etcd", module: "etcd", package: "go.etcd.io/etcd/server/v3" },
    Tool {
        name: "kube-apiserver",
        module: KUBERNETES,
        package: "k8s.io/kubernetes/cmd/kube-apiserver",
    },
    Tool {
        name: "kube-controller-manager",
        module: KUBERNETES,
        package: "k8s.io/kubernetes/cmd/kube-controller-manager",
    },
    Tool {
        name: "pebble",
        module: "pebble",
        package: "github.com/letsencrypt/pebble/v2/cmd/pebble",
    },
    Tool {
        name: "pebble-challtestsrv",
        module: "pebble",
        package: "github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv",
    },
];

/// Proof that every binary exists and is up to date.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    directory: PathBuf,
    older: Option<&'static str>,
}

impl Binaries {
    /// Builds missing and outdated binaries; blocks for minutes the first time.
    pub(crate) fn ensure() -> Result<Self, StartError> {
        let failed = || StartError::io("prepare the directory of the control plane's binaries");
        let older = older(env::var(RELEASE).ok().as_deref())?;
        let directory = directory::shared().join("bin");
        let made = older.map_or_else(|| directory.clone(), |release| directory.join(release));
        fs::create_dir_all(made).map_err(failed())?;
        let directory = directory.canonicalize().map_err(failed())?;
        let _lock = lock(&directory.join("lock")).map_err(failed())?;
        let binaries = Self { directory, older };
        for tool in &TOOLS {
            tool.ensure(older, &binaries.directory_of(tool))?;
        }
        Ok(binaries)
    }

    /// Path of the binary with this name.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let tool = TOOLS.iter().find(|tool| tool.name == name);
        tool.map_or_else(|| self.directory.clone(), |tool| self.directory_of(tool)).join(name)
    }

    fn directory_of(&self, tool: &Tool) -> PathBuf {
        let older = self.older.filter(|_| tool.module == KUBERNETES);
        older.map_or_else(|| self.directory.clone(), |release| self.directory.join(release))
    }
}

/// Older release of Kubernetes that the variable names; `None` for the newest.
fn older(named: Option<&str>) -> Result<Option<&'static str>, StartError> {
    let Some(named) = named.filter(|named| !named.is_empty()) else { return Ok(None) };
    let known = OLDER.iter().find(|release| **release == named);
    known.map(|release| Some(*release)).ok_or_else(|| StartError::UnknownRelease {
        variable: RELEASE,
        named: named.to_owned(),
        known: &OLDER,
    })
}

impl Tool {
    fn ensure(&self, older: Option<&str>, directory: &Path) -> Result<(), StartError> {
        let stamp = directory.join(format!("{}.stamp", self.name));
        let module = self.module(older);
        let versions = versions(&module)?;
        if directory.join(self.name).exists() {
            match fs::read_to_string(&stamp) {
                Ok(built_from) if built_from == versions => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                _ => self.build(&module, directory)?,
            }
        } else {
            self.build(&module, directory)?;
        }
        fs::write(stamp, versions).map_err(StartError::io("record what a binary was built from"))
    }

    fn module(&self, older: Option<&str>) -> PathBuf {
        let older = older.filter(|_| self.module == KUBERNETES);
        let module =
            older.map_or(self.module.to_owned(), |release| format!("{KUBERNETES}-{release}"));
        Path::new(env!("CARGO_MANIFEST_DIR")).join(module)
    }

    /// Builds beside the target and renames, so that a binary is always complete.
    fn build(&self, module: &Path, directory: &Path) -> Result<(), StartError> {
        let Self { name, package, .. } = *self;
        eprintln!("control plane: building {name}; only the first run takes this long");
        let fresh = directory.join(format!("{name}.new"));
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&fresh)
            .arg(package)
            .current_dir(module)
            .env("CGO_ENABLED", "0")
            .stdin(Stdio::null())
            .status();
        match built {
            Ok(status) if status.success() => fs::rename(&fresh, directory.join(name))
                .map_err(StartError::io(format!("put {name} in its place"))),
            Ok(_) => Err(StartError::Build { package, module: module.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StartError::GoMissing { binary: name, directory: directory.to_owned() })
            }
            Err(error) => Err(StartError::io("run go")(error)),
        }
    }
}

/// Contents of go.mod and go.sum, which decide the version that is built.
fn versions(module: &Path) -> Result<String, StartError> {
    let read = |file: &str| {
        let path = module.join(file);
        fs::read_to_string(&path).map_err(StartError::io(format!("read {}", path.display())))
    };
    Ok(read("go.mod")? + &read("go.sum")?)
}

/// Locks the builds: two test processes must not build at once, since a build takes minutes and
/// gigabytes.
fn lock(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("control plane: waiting for another process that checks or builds it");
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    Ok(file)
}
