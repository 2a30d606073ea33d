//! The archives of a release and their Krew manifest: the same bytes from the same programs, valid
//! for Krew, and installed as Krew does a plugin that the real kubectl runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use ingress_acme_control_plane::World;
use serde_json::{Value, json};

use crate::alone;
use crate::sites::{Site, namespace};

const URL: &str = "https://releases.example/v1";
const HERE: &str = "x86_64-unknown-linux-gnu";
/// Targets, with the platforms by which Krew selects.
const TARGETS: [(&str, &str, &str); 4] = [
    (HERE, "linux", "amd64"),
    ("aarch64-unknown-linux-musl", "linux", "arm64"),
    ("x86_64-apple-darwin", "darwin", "amd64"),
    ("aarch64-apple-darwin", "darwin", "arm64"),
];

/// Runs a program of this machine, which must succeed; returns its output.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Packs a program for targets, and returns the Krew manifest.
fn packed(program: &Path, targets: &[&str], directory: &Path) -> Value {
    let programs = targets.iter().map(|target| format!("{target}={}", program.display()));
    let programs: Vec<String> = programs.collect();
    let version = env!("CARGO_PKG_VERSION");
    let mut args = vec![version, URL, directory.to_str().expect("UTF-8")];
    args.extend(programs.iter().map(String::as_str));
    run(concat!(env!("CARGO_MANIFEST_DIR"), "/release/package.sh"), &args);
    let sums = directory.join("SHA256SUMS");
    let check = format!("cd '{}' && sha256sum --check --strict SHA256SUMS", directory.display());
    let checked = run("sh", &["-c", &check]);
    assert_eq!(checked.lines().count(), targets.len() + 1, "{}", sums.display());
    let manifest = fs::read_to_string(directory.join("ingress-acme.yaml")).expect("the manifest");
    serde_saphyr::from_str(&manifest).expect("YAML")
}

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).expect("the files").map(|entry| entry.expect("a file"));
    let read = |entry: fs::DirEntry| {
        let content = fs::read(entry.path()).expect("a file");
        (entry.file_name().into_string().expect("UTF-8"), content)
    };
    let mut all: Vec<_> = entries.map(read).collect();
    all.sort();
    all
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The rules of Krew's own validation of a manifest.
fn is_valid_for_krew(manifest: &Value) {
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(
        (&manifest["kind"], &manifest["metadata"]["name"]),
        (&json!("Plugin"), &json!("ingress-acme"))
    );
    let spec = &manifest["spec"];
    let numbers: Vec<&str> =
        text(&spec["version"]).strip_prefix('v').expect("a v").split('.').collect();
    assert!(
        numbers.len() == 3 && numbers.iter().all(|one| one.parse::<u32>().is_ok()),
        "{numbers:?}"
    );
    let short = text(&spec["shortDescription"]);
    assert!(!short.is_empty() && !short.contains('\n') && short.len() <= 50, "{short}");
    assert!(
        text(&spec["homepage"]).starts_with("https://") && !text(&spec["description"]).is_empty()
    );
    for platform in spec["platforms"].as_array().expect("platforms") {
        let sum = text(&platform["sha256"]);
        assert!(
            sum.len() == 64 && sum.bytes().all(|one| b"0123456789abcdef".contains(&one)),
            "{sum}"
        );
        assert!(
            text(&platform["uri"]).starts_with(URL) && text(&platform["uri"]).ends_with(".tar.gz")
        );
        let files = platform["files"].as_array().expect("files");
        let from: Vec<&str> = files.iter().map(|file| text(&file["from"])).collect();
        assert_eq!(
            from,
            ["ingress-acme", "LICENSE"],
            "Krew asks for the license beside the program"
        );
        assert_eq!((text(&platform["bin"]), text(&files[0]["to"])), ("ingress-acme", "."));
    }
}

#[test]
fn the_same_programs_are_the_same_release_whoever_packs_them_and_when() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let targets = TARGETS.map(|(target, ..)| target);
    fs::write(at("program"), "a program").expect("a file");
    let manifest = packed(&at("program"), &targets, &at("one"));
    is_valid_for_krew(&manifest);
    let platforms = manifest["spec"]["platforms"].as_array().expect("platforms");
    let selectors: Vec<&Value> = platforms.iter().map(|one| &one["selector"]).collect();
    let expected = TARGETS.map(|(_, os, arch)| json!({"matchLabels": {"os": os, "arch": arch}}));
    assert_eq!(selectors, expected.each_ref());

    run("touch", &["--date=2001-01-01", at("program").to_str().expect("UTF-8")]);
    run("chmod", &["700", at("program").to_str().expect("UTF-8")]);
    packed(&at("program"), &targets, &at("two"));
    assert!(files(&at("one")) == files(&at("two")));
    let archive =
        at("one").join(format!("ingress-acme-{}-{HERE}.tar.gz", env!("CARGO_PKG_VERSION")));
    let listed =
        run("tar", &["-tvzf", archive.to_str().expect("UTF-8"), "--numeric-owner", "--utc"]);
    let entries: Vec<&str> = listed.lines().collect();
    assert_eq!(entries.len(), 3, "{listed}");
    assert!(
        entries.iter().all(|entry| entry.contains(" 0/0 ") && entry.contains("1970-01-01 00:00"))
    );
    assert!(
        entries[2].starts_with("-rwxr-xr-x") && entries[2].ends_with(" ingress-acme"),
        "{listed}"
    );
}

/// Unpacks an archive as Krew does, with the plugin's link in `bin`.
fn install(platform: &Value, archives: &Path, directory: &Path) {
    let archive = archives.join(text(&platform["uri"]).rsplit('/').next().expect("a name"));
    let archive = archive.to_str().expect("UTF-8");
    let sum = run("sha256sum", &[archive]);
    assert_eq!(sum.split(' ').next(), platform["sha256"].as_str());
    let [unpacked, store, bin] = ["unpacked", "store", "bin"].map(|name| directory.join(name));
    for made in [&unpacked, &store, &bin] {
        fs::create_dir_all(made).expect("a directory");
    }
    run("tar", &["-xzf", archive, "-C", unpacked.to_str().expect("UTF-8")]);
    for file in platform["files"].as_array().expect("files") {
        let (from, to) = (text(&file["from"]), store.join(text(&file["to"])));
        fs::rename(unpacked.join(from), to.join(from)).expect("the file is in the archive");
    }
    symlink(store.join(text(&platform["bin"])), bin.join("kubectl-ingress_acme")).expect("a link");
}

/// Output of kubectl with the plugin on its path.
async fn kubectl(world: &World, bin: &Path, args: &[&str]) -> String {
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let output = world.kubectl().args(args).env("PATH", path).output().await;
    let output = output.expect("kubectl starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {args:?}: {error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[actix::test]
async fn an_archive_installed_as_krew_does_is_a_plugin_that_kubectl_runs() {
    let _alone = alone().await;
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    // Lines of debug information are nine tenths of the program of the tests.
    let program = at("ingress-acme");
    let stripped = program.to_str().expect("UTF-8");
    run("strip", &["-o", stripped, env!("CARGO_BIN_EXE_ingress-acme")]);
    let manifest = packed(&program, &[HERE], &at("dist"));
    is_valid_for_krew(&manifest);
    install(&manifest["spec"]["platforms"][0], &at("dist"), directory.path());

    let world = World::start().await.expect("the world starts");
    namespace(&world.admin(), "web").await;
    Site::new("web", "shop", &["shop.example.com"]).create(&world.admin()).await;
    let listed = kubectl(&world, &at("bin"), &["plugin", "list"]).await;
    assert!(listed.contains("kubectl-ingress_acme"), "{listed}");
    let help = kubectl(&world, &at("bin"), &["ingress-acme", "--help"]).await;
    assert!(help.contains("status") && help.contains("explain"), "{help}");
    let status = kubectl(&world, &at("bin"), &["ingress-acme", "status", "-A"]).await;
    assert!(status.contains("web         shop   False   shop-tls"), "{status}");
}
