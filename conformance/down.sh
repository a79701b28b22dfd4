#!/usr/bin/env bash
# Takes down what up.sh started; with --wipe, what it has stored as well.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
parts="metrics node proxy kcm apiserver etcd"
end() { # signal
  for part in $parts; do
    [ -f "$RUN/$part.pid" ] && kill "$1" "$(cat "$RUN/$part.pid")" 2>/dev/null
  done
}
end -TERM
for _ in $(seq 20); do
  alive=; for part in $parts; do [ -f "$RUN/$part.pid" ] && kill -0 "$(cat "$RUN/$part.pid")" 2>/dev/null && alive=yes; done
  [ -z "$alive" ] && break; sleep 0.25
done
end -KILL
for net in $(ip netns list | awk '/^serin-pod-/{print $1}') $NET; do
  for pid in $(ip netns pids "$net" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null; done
  ip netns del "$net" 2>/dev/null; rm -rf "/etc/netns/$net"
done
rm -f "$RUN"/*.pid
[ "${1:-}" = --wipe ] && rm -rf "$RUN"
exit 0
