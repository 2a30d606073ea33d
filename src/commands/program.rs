//! Name under which the program was called: by itself, or by kubectl as a plugin
//! (<https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/>).

use std::ffi::OsStr;
use std::path::Path;

use clap::{Command, CommandFactory};

use super::cli::Cli;

/// How the program was called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CalledAs {
    /// By itself.
    Program,
    /// `kubectl ingress-acme …`: kubectl runs `kubectl-ingress_acme`.
    Plugin,
    /// `kubectl ingress-acme … <Tab>`: kubectl runs `kubectl_complete-ingress_acme`.
    Completion,
}

impl CalledAs {
    /// Reads the first argument of the process.
    pub fn read(program: Option<&OsStr>) -> Self {
        let name = program.map(Path::new).and_then(Path::file_stem).and_then(OsStr::to_str);
        match name {
            Some("kubectl-ingress_acme") => Self::Plugin,
            Some("kubectl_complete-ingress_acme") => Self::Completion,
            _ => Self::Program,
        }
    }

    /// The command line, with the name that users type.
    pub fn command(self) -> Command {
        match self {
            Self::Program => Cli::command(),
            Self::Plugin | Self::Completion => Cli::command().bin_name("kubectl ingress-acme"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_calls_the_program_by_a_name_of_its_own() {
        let read = |name: &str| CalledAs::read(Some(OsStr::new(name)));
        assert_eq!(CalledAs::read(None), CalledAs::Program);
        for name in ["ingress-acme", "/ingress-acme", "ingress-acme.exe", "kubectl", ""] {
            assert_eq!(read(name), CalledAs::Program, "{name}");
        }
        for name in ["/root/.krew/bin/kubectl-ingress_acme", "kubectl-ingress_acme.exe"] {
            assert_eq!(read(name), CalledAs::Plugin, "{name}");
        }
        assert_eq!(read("/usr/bin/kubectl_complete-ingress_acme"), CalledAs::Completion);
    }
}
