#!/bin/sh
# Packs programs for a release: an archive for each target, the Krew manifest of the kubectl plugin, and their checksums.
#
#   release/package.sh VERSION URL DIRECTORY TARGET=PROGRAM...
#
# URL is the address under which the archives will be. The same programs make the same bytes, whoever packs them and
# when: sorted, without owners, all of the time SOURCE_DATE_EPOCH (by default 1970).
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
version=$1 url=$2 out=$3
shift 3
mkdir -p "$out"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

platform() { # os and architecture of Go, by which Krew selects
    case $1 in
        x86_64-unknown-linux-*) echo linux amd64 ;;
        aarch64-unknown-linux-*) echo linux arm64 ;;
        x86_64-apple-darwin) echo darwin amd64 ;;
        aarch64-apple-darwin) echo darwin arm64 ;;
        *) echo "release/package.sh: Krew has no platform for $1" >&2; exit 1 ;;
    esac
}

# kubectl finds a plugin of two words by an underscore; Krew makes that name from the plugin's.
cat > "$stage/krew.yaml" <<END
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: ingress-acme
spec:
  version: v$version
  homepage: https://ingress-acme.dev
  shortDescription: See and renew the TLS certificates of Ingresses
  description: |
    Shows the Ingresses that the operator ingress-acme serves with certificates of an ACME CA such as Let's Encrypt, explains
    what is in the way of one, and renews or revokes certificates.
  caveats: |
    The operator has to be in the cluster: https://ingress-acme.dev
  platforms:
END

for one in "$@"; do
    target=${one%%=*} program=${one#*=}
    pair=$(platform "$target")
    archive=ingress-acme-$version-$target.tar.gz
    rm -rf "$stage/files" && mkdir "$stage/files"
    cp "$program" "$stage/files/ingress-acme"
    cp "$root/LICENSE" "$root/README.md" "$stage/files/"
    chmod 755 "$stage/files/ingress-acme"
    tar --sort=name --mtime="@${SOURCE_DATE_EPOCH:-0}" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
        --format=ustar -C "$stage/files" -cf - LICENSE README.md ingress-acme | gzip -9n > "$out/$archive"
    sum=$(sha256sum "$out/$archive" | cut -d ' ' -f 1)
    cat >> "$stage/krew.yaml" <<END
    - selector:
        matchLabels:
          os: ${pair% *}
          arch: ${pair#* }
      uri: $url/$archive
      sha256: $sum
      bin: ingress-acme
      files:
        - {from: ingress-acme, to: .}
        - {from: LICENSE, to: .}
END
done
cp "$stage/krew.yaml" "$out/ingress-acme.yaml"
(cd "$out" && find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%P\n' | LC_ALL=C sort | xargs sha256sum > "$stage/sums")
cp "$stage/sums" "$out/SHA256SUMS"
