#!/bin/sh
# Writes the files of a release to dist/: for each target a program that is linked statically, in an archive, and its
# SBOM (CycloneDX, from the list of crates in the program); the Krew manifest; SHA256SUMS.
#
#   release/build.sh URL [TARGET...]
#
# URL is the address under which the files will be. Needs cargo-auditable and auditable2cdx, and the targets installed;
# without a target, that of this machine.
set -eu

cd "$(dirname "$0")/.."
url=$1
shift
[ $# -gt 0 ] || set -- "$(rustc -vV | sed -n 's/^host: //p')"
if ! cargo auditable --version >/dev/null 2>&1 || ! command -v auditable2cdx >/dev/null; then
    echo "install the tools: cargo install --locked cargo-auditable@0.7.7 auditable2cdx@0.1.0" >&2
    exit 1
fi
version=$(cargo pkgid --package ingress-acme | sed 's/.*[#@]//')
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

rm -rf dist && mkdir dist
programs=
for target in "$@"; do
    # musl's targets link statically by themselves. The directory has the build of the image check, too.
    RUSTFLAGS="-C target-feature=+crt-static" cargo auditable build --release --locked --no-default-features \
        --bin ingress-acme --target "$target" --target-dir target/static
    program=target/static/$target/release/ingress-acme
    auditable2cdx "$program" > "dist/ingress-acme-$version-$target.cdx.json"
    programs="$programs $target=$program"
done
# shellcheck disable=SC2086 # one word for each
release/package.sh "$version" "$url" dist $programs
ls -l dist
