#!/usr/bin/env bash
# Builds what a bed is made of into .parts/conformance: the control plane of a version from its Go modules, etcd, and two small
# programs. Ten minutes once on two cores, seconds from Go's cache: build.sh 1.37
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=${1:?which version, such as 1.37}
out=$here/../.parts/conformance
mkdir -p "$out/bin-$version" "$out/bin"
export GOFLAGS=-buildvcs=false
say() { printf '%s\n' "$*" >&2; }

for program in app load; do
  if [ ! -x "$out/bin/$program" ] || [ "$here/programs/$program/main.go" -nt "$out/bin/$program" ]; then
    (cd "$here/programs" && CGO_ENABLED=0 go build -trimpath -o "$out/bin/$program" "./$program")
  fi
done
[ -n "${ONLY_PROGRAMS:-}" ] && exit 0

release=$(sed -n 's,^\tk8s.io/kubernetes \(v.*\),\1,p' "$here/control-plane/$version.mod")
if [ ! -x "$out/bin-$version/control-plane" ] || [ "$here/control-plane/$version.mod" -nt "$out/bin-$version/control-plane" ]; then
  say "conformance: building Kubernetes $release"
  minor=${release#v1.}; minor=${minor%%.*}
  v=k8s.io/component-base/version
  source=$out/source-$version
  mkdir -p "$source"
  cp "$here/control-plane/main.go" "$source/main.go"
  cp "$here/control-plane/$version.mod" "$source/go.mod"; cp "$here/control-plane/$version.sum" "$source/go.sum"
  # Where the modules cannot be had, nothing is wrong with them: whoever asked may go on without.
  (cd "$source" && go list -deps . >/dev/null) || exit 3
  (cd "$source" && go build -trimpath -o "$out/bin-$version/control-plane" \
    -ldflags "-s -w -X $v.gitVersion=$release -X $v.gitMajor=1 -X $v.gitMinor=$minor" .)
fi
if [ ! -x "$out/bin/etcd" ]; then
  say "conformance: building etcd"
  (cd "$here/etcd" && go build -trimpath -o "$out/bin/etcd" .)
fi
# A real Flagger, to come from and to go back to; NO_FLAGGER=1 leaves it out, and the scenarios that need it say that they are skipped.
# Later versions are no modules, or do not compile with today's Go; this one writes Traefik's objects of the group that Traefik 3 has
# left, and the group is set right.
flagger=v1.36.1
if [ -z "${NO_FLAGGER:-}" ] && [ ! -x "$out/bin/flagger" ]; then
  say "conformance: building Flagger $flagger"
  go mod download "github.com/fluxcd/flagger@$flagger"
  rm -rf "$out/source-flagger"
  cp -r "$(go env GOMODCACHE)/github.com/fluxcd/flagger@$flagger" "$out/source-flagger"
  chmod -R u+w "$out/source-flagger"
  sed -i 's/traefik\.containo\.us/traefik.io/' "$out/source-flagger/pkg/apis/traefik/register.go"
  (cd "$out/source-flagger" && go build -trimpath -o "$out/bin/flagger" ./cmd/flagger)
fi
