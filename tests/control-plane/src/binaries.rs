//! The servers' binaries, built from the Go tool modules when needed.
//!
//! A binary is built when the file is missing, or when the module's go.mod or go.sum has changed
//! since the last build. A binary without a record of its build (from a cache, or put there by
//! hand) is used unchanged.

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

const TOOLS: [Tool; 5] = [
    Tool { name: "etcd", module: "etcd", package: "go.etcd.io/etcd/server/v3" },
    Tool {
        name: "kube-apiserver",
        module: "kubernetes",
        package: "k8s.io/kubernetes/cmd/kube-apiserver",
    },
    Tool {
        name: "kube-controller-manager",
        module: "kubernetes",
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
}

impl Binaries {
    /// Builds missing and outdated binaries; blocks for minutes the first time.
    pub(crate) fn ensure() -> Result<Self, StartError> {
        let failed = || StartError::io("prepare the directory of the control plane's binaries");
        let directory = directory::shared().join("bin");
        fs::create_dir_all(&directory).map_err(failed())?;
        let directory = directory.canonicalize().map_err(failed())?;
        let _lock = lock(&directory.join("lock")).map_err(failed())?;
        for tool in &TOOLS {
            tool.ensure(&directory)?;
        }
        Ok(Self { directory })
    }

    /// Path of the binary with this name.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Tool {
    fn ensure(&self, directory: &Path) -> Result<(), StartError> {
        let stamp = directory.join(format!("{}.stamp", self.name));
        let versions = self.versions()?;
        if directory.join(self.name).exists() {
            match fs::read_to_string(&stamp) {
                Ok(built_from) if built_from == versions => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                _ => self.build(directory)?,
            }
        } else {
            self.build(directory)?;
        }
        fs::write(stamp, versions).map_err(StartError::io("record what a binary was built from"))
    }

    fn module(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(self.module)
    }

    /// Contents of go.mod and go.sum, which decide the version that is built.
    fn versions(&self) -> Result<String, StartError> {
        let read = |file: &str| {
            let path = self.module().join(file);
            fs::read_to_string(&path).map_err(StartError::io(format!("read {}", path.display())))
        };
        Ok(read("go.mod")? + &read("go.sum")?)
    }

    /// Builds beside the target and renames, so that a binary is always complete.
    fn build(&self, directory: &Path) -> Result<(), StartError> {
        let Self { name, package, .. } = *self;
        eprintln!("control plane: building {name}; only the first run takes this long");
        let fresh = directory.join(format!("{name}.new"));
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&fresh)
            .arg(package)
            .current_dir(self.module())
            .env("CGO_ENABLED", "0")
            .stdin(Stdio::null())
            .status();
        match built {
            Ok(status) if status.success() => fs::rename(&fresh, directory.join(name))
                .map_err(StartError::io(format!("put {name} in its place"))),
            Ok(_) => Err(StartError::Build { package, module: self.module() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StartError::GoMissing { binary: name, directory: directory.to_owned() })
            }
            Err(error) => Err(StartError::io("run go")(error)),
        }
    }
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
