//! What can go wrong while the world is set up; each text says what to do next.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a [`World`](crate::World) could not be started or restarted.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A binary has to be built and there is no Go toolchain to do it.
    #[error(
        "{binary} is not built and `go` was not found: install Go 1.26 or newer, \
         or put the binary into {}", directory.display()
    )]
    GoMissing {
        /// Name of the binary that is missing.
        binary: &'static str,
        /// Where the binary is looked for.
        directory: PathBuf,
    },
    /// `go build` ran and failed; its output went to stderr.
    #[error("`go build {package}` failed in {}: see its output above", module.display())]
    Build {
        /// The Go package that does not build.
        package: &'static str,
        /// The tool module it was built in.
        module: PathBuf,
    },
    /// A file, a port or a child process could not be had.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was attempted, as the rest of a sentence.
        what: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A throw-away key or certificate could not be made.
    #[error("cannot make a test certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A part that is simulated did not start.
    #[error(transparent)]
    Simulated(#[from] ingress_acme_sim::SimError),
    /// The HTTP client of the management ports could not be built.
    #[error("cannot build an HTTP client: {0}")]
    Http(#[from] reqwest::Error),
    /// A server ended before it was ready.
    #[error("{name} ended with code {code} before it was ready; its log ends with:\n{log}")]
    Exited {
        /// Which server.
        name: String,
        /// Its exit code, 128 + n for signal n.
        code: i32,
        /// The last lines of its log.
        log: String,
    },
    /// A server runs but did not become ready in time.
    #[error("{name} was not ready after {waited:?}; its log ends with:\n{log}")]
    NotReady {
        /// Which server.
        name: String,
        /// How long was waited.
        waited: Duration,
        /// The last lines of its log.
        log: String,
    },
    /// No kube client could be made from a kubeconfig of this world.
    #[error("cannot make a kube client: {0}")]
    Client(String),
    /// The operator's manifest could not be applied.
    #[error("cannot install {}: {source}", manifest.display())]
    Install {
        /// The manifest.
        manifest: PathBuf,
        /// What was refused.
        source: ApplyError,
    },
}

impl StartError {
    /// Wraps an I/O error; `what` completes "cannot …".
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Why a manifest could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The text is not YAML.
    #[error("not valid YAML: {0}")]
    Yaml(String),
    /// A document lacks `apiVersion`, `kind` or `metadata.name`.
    #[error("document {number} lacks apiVersion, kind or metadata.name")]
    NotAnObject {
        /// Which document, counted from 1.
        number: usize,
    },
    /// The API server refused an object.
    #[error("{object}: {source}")]
    Api {
        /// `kind/name` of the object.
        object: String,
        /// The API server's answer.
        source: Box<kube::Error>,
    },
}

/// Why an [`Operator`](crate::Operator) could not be signalled or waited for.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The signal could not be delivered, most often because it has ended.
    #[error("cannot send {signal} to the operator: {source}")]
    Signal {
        /// Name of the signal without `SIG`.
        signal: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// It was asked to end and did not.
    #[error("the operator still runs {waited:?} after SIGTERM; its log ends with:\n{log}")]
    StillRunning {
        /// How long was waited.
        waited: Duration,
        /// The last lines of its log.
        log: String,
    },
}
