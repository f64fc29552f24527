#!/usr/bin/env bash
# Installs one tool for test/interop/kubernetes, outside the tree, and prints where it is: `install.sh helm` (a program),
# `install.sh kustomize` (a program) or `install.sh crds` (a folder with node_modules). What is there already, of the same
# version, stays. Exit code 3: it cannot run here, and what is printed is what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

HELM=v4.2.4
KUSTOMIZE=v5.8.0

cache=${XDG_CACHE_HOME:-$HOME/.cache}/service-token-broker-interop
mkdir -p "$cache"
work=$(mktemp -d "$cache/.installing.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Builds a program of a Go module. Nothing of it needs C.
build() {
  local name=$1 package=$2 version=$3
  installed=$cache/$name-$version
  if [[ -e $installed ]]; then return; fi
  if ! command -v go >/dev/null 2>&1; then
    echo 'go not found'
    exit 3
  fi
  echo "Building $name $version into $installed, which takes minutes the first time" >&2
  if ! CGO_ENABLED=0 GOBIN="$work" go install -ldflags='-s -w' "$package@$version" >"$work/log" 2>&1; then
    tail -n 30 "$work/log" >&2
    exit 1
  fi
  # In one step: whoever comes second keeps what is there.
  mv -T "$work/$name" "$installed"
}

case ${1:-} in
  helm) build helm helm.sh/helm/v4/cmd/helm "$HELM" ;;
  kustomize) build kustomize sigs.k8s.io/kustomize/kustomize/v5 "$KUSTOMIZE" ;;
  crds)
    lock=$(sha256sum crds/package-lock.json)
    installed=$cache/crds-${lock:0:16}
    if [[ ! -e $installed ]]; then
      echo "Installing the Prometheus Operator's resources into $installed" >&2
      cp -r crds "$work/crds"
      if ! npm ci --prefix "$work/crds" --ignore-scripts --no-audit --no-fund >"$work/log" 2>&1; then
        tail -n 30 "$work/log" >&2
        exit 1
      fi
      mv -T "$work/crds" "$installed" 2>/dev/null || [[ -e $installed ]]
    fi
    ;;
  *)
    echo "usage: $0 helm|kustomize|crds" >&2
    exit 2
    ;;
esac
echo "$installed"
