#!/usr/bin/env bash
# Builds what is missing, starts a bed, runs the scenarios and takes the bed down: conformance.sh VERSION [NAME...]
# `difference` among the names runs the difference test; without names, it and all scenarios are run.
# Says why and ends well where it cannot be run at all; MINUTES bounds the time, KEEP=1 leaves the bed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=$1; shift
cd "$here/.."
# What is tried is what is there now, unless SERIN_BIN names another.
[ -n "${SERIN_BIN:-}" ] && named=1
built_serin() { [ -n "${named:-}" ] || cargo build -q --locked -p serin; }
skip() { echo "conformance: skipped: $*"; exit 0; }

if [ -n "${KUBECONFIG:-}" ]; then
  export SERIN_BIN=${SERIN_BIN:-$PWD/target/debug/serin}
  built_serin
  mkdir -p .parts/conformance
  exec python3 "$here/run.py" ${MINUTES:+--minutes "$MINUTES"} ${JOBS:+--jobs "$JOBS"} ${AGAIN:+--again} "$@"
fi
if [ "$version" = local ]; then
  # The same scenarios on the local cluster, for the figures beside.
  parts=$(scripts/parts.sh) && eval "$parts"
  export SERIN_BIN=${SERIN_BIN:-$PWD/target/debug/serin} SERIN_RUNS=1
  built_serin
  command -v go >/dev/null || skip "Go is not installed, and the load is built with it"
  ONLY_PROGRAMS=1 "$here/build.sh" local
  out=.parts/conformance/local.out
  # The shortest interval is the operator's default, as in the bed.
  "$SERIN_BIN" local --traefik="$SERIN_TRAEFIK" --prometheus="$SERIN_PROMETHEUS" --min-interval 10 --api 127.0.0.1:0 --gateway 127.0.0.1:0 \
    --gateway-admin 127.0.0.1:0 --metrics 127.0.0.1:0 >"$out" 2>.parts/conformance/local.log &
  local_pid=$!
  trap 'kill $local_pid 2>/dev/null; wait $local_pid' EXIT
  for _ in $(seq 120); do grep -q 'export KUBECONFIG=' "$out" && break; kill -0 $local_pid || exit 1; sleep 0.5; done
  eval "$(grep -o 'export KUBECONFIG=[^ ]*' "$out" | head -1)"
  SERIN_GATEWAY=$(awk '/^  gateway /{print $2}' "$out")/ python3 "$here/run.py" ${MINUTES:+--minutes "$MINUTES"} ${JOBS:+--jobs "$JOBS"} ${AGAIN:+--again} --json .parts/conformance/results-local.json "$@"
  exit
fi
[ "$(uname -s)" = Linux ] || skip "network namespaces are Linux's"
[ "$(id -u)" = 0 ] || skip "needs root for network namespaces, and KUBECONFIG names no cluster"
command -v go >/dev/null || skip "Go is not installed, and the control plane is built from its modules"
[ -f "$here/control-plane/$version.mod" ] || { echo "conformance: no version $version; there are: $(cd "$here/control-plane" && ls *.mod | sed 's/.mod$//' | xargs)"; exit 2; }
missing=()
for pair in ip:iproute2 nft:nftables openssl:openssl curl:curl; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || skip "please install: ${missing[*]}"
  apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
fi
parts=$(scripts/parts.sh) && eval "$parts"
export SERIN_BIN=${SERIN_BIN:-$PWD/target/debug/serin}
# Clocks of replicas that differ need it; without it that one scenario is skipped.
command -v faketime >/dev/null || ! command -v apt-get >/dev/null \
  || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends faketime >&2 || true
built=0
timeout "$((${MINUTES:-600} * 60))" "$here/build.sh" "$version" || built=$?
case $built in
  0) ;;
  3) skip "the modules of Kubernetes cannot be downloaded" ;;
  124) skip "the control plane is not built within $MINUTES minutes; what is built so far is kept in Go's cache" ;;
  *) exit 1 ;;
esac
# A scenario that has begun is ended: the last one begins in time for that.
minutes() { [ -z "${MINUTES:-}" ] || echo "--minutes=$((MINUTES - SECONDS / 60 > 4 ? MINUTES - SECONDS / 60 - 4 : 0))"; }

names=("$@") failed=0
wants() { [ ${#names[@]} -eq 0 ] && return 0; local name; for name in "${names[@]}"; do [ "$name" = "$1" ] && return 0; done; return 1; }
trap '[ -n "${KEEP:-}" ] || "$here/down.sh" --wipe' EXIT

if wants difference && [ "$(minutes)" != --minutes=0 ]; then
  echo "conformance: the difference test"
  "$here/down.sh" --wipe
  "$here/up.sh" "$version" bare
  # The test is built outside of the namespace, where there may be no network.
  test=$(cargo test -q --locked -p serin-apiserver --test difference --no-run --message-format=json 2>/dev/null \
    | python3 -c 'import json,sys; print([m["executable"] for m in map(json.loads, sys.stdin) if m.get("executable")][-1])')
  (cd crates/serin-apiserver && nsenter --net=/run/netns/serin-bed env SERIN_REAL_API=http://127.0.0.1:8001 "$test" the_real_server) || failed=1
  "$here/down.sh" --wipe
fi
scenarios=(); for name in ${names[@]+"${names[@]}"}; do [ "$name" = difference ] || scenarios+=("$name"); done
if [ ${#names[@]} -eq 0 ] || [ ${#scenarios[@]} -gt 0 ]; then
  built_serin
  # As OpenShift has it by default.
  export APISERVER_EXTRA=${APISERVER_EXTRA:---enable-admission-plugins=OwnerReferencesPermissionEnforcement}
  "$here/up.sh" "$version"
  python3 "$here/run.py" $(minutes) ${JOBS:+--jobs $JOBS} ${AGAIN:+--again} --json "$here/../.parts/conformance/results-$version.json" ${scenarios[@]+"${scenarios[@]}"} || failed=1
fi
exit $failed
