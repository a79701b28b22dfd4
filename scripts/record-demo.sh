#!/usr/bin/env bash
# Records `serin demo` as it is today into docs/images/demo.svg, an animation that plays wherever a picture is shown.
# Needs asciinema (Debian) and npx. Waiting is cut to a second, so that five minutes are seen in one.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
[ -x target/debug/serin ] && [ -z "${BUILD:-}" ] || $cargo build --locked -p serin
cast=$(mktemp --suffix=.cast)
trap 'rm -f "$cast"' EXIT
asciinema rec --overwrite --idle-time-limit 1 --cols 110 --rows 34 --command './target/debug/serin demo' "$cast"
npx --yes svg-term-cli@2.1.1 --in "$cast" --out docs/images/demo.svg --window --no-optimize false --width 110 --height 34
ls -l docs/images/demo.svg >&2
