//! Traefik, from the Go module of its release, copied and changed.
//!
//! The module does not build as published: a nested module is not published with it, a fork is
//! not available from the module proxy, and neither are some SDKs of DNS providers (for Traefik's
//! own ACME client, which no test uses). Nothing else is changed. Hashes come from Traefik's own
//! go.sum.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::go::go;
use super::{empty, read, run};
use crate::error::StartError;

const MODULE: &str = "github.com/traefik/traefik/v3@v3.7.13";
/// Hash of the module, as `go mod download -json` reports it.
const SUM: &str = "h1:T8wy9KuaFzCkmXCqAzDy7t73pBDR1DHrJe3pqXpNXTw=";

/// The upstream of a fork, which lacks one method of the fork.
const AUTH: &str = "github.com/abbot/go-http-auth";
const AUTH_VERSION: &str = "v0.4.1-0.20220112235402-e1cee1c72f2f";
/// Lines for go.sum, without module and version.
const AUTH_SUMS: [&str; 2] = [
    " h1:R2ZVGCZzU95oXFJxncosHS9LsX8N4/MYUdGGWOb2cFk=",
    "/go.mod h1:l2P3JyHa+fjy5Bxol6y1u2o4DV/mv3QMBdBu2cNR53w=",
];

/// The nested module: structs without fields, embedded in Traefik's configuration.
const EXTENSIONS: &str = "github.com/traefik/traefik/dynamic/ext";
const EXTENSIONS_DIRECTORY: &str = "pkg/config/dynamic/ext";
const EXTENSIONS_SOURCE: &str = "package ext

type HTTP struct{}

func (*HTTP) DeepCopyInto(*HTTP) {}

type Router struct{}

func (*Router) DeepCopyInto(*Router) {}
";

/// A text that stands once in a file of the module, and its replacement.
struct Change {
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const CHANGES: [Change; 3] = [
    Change {
        file: "pkg/provider/acme/provider.go",
        from: "\t\"github.com/go-acme/lego/v5/providers/dns\"\n",
        to: "",
    },
    Change {
        file: "pkg/provider/acme/provider.go",
        from: "dns.NewDNSChallengeProviderByName(p.DNSChallenge.Provider)",
        to: "nil, errors.New(\"built without DNS providers\")",
    },
    Change {
        file: "pkg/middlewares/auth/digest_auth.go",
        from: "RequireAuthStale",
        to: "RequireAuth",
    },
];

/// Version, hashes and changes.
pub(super) fn pins() -> String {
    let changes = CHANGES.map(|Change { file, from, to }| format!("{file}: {from} → {to}\n"));
    format!(
        "{MODULE} {SUM}\n{AUTH} {AUTH_VERSION}{}\n{EXTENSIONS_SOURCE}{}",
        AUTH_SUMS.concat(),
        changes.concat()
    )
}

/// Builds Traefik in a directory for its sources, which is removed at the end.
pub(super) fn build(sources: &Path, target: &Path) -> Result<(), StartError> {
    empty(sources)?;
    copy_module(sources)?;
    for change in &CHANGES {
        change.apply(sources)?;
    }
    add_extensions(&sources.join(EXTENSIONS_DIRECTORY))?;
    replace_auth(sources)?;
    run(go(sources).args(["build", "-o"]).arg(target).arg("./cmd/traefik"))?;
    fs::remove_dir_all(sources).map_err(StartError::io("remove Traefik's sources"))
}

/// The fields of `go mod download -json` that this module uses.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    dir: String,
    sum: String,
}

fn copy_module(sources: &Path) -> Result<(), StartError> {
    let report = run(go(sources).args(["mod", "download", "-json", MODULE]))?;
    let failed = |problem: String| StartError::Sources { module: MODULE, problem };
    let Downloaded { dir, sum } =
        serde_json::from_str(&report).map_err(|error| failed(error.to_string()))?;
    if sum != SUM {
        return Err(failed(format!("its hash is {sum} and not {SUM}")));
    }
    // Files of the module cache are read-only.
    run(Command::new("cp").args(["-R", "--no-preserve=mode"]).arg(dir + "/.").arg(sources))
        .map(drop)
}

impl Change {
    fn apply(&self, sources: &Path) -> Result<(), StartError> {
        let Self { file, from, to } = self;
        let path = sources.join(file);
        let text = read(&path)?;
        let times = text.matches(from).count();
        if times != 1 {
            let problem = format!("{from:?} stands in {file} {times} times, not once");
            return Err(StartError::Sources { module: MODULE, problem });
        }
        fs::write(&path, text.replacen(from, to, 1))
            .map_err(StartError::io(format!("change {}", path.display())))
    }
}

fn add_extensions(directory: &Path) -> Result<(), StartError> {
    let failed = || StartError::io("write Traefik's nested module");
    fs::create_dir_all(directory).map_err(failed())?;
    let go_mod = format!("module {EXTENSIONS}\n\ngo 1.26.0\n");
    fs::write(directory.join("go.mod"), go_mod).map_err(failed())?;
    fs::write(directory.join("ext.go"), EXTENSIONS_SOURCE).map_err(failed())
}

fn replace_auth(sources: &Path) -> Result<(), StartError> {
    let replacement = format!("-replace={AUTH}={AUTH}@{AUTH_VERSION}");
    run(go(sources).args(["mod", "edit", &replacement]))?;
    let go_sum = sources.join("go.sum");
    let added: String = AUTH_SUMS.map(|sum| format!("{AUTH} {AUTH_VERSION}{sum}\n")).concat();
    let sums = read(&go_sum)? + &added;
    fs::write(go_sum, sums).map_err(StartError::io("write Traefik's go.sum"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_does_not_apply_is_an_error_that_names_text_and_file() {
        let sources = std::env::temp_dir().join(format!("traefik-change-{}", std::process::id()));
        let change = Change { file: "a.go", from: "old", to: "new" };
        let results = ["none", "old", "old old"].map(|text| {
            empty(&sources).unwrap();
            fs::write(sources.join("a.go"), text).unwrap();
            let applied = change.apply(&sources).map_err(|error| error.to_string());
            (applied, fs::read_to_string(sources.join("a.go")).unwrap())
        });
        fs::remove_dir_all(sources).unwrap();
        assert_eq!(results[1], (Ok(()), "new".to_owned()));
        for (index, times) in [(0, "0 times"), (2, "2 times")] {
            let error = results[index].0.clone().unwrap_err();
            assert!(error.contains("\"old\" stands in a.go") && error.contains(times), "{error}");
        }
    }
}
