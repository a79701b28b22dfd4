#!/usr/bin/env bash
# Starts a bed: a real control plane (etcd, kube-apiserver, kube-controller-manager) in a network namespace of its own, a node whose
# pods are processes (node.py), Traefik and Prometheus. Needs root on Linux. `up.sh 1.37` for all, `up.sh 1.37 bare` for the API alone.
#
# APISERVER_EXTRA holds more flags of the API server. down.sh takes all of it away again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=${1:?which version, such as 1.37}; what=${2:-all}
. "$here/lib.sh"
mkdir -p "$RUN"/{pki,logs,pods} "$RUN"/images/{app,serin,traefik,prometheus}
echo "$version" >"$RUN/version"

start() { # name command...: in the namespace, with its pid and log in the bed's folder
  local name=$1; shift
  if [ -f "$RUN/$name.pid" ] && kill -0 "$(cat "$RUN/$name.pid")" 2>/dev/null; then return; fi
  nohup setsid nsenter --net=/run/netns/$NET "$@" >>"$RUN/$name.log" 2>&1 </dev/null &
  echo $! >"$RUN/$name.pid"
}

if ! ip netns list | grep -qw $NET; then
  ip netns add $NET
  inside ip link set lo up
  inside ip link add br0 type bridge
  inside ip addr add $NODE_IP/16 dev br0
  inside ip link set br0 up
  inside ip route add 10.96.0.0/16 dev br0
  inside sysctl -qw net.ipv4.ip_forward=1 net.ipv4.ip_unprivileged_port_start=0
fi

cd "$RUN/pki"
if [ ! -f sa.pub ]; then
  openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=conformance-ca -days 30 2>/dev/null
  cert() { # name subject alternative-names
    openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" \
      -extfile <(printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n%s' "${3:+subjectAltName=$3}") 2>/dev/null
  }
  cert apiserver /CN=kube-apiserver "IP:$NODE_IP,IP:10.96.0.1,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  cert admin /O=system:masters/CN=admin
  openssl genrsa -out sa.key 2048 2>/dev/null
  openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
fi
b64() { base64 -w0 "$1"; }
cat >"$RUN/admin.kubeconfig" <<Y
apiVersion: v1
kind: Config
clusters: [{name: bed, cluster: {server: "https://$NODE_IP:6443", certificate-authority-data: $(b64 ca.crt)}}]
users: [{name: admin, user: {client-certificate-data: $(b64 admin.crt), client-key-data: $(b64 admin.key)}}]
contexts: [{name: bed, context: {cluster: bed, user: admin}}]
current-context: bed
Y
cat >"$RUN/audit.yaml" <<Y
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, userGroups: ["system:serviceaccounts"]}
  - level: None
Y

start etcd "$BIN/etcd" --data-dir "$RUN/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
  --initial-cluster default=http://127.0.0.1:2380 --logger zap --log-level warn --unsafe-no-fsync
# The difference test creates pods where nobody makes service accounts.
admission=; [ "$what" = bare ] && admission=--disable-admission-plugins=ServiceAccount
cat >"$RUN/apiserver.sh" <<Y
#!/bin/sh
exec $PLANE kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=$NODE_IP --advertise-address=$NODE_IP --secure-port=6443 \\
  --tls-cert-file=$RUN/pki/apiserver.crt --tls-private-key-file=$RUN/pki/apiserver.key --client-ca-file=$RUN/pki/ca.crt \\
  --service-account-key-file=$RUN/pki/sa.pub --service-account-signing-key-file=$RUN/pki/sa.key \\
  --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-cluster-ip-range=10.96.0.0/16 \\
  --authorization-mode=RBAC --allow-privileged=true --anonymous-auth=false --kubelet-preferred-address-types=InternalIP \\
  --audit-policy-file=$RUN/audit.yaml --audit-log-path=$RUN/audit.log --etcd-compaction-interval=5m --profiling=false $admission ${APISERVER_EXTRA:-}
Y
chmod +x "$RUN/apiserver.sh"
start apiserver "$RUN/apiserver.sh"
for _ in $(seq 180); do k get --raw /readyz >/dev/null 2>&1 && break; sleep 1; done
first
k get --raw /readyz >/dev/null || { tail -20 "$RUN/apiserver.log" >&2; exit 1; }
if [ "$what" = bare ]; then
  start proxy "$SERIN_KUBECTL" --kubeconfig "$RUN/admin.kubeconfig" proxy --port 8001
  for _ in $(seq 60); do inside curl -sf http://127.0.0.1:8001/readyz >/dev/null && break; sleep 0.5; done
  exit 0
fi

start kcm "$PLANE" kube-controller-manager --kubeconfig="$RUN/admin.kubeconfig" --authentication-kubeconfig="$RUN/admin.kubeconfig" \
  --authorization-kubeconfig="$RUN/admin.kubeconfig" --bind-address=127.0.0.1 --root-ca-file="$RUN/pki/ca.crt" \
  --service-account-private-key-file="$RUN/pki/sa.key" --leader-elect=false --profiling=false \
  --horizontal-pod-autoscaler-sync-period=3s --horizontal-pod-autoscaler-downscale-stabilization=15s \
  --horizontal-pod-autoscaler-initial-readiness-delay=0s --horizontal-pod-autoscaler-cpu-initialization-period=0s \
  --controllers='*,-node-lifecycle-controller,-node-ipam-controller,-persistentvolume-binder-controller,-persistentvolume-attach-detach-controller,-persistentvolume-expander-controller,-bootstrap-signer-controller,-token-cleaner-controller'

# What the images hold.
cp -f "$BIN/app" "$RUN/images/app/app"
install -m 755 "$SERIN_BIN" "$RUN/images/serin/serin"
ln -sf "$SERIN_TRAEFIK" "$RUN/images/traefik/traefik"
# Debian's Prometheus discovers nothing in Kubernetes; node.py writes what it would find.
cat >"$RUN/prometheus.yaml" <<Y
global: {scrape_interval: 5s}
scrape_configs:
  - {job_name: pods, file_sd_configs: [{files: ["$RUN/targets.json"], refresh_interval: 2s}]}
Y
cat >"$RUN/images/prometheus/prometheus" <<Y
#!/bin/sh
cd /prometheus
exec $SERIN_PROMETHEUS --config.file=$RUN/prometheus.yaml --storage.tsdb.path=/prometheus/data --storage.tsdb.retention.time=2h
Y
chmod 755 "$RUN/images/prometheus/prometheus"; chmod -R a+rX "$RUN/images"; chmod a+x "$RUN" "$RUN/.." "$RUN/../.."
start node python3 "$here/node.py" "$RUN"
echo '{}' >"$RUN/cpu.json"
start metrics python3 "$here/metrics.py" "$RUN"
first
for _ in $(seq 60); do k get serviceaccount default -n default >/dev/null 2>&1 && break; sleep 1; done
# The definitions that Serin's own test stack has.
python3 -c 'import json,sys; print(json.dumps({"apiVersion": "v1", "kind": "List", "items": json.load(sys.stdin)}))' \
  <"$here/../crates/serin-apiserver/src/crds/traefik.json" | k apply --server-side --force-conflicts -f - >/dev/null
k apply -f "$here/manifests/traefik.yaml" -f "$here/manifests/prometheus.yaml" -f "$here/manifests/metrics.yaml" >/dev/null
k -n traefik rollout status deployment/traefik --timeout=120s >/dev/null
k -n monitoring rollout status deployment/prometheus --timeout=120s >/dev/null
"$here/install.sh"
