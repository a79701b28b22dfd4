# What the scripts of a bed share; source it.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
OUT=$here/../.parts/conformance
mkdir -p "$OUT"; OUT=$(cd "$OUT" && pwd)
# Nothing of a bed is outside this folder and these network namespaces.
RUN=$OUT/run
NET=serin-bed
NODE_IP=10.77.0.1
BIN=$OUT/bin
version=${version:-$(cat "$RUN/version" 2>/dev/null || true)}
PLANE=$OUT/bin-$version/control-plane
inside() { nsenter --net=/run/netns/$NET "$@"; }
k() { inside "${KUBECTL:-$SERIN_KUBECTL}" --kubeconfig "$RUN/admin.kubeconfig" "$@"; }
# On a busy machine the control plane comes first: what it is late with would be told as a fault of whoever asks it.
first() { local part; for part in etcd apiserver kcm node metrics; do echo -10 >"/proc/$(cat "$RUN/$part.pid" 2>/dev/null)/autogroup"; done 2>/dev/null || true; }
