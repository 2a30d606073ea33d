//! The program as the kubelet starts it: from the root filesystem of an image, read-only, as the
//! image's user, with the files of a Pod. It finds the CA by DNS, and verifies its certificate.
//!
//! `make image-check` names the root filesystem of the image. Without one, this build's program and
//! its libraries are the root filesystem.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ingress_acme_control_plane::{Operator, OperatorOptions, World, retry_when_wedged};
use ingress_acme_sim::dns::Dns;
use ingress_acme_sim::pki::SERVER_NAME;
use serde_json::Value;

use crate::alone;
use crate::sites::{Site, certificate, namespace, verify};

/// Variable with the path of the root filesystem.
const IMAGE_ROOT: &str = "IMAGE_ROOT";
/// `USER` of the Dockerfile.
const USER: &str = "65532";
/// Address for `/etc/resolv.conf`, at port 53; only root may listen there.
const NAMESERVER: [u8; 4] = [127, 0, 0, 77];
const ACCOUNT: &str = "var/run/secrets/kubernetes.io/serviceaccount";

/// Mounts the root filesystem ($root), the files of the Pod ($files) and the devices that each
/// container has in a mount namespace of their own, and becomes the program.
const START: &str = r#"
if [ -z "${INSIDE:-}" ]; then INSIDE=1 exec unshare --mount --propagation private "$0" "$@"; fi
chroot=$(PATH=$PATH:/usr/sbin command -v chroot)
mount --bind "$root" "$root"
for one in etc/hosts etc/resolv.conf etc/ingress-acme var/run/secrets; do
    mount --bind -o ro "$files/$one" "$root/$one"
done
for one in null zero random urandom; do mount --bind "/dev/$one" "$root/dev/$one"; done
mount --bind /proc "$root/proc"
mount -o remount,bind,ro "$root"
exec env -i POD_NAME="$POD_NAME" INGRESS_ACME_SOLVER_LINGER="$INGRESS_ACME_SOLVER_LINGER" \
    KUBERNETES_SERVICE_HOST="$host" KUBERNETES_SERVICE_PORT="$port" \
    "$chroot" --userspec="$user:$user" --groups= "$root" /ingress-acme "$@"
"#;

/// Writes a file, with its directories.
fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("its directory");
    fs::write(path, content).expect("the file");
}

/// This build's program with the libraries that it is linked with, as a root filesystem.
fn program_with_libraries(root: &Path) {
    let program = env!("CARGO_BIN_EXE_ingress-acme");
    let linked = Command::new("ldd").arg(program).output().expect("ldd is there").stdout;
    let linked = String::from_utf8(linked).expect("paths");
    let libraries = linked.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain([program]) {
        let place = if file == program { "ingress-acme" } else { &file[1..] };
        let place = root.join(place);
        fs::create_dir_all(place.parent().expect("a directory")).expect("its directory");
        fs::copy(file, place).expect("a copy");
    }
}

/// Files that Kubernetes puts into each container.
fn files_of_the_pod(world: &World, files: &Path) -> SocketAddr {
    let text = fs::read_to_string(world.operator_kubeconfig()).expect("the kubeconfig");
    let config: Value = serde_json::from_str(&text).expect("it is JSON");
    let token = config["users"][0]["user"]["token"].as_str().expect("a token");
    let server = config["clusters"][0]["cluster"]["server"].as_str().expect("a URL");
    let root = fs::read(world.acme_ca_file()).expect("the root of all servers");
    let [a, b, c, d] = NAMESERVER;
    write(&files.join("etc/resolv.conf"), format!("nameserver {a}.{b}.{c}.{d}\n"));
    write(&files.join("etc/hosts"), "127.0.0.1 localhost\n");
    write(&files.join("etc/ingress-acme/root.pem"), &root);
    write(&files.join(ACCOUNT).join("token"), token);
    write(&files.join(ACCOUNT).join("ca.crt"), &root);
    write(&files.join(ACCOUNT).join("namespace"), "ingress-acme");
    server.trim_start_matches("https://").parse().expect("an address")
}

/// Writes the program that starts the operator in its root filesystem, and returns its path.
fn start_in(world: &World, root: &Path) -> PathBuf {
    let files = world.directory().join("pod");
    let api = files_of_the_pod(world, &files);
    // A container runtime makes what it mounts on, too.
    for directory in ["proc", "dev", "etc/ingress-acme", "var/run/secrets"] {
        fs::create_dir_all(root.join(directory)).expect("a directory");
    }
    let devices = ["dev/null", "dev/zero", "dev/random", "dev/urandom"];
    for file in ["etc/hosts", "etc/resolv.conf"].into_iter().chain(devices) {
        fs::File::create(root.join(file)).expect("a file");
    }
    let (root, files) = (root.display(), files.display());
    let (host, port) = (api.ip(), api.port());
    let head = format!(
        "#!/bin/sh -eu\nroot='{root}' files='{files}' host={host} port={port} user={USER}\n"
    );
    let path = world.directory().join("start-in-image");
    write(&path, head + START);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is a program");
    path
}

/// Reads the user of a process, and the mount options of its root directory.
fn user_and_root(pid: u32) -> (String, String) {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a process");
    let status = read("status");
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("a user");
    let mounts = read("mountinfo");
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let root = fields.rfind(|fields| fields[4] == "/").expect("a root directory");
    (user.split_whitespace().next().unwrap_or_default().to_owned(), root[5].to_owned())
}

fn checked(operator: &Operator) {
    let (user, options) = user_and_root(operator.pid());
    assert_eq!(user, USER);
    assert!(options.split(',').any(|option| option == "ro"), "mounted {options}");
}

#[actix::test]
async fn from_a_read_only_root_as_the_images_user_the_ca_is_found_by_dns_and_verified() {
    let _alone = alone().await;
    let image = std::env::var_os(IMAGE_ROOT).map(PathBuf::from);
    if !rustix::process::geteuid().is_root() {
        assert!(image.is_none(), "only root may mount a root filesystem");
        figure!("only root may mount, so the program is not started from a root filesystem");
        return;
    }
    let _dns = Dns::start_at((NAMESERVER, 53).into()).expect("a nameserver at port 53");
    retry_when_wedged(3, async |world: &World| {
        let root = image.clone().unwrap_or_else(|| world.directory().join("root"));
        if image.is_none() {
            program_with_libraries(&root);
        }
        let client = world.admin();
        namespace(&client, "web").await;
        let directory = world.acme_directory().replace("localhost", SERVER_NAME);
        assert!(directory.contains(SERVER_NAME), "{directory}");
        let options = OperatorOptions::new(start_in(world, &root)).args([
            format!("--acme-directory={directory}"),
            "--acme-ca-file=/etc/ingress-acme/root.pem".to_owned(),
        ]);
        let operator = world.start_operator(options).await.expect("the operator starts");
        checked(&operator);
        Site::new("web", "shop", &["shop.example.com"]).create(&client).await;
        let issued = certificate(&client, "web", "shop-tls", &["shop.example.com"]).await;
        verify(world, &issued).await;
        assert_eq!(operator.terminate().await.expect("it ends"), 0);
    })
    .await;
}
