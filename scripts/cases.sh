#!/usr/bin/env bash
# Runs the scripts of situations from public reports against `serin local` with the real Traefik and Prometheus, and prints
# a line each: scripts/cases.sh [FOLDER] [PATTERN]. Ends with 1 when one of them fails, and says so when there is no folder.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-../shared/cases}
pattern=${2:-[0-9]*}
if [ ! -d "$folder" ]; then
  echo "skipped: there is no folder $folder"
  exit 0
fi
serin=${SERIN:-$PWD/target/debug/serin}
parts=$(scripts/parts.sh)
eval "$parts"
bin=$(dirname "$SERIN_KUBECTL")
base=${SERIN_CASES_PORT:-21100}
dir=$(mktemp -d)
"$serin" local --traefik="$SERIN_TRAEFIK" --prometheus="$SERIN_PROMETHEUS" \
  --gateway "127.0.0.1:$base" --api "127.0.0.1:$((base + 1))" --gateway-admin "127.0.0.1:$((base + 2))" \
  --metrics "127.0.0.1:$((base + 3))" >"$dir/local.log" 2>&1 &
local=$!
trap 'kill "$local" 2>/dev/null; wait "$local" 2>/dev/null; rm -rf "$dir"' EXIT
export GATEWAY=http://127.0.0.1:$base SERIN=$serin PATH=$bin:$PATH
for _ in $(seq 100); do
  KUBECONFIG=$(sed -n 's/^ *export KUBECONFIG=//p' "$dir/local.log" | head -n 1)
  export KUBECONFIG
  [ -n "$KUBECONFIG" ] && kubectl get crd canaries.flagger.app >/dev/null 2>&1 && break
  kill -0 "$local" || { cat "$dir/local.log"; exit 1; }
  sleep 0.3
done
# What a script asks for and was decided otherwise since: it is run and shown, and does not count.
declare -A decided=(
  [09-canary-name-over-55]="a router that is not supported yet is no invalid spec: the Event has the reason Unsupported"
)
failed=0 passed=0
for script in "$folder"/$pattern.sh; do
  name=$(basename "$script" .sh)
  [ "$name" = base ] && continue
  # The scripts wait as long as a person would; on a busy machine one may need a second try, and says so.
  if out=$(timeout 180 bash "$script" 2>&1) || { echo "$name again"; out=$(timeout 180 bash "$script" 2>&1); }; then
    passed=$((passed + 1))
    printf '%s %s\n' "$name" "$(tail -n 1 <<<"$out")"
  elif [ -n "${decided[$name]:-}" ]; then
    printf '%s decided otherwise: %s\n' "$name" "${decided[$name]}"
  else
    failed=$((failed + 1))
    printf '%s\n%s\n' "$name" "$(tail -n "${LINES_SHOWN:-6}" <<<"$out" | sed 's/^/    /')"
  fi
done
echo "cases: $passed passed, $failed failed"
[ "$failed" = 0 ]
