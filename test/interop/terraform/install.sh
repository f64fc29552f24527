#!/usr/bin/env bash
# Builds the provider for tests, outside the tree, and prints where it is: a folder with `mirror`, from which tofu and terraform
# install providers. And with `tofu`, if INTEROP_TOFU=1 or the machine has no terraform: building OpenTofu takes minutes. What is
# there already, of the same sources, stays. Exit code 3: it cannot run here, and what is printed is what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

OPENTOFU=v1.12.6
# The oldest versions that deploy/terraform/versions.tf takes.
PROVIDERS='aws/6.29.0 archive/2.4.0 external/2.3.0'

if ! command -v go >/dev/null 2>&1; then
  echo 'go not found'
  exit 3
fi
tofu=${INTEROP_TOFU:-0}
if ! command -v terraform >/dev/null 2>&1; then tofu=1; fi
sources=$({ cat install.sh provider/*; echo "$tofu"; } | sha256sum)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/service-token-broker-interop
installed=$cache/terraform-${sources:0:16}
if [[ -e $installed ]]; then
  echo "$installed"
  exit 0
fi
mkdir -p "$cache"
work=$(mktemp -d "$cache/.installing.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Shows what a command wrote only when it fails.
quietly() {
  if ! "$@" >"$work/log" 2>&1; then
    echo "failed: $*" >&2
    tail -n 30 "$work/log" >&2
    exit 1
  fi
}

program=$cache/opentofu-$OPENTOFU
if [[ $tofu == 1 && ! -x $program ]]; then
  echo "Building OpenTofu $OPENTOFU into $program" >&2
  # In the module's own folder, where its go.mod replaces a library: `go install` refuses that.
  folder=$(cd / && go mod download -json "github.com/opentofu/opentofu@$OPENTOFU" | sed -n 's/^.*"Dir": "\(.*\)".*$/\1/p')
  (cd "$folder" && quietly go build -trimpath -ldflags '-s -w' -o "$work/tofu" ./cmd/tofu)
  mv "$work/tofu" "$program"
fi
echo "Building the provider for tests into $installed" >&2
(cd provider && quietly go build -trimpath -ldflags '-s -w' -o "$work/provider" .)
mkdir -p "$work/made"
if [[ $tofu == 1 ]]; then ln -s "$program" "$work/made/tofu"; fi
platform=$(go env GOOS)_$(go env GOARCH)
for host in registry.terraform.io registry.opentofu.org; do
  for provider in $PROVIDERS; do
    folder=$work/made/mirror/$host/hashicorp/$provider/$platform
    mkdir -p "$folder"
    # Links would be resolved to one name, and the name says which provider it is.
    cp "$work/provider" "$folder/terraform-provider-${provider%/*}_v${provider#*/}"
  done
done
cat >"$work/made/tofurc" <<RC
provider_installation {
  filesystem_mirror {
    path = "$installed/mirror"
  }
}
RC
mv -T "$work/made" "$installed" 2>/dev/null || [[ -e $installed ]]
echo "$installed"
