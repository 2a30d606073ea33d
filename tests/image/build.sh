#!/bin/sh
# Builds the image by the Dockerfile with buildah, where no base image can be had: in place of Alpine with Rust, the first
# stage runs on the files of this machine, read-only, and links with its C library (glibc) statically. Then checks the
# image, and leaves its root filesystem in target/image-check/root.
#
# Needs buildah, Rust, a C compiler and cargo-auditable on Debian or a distribution like it, and root.
set -eu

cd "$(dirname "$0")/../.."
if ! command -v buildah >/dev/null || ! cargo auditable --version >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
    echo "needs root, buildah (apt-get install buildah) and cargo install --locked cargo-auditable@0.7.7" >&2
    exit 1
fi
most=25000000 # bytes of the image
here=$PWD/target/image-check
cargo=${CARGO_HOME:-$HOME/.cargo} rustup=${RUSTUP_HOME:-$HOME/.rustup}
host=$(rustc -vV | sed -n 's/^host: //p')
mkdir -p "$here" target/static
cargo fetch --locked --quiet

builder() { # buildah with a storage of its own, which needs neither overlayfs nor fuse
    buildah --root "$here/storage" --runroot "$here/run" --storage-driver vfs "$@"
}
builder rm --all >/dev/null
builder rmi --all --force >/dev/null

# The base: directories to mount on, and the one file that the last stage copies out of it.
base=$(builder from scratch)
root=$(builder mount "$base")
mkdir -p "$root/etc/ssl/certs" "$root/usr" "$root/tmp" "$root/proc" "$root/dev" "$root/target" "$root/etc/alternatives" \
    "$root$cargo" "$root$rustup"
for one in bin lib lib64 sbin; do [ ! -e "/$one" ] || ln -s "usr/$one" "$root/$one"; done
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
builder umount "$base" >/dev/null
builder config --env "PATH=$cargo/bin:/usr/bin:/bin" --env "CARGO_HOME=$cargo" --env "RUSTUP_HOME=$rustup" \
    --env CARGO_NET_OFFLINE=true --env CARGO_TARGET_DIR=/target --env "CARGO_BUILD_TARGET=$host" \
    --env RUSTFLAGS="-C target-feature=+crt-static" "$base"
builder commit --quiet --rm "$base" localhost/rust-of-this-machine >/dev/null

volumes="--volume /etc/alternatives:/etc/alternatives:ro" # where /usr/bin/cc leads
# Not /usr as a whole, because the Dockerfile has a mount below /usr/local.
for one in bin include lib lib64 libexec share; do
    [ ! -e "/usr/$one" ] || volumes="$volumes --volume /usr/$one:/usr/$one:ro"
done
# shellcheck disable=SC2086 # one word for each
builder build --isolation chroot --pull=never --build-arg RUST=localhost/rust-of-this-machine --tag localhost/ingress-acme \
    $volumes --volume "$cargo:$cargo" --volume "$rustup:$rustup:ro" --volume "$PWD/target/static:/target" .

image=$(builder from --pull-never localhost/ingress-acme)
user=$(builder inspect --type image --format '{{.OCIv1.Config.User}}' localhost/ingress-acme)
rm -rf "$here/root"
cp -a "$(builder mount "$image")" "$here/root"
builder umount "$image" >/dev/null
builder rm "$image" >/dev/null

size=$(find "$here/root" -type f -printf '%s\n' | awk '{ all += $1 } END { print all }')
echo "image: $size bytes, user $user, files:" && (cd "$here/root" && find . -type f)
[ "$user" = 65532:65532 ] || { echo "the image has another user" >&2; exit 1; }
[ "$size" -le $most ] || { echo "the image is larger than $most bytes" >&2; exit 1; }
# An ELF file without an interpreter is linked statically.
if readelf --program-headers "$here/root/ingress-acme" | grep -q INTERP; then
    echo "the program needs a dynamic linker, and the image has none" >&2
    exit 1
fi
readelf --section-headers --wide "$here/root/ingress-acme" | grep -q '\.dep-v0' ||
    { echo "the program has no list of its crates (cargo auditable)" >&2; exit 1; }
