#!/usr/bin/env bash
# Installs Serin as docs/guides/install.md says: the manifests, with the addresses of Prometheus and of Traefik's metrics.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
rm -rf "$RUN/deploy"; cp -r "$here/../deploy" "$RUN/deploy"
sed -i 's,--metrics-server=http://prometheus:9090,--metrics-server=http://prometheus.monitoring:9090,; s,# - --gateway-metrics=,- --gateway-metrics=,' "$RUN"/deploy/*.yaml
k apply -f "$RUN/deploy/" >/dev/null
k -n serin-system rollout status deployment/serin --timeout=120s >/dev/null
