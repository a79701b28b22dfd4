#!/usr/bin/env bash
# Builds the image of the operator as an OCI layout, without a container engine: a static binary, its SBOM and licences, the
# certificates of public authorities, and nothing else. The same source gives the same bytes.
#
#   scripts/image.sh [FOLDER]          linux of this machine's architecture, into target/image/oci
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/image/oci}
tools=$PWD/.parts/image
cargo=${CARGO:-cargo}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
say() { printf '%s\n' "$*" >&2; }

case $(uname -m) in
  x86_64) arch=amd64 target=x86_64-unknown-linux-gnu ;;
  aarch64) arch=arm64 target=aarch64-unknown-linux-gnu ;;
  *) say "image: no image for $(uname -m)"; exit 1 ;;
esac

# What the binary was built from is written into it, and read out of it again.
if [ ! -x "$tools/bin/cargo-auditable" ] || [ ! -x "$tools/bin/auditable2cdx" ]; then
  say "image: installing cargo-auditable and auditable2cdx into .parts/"
  $cargo install --quiet --debug --locked --root "$tools" --target-dir "$tools/target" cargo-auditable@0.7.7 auditable2cdx@0.1.0
  rm -rf "$tools/target"
fi
# Mozilla's list of authorities, of a version that is named here, and not whatever this machine has.
if [ ! -f "$tools/certifi/cacert.pem" ]; then
  [ -x "$tools/venv/bin/pip" ] || python3 -m venv "$tools/venv"
  "$tools/venv/bin/pip" -q --disable-pip-version-check install --no-deps --target "$tools" certifi==2026.10.19.post1
fi

say "image: building for linux/$arch"
# No path of this machine gets into the binary. A C library of its own, so that the image needs none.
home=${CARGO_HOME:-$HOME/.cargo}
# Random numbers come from the system call; in a static binary the default would open /dev/urandom.
flags="-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\" --remap-path-prefix=$PWD=/src --remap-path-prefix=$home=/cargo"
variable=CARGO_TARGET_$(printf %s "$target" | tr 'a-z-' 'A-Z_')_RUSTFLAGS
env PATH="$tools/bin:$PATH" "$variable=$flags" CFLAGS="-ffile-prefix-map=$PWD=/src -ffile-prefix-map=$home=/cargo" \
  "$cargo" auditable build --locked --release --no-default-features -p serin --bin serin --target "$target" --target-dir target/image
binary=target/image/$target/release/serin

"$tools/bin/auditable2cdx" "$binary" >target/image/serin.cdx.json
python3 scripts/licences.py target/image/serin.cdx.json >target/image/LICENSES-OF-DEPENDENCIES.txt

epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
revision=$(git rev-parse HEAD)
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
rm -rf "$out"
label=org.opencontainers.image
python3 scripts/oci.py --out "$out" --tag "$version" --epoch "$epoch" --created "$created" \
  --binary "$arch=$binary" --sbom "$arch=target/image/serin.cdx.json" --certificates "$tools/certifi/cacert.pem" \
  --document LICENSE --document target/image/LICENSES-OF-DEPENDENCIES.txt \
  --label "$label.title=serin" --label "$label.description=Progressive delivery for Kubernetes" \
  --label "$label.version=$version" --label "$label.revision=$revision" --label "$label.created=$created" \
  --label "$label.source=https://github.com/serin-rs/serin" --label "$label.licenses=Apache-2.0" \
  --label "$label.documentation=https://serin-rs.github.io/serin/"
cp target/image/serin.cdx.json "$out.cdx.json"
say "image: $out, tag $version; its SBOM is $out.cdx.json"
