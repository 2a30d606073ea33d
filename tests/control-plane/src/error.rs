//! Errors of setting up a world; each message says how to continue.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Error of starting or restarting a [`World`](crate::World).
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A binary is not built yet, and a program that builds it is missing.
    #[error(
        "`{program}` was not found, which builds servers of the tests: install Go 1.26 or newer, \
         and Python 3 with pip"
    )]
    ToolMissing {
        /// Name of the missing program.
        program: String,
    },
    /// The variable that chooses the release of Kubernetes names one without a tool module.
    #[error("{variable}={named} names no release of Kubernetes that the tests can build; known: {}", known.join(", "))]
    UnknownRelease {
        /// Name of the variable.
        variable: &'static str,
        /// Value of the variable.
        named: String,
        /// Releases with a tool module, besides the newest.
        known: &'static [&'static str],
    },
    /// A command that builds a binary failed; its output went to stderr.
    #[error("a build failed, see its output above: {command}")]
    Build {
        /// The command line.
        command: String,
    },
    /// Sources of a server are not those that the changes are made for.
    #[error("cannot build {module}: {problem}")]
    Sources {
        /// Go module, with its version.
        module: &'static str,
        /// What is different.
        problem: String,
    },
    /// A file, a port or a child process is not available.
    #[error("cannot {what}: {source}")]
    Io {
        /// The attempted action, completing "cannot …".
        what: String,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A test key or certificate could not be made.
    #[error("cannot make a test certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A simulated part did not start.
    #[error(transparent)]
    Simulated(#[from] ingress_acme_sim::SimError),
    /// The HTTP client of the management ports could not be built.
    #[error("cannot build an HTTP client: {0}")]
    Http(#[from] reqwest::Error),
    /// A server ended before readiness.
    #[error("{name} ended with code {code} before it was ready; its log ends with:\n{log}")]
    Exited {
        /// Name of the server.
        name: String,
        /// Exit code; 128 + n for signal n.
        code: i32,
        /// Last lines of the server's log.
        log: String,
    },
    /// A server runs but did not become ready in time.
    #[error("{name} was not ready after {waited:?}; its log ends with:\n{log}")]
    NotReady {
        /// Name of the server.
        name: String,
        /// Time waited.
        waited: Duration,
        /// Last lines of the server's log.
        log: String,
    },
    /// No kube client could be made from a kubeconfig of this world.
    #[error("cannot make a kube client: {0}")]
    Client(String),
    /// The operator's manifest could not be applied.
    #[error("cannot install {}: {source}", manifest.display())]
    Install {
        /// Path of the manifest.
        manifest: PathBuf,
        /// Error of the failed object.
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

/// Error of applying a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The text is not YAML.
    #[error("not valid YAML: {0}")]
    Yaml(String),
    /// A document lacks `apiVersion`, `kind` or `metadata.name`.
    #[error("document {number} lacks apiVersion, kind or metadata.name")]
    NotAnObject {
        /// Number of the document, counted from 1.
        number: usize,
    },
    /// The API server refused an object.
    #[error("{object}: {source}")]
    Api {
        /// `kind/name` of the object.
        object: String,
        /// Error of the request.
        source: Box<kube::Error>,
    },
}

/// Error of signalling an [`Operator`](crate::Operator) or waiting for its end.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The signal could not be delivered, most often because the operator has ended.
    #[error("cannot send {signal} to the operator: {source}")]
    Signal {
        /// Name of the signal without `SIG`.
        signal: String,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The operator did not end after SIGTERM.
    #[error("the operator still runs {waited:?} after SIGTERM; its log ends with:\n{log}")]
    StillRunning {
        /// Time waited.
        waited: Duration,
        /// Last lines of the operator's log.
        log: String,
    },
}
