#!/usr/bin/env bash
# Installs one OpenID provider for test/interop/providers, outside the tree, and prints where it is: `install.sh keycloak`
# (a folder), `install.sh spring` (a jar) or `install.sh hydra` (a program). What is there already, of the same version,
# stays. Exit code 3: it cannot run here, and what is printed is what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

KEYCLOAK=26.7.3
HYDRA=v2.3.0
# What the go.mod of this Hydra puts in place of its database layer. Go applies that to the main module alone.
HYDRA_REPLACES='github.com/gobuffalo/pop/v6=github.com/ory/pop/v6@v6.2.1-0.20241121111754-e5dfc0f3344b'
DEPENDENCY_PLUGIN=org.apache.maven.plugins:maven-dependency-plugin:2.8

cache=${XDG_CACHE_HOME:-$HOME/.cache}/service-token-broker-interop
mkdir -p "$cache"
work=$(mktemp -d "$cache/.installing.XXXXXX")
trap 'rm -rf "$work"' EXIT

needs() {
  for command in "$@"; do
    if ! command -v "$command" >/dev/null 2>&1; then
      echo "$command not found"
      exit 3
    fi
  done
}

needs_java() {
  needs java
  local major
  major=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
  if ((${major:-0} < 17)); then
    echo 'Java 17 or newer not found'
    exit 3
  fi
}

# Shows what a command wrote only when it fails.
quietly() {
  if ! "$@" >"$work/log" 2>&1; then
    echo "failed: $*" >&2
    tail -n 30 "$work/log" >&2
    exit 1
  fi
}

# In one step, so that nobody ever finds half of it; whoever comes second keeps what is there.
keep() {
  mv -T "$1" "$2" 2>/dev/null || [[ -e $2 ]]
}

case ${1:-} in
  keycloak)
    needs_java
    installed=$cache/keycloak-$KEYCLOAK
    if [[ ! -e $installed ]]; then
      needs mvn
      echo "Installing Keycloak $KEYCLOAK into $installed" >&2
      mkdir "$work/markers"
      cd "$work/markers" # where the plugin leaves a file of its own
      quietly mvn -B -q "$DEPENDENCY_PLUGIN:unpack" "-DoutputDirectory=$work/unpacked" \
        "-Dartifact=org.keycloak:keycloak-quarkus-dist:$KEYCLOAK:zip"
      chmod +x "$work/unpacked/keycloak-$KEYCLOAK/bin/kc.sh"
      keep "$work/unpacked/keycloak-$KEYCLOAK" "$installed"
    fi
    ;;
  spring)
    needs_java
    sources=$(cat spring/pom.xml spring/src/main/java/interop/*.java | sha256sum)
    installed=$cache/spring-${sources:0:16}.jar
    if [[ ! -e $installed ]]; then
      needs javac mvn
      echo "Building the authorization server of test/interop/providers/spring into $installed" >&2
      cp -r spring "$work/spring"
      quietly mvn -B -q -f "$work/spring/pom.xml" package
      keep "$work/spring/target/authorization-server.jar" "$installed"
    fi
    ;;
  hydra)
    installed=$cache/hydra-$HYDRA
    if [[ ! -e $installed ]]; then
      needs go gcc
      echo "Building Ory Hydra $HYDRA into $installed, which takes minutes" >&2
      mkdir "$work/module"
      cd "$work/module"
      quietly go mod init interop.test/hydra
      quietly go mod edit -replace "$HYDRA_REPLACES"
      quietly go get -tool "github.com/ory/hydra/v2@$HYDRA"
      quietly go build -tags sqlite -o "$work/hydra" github.com/ory/hydra/v2
      keep "$work/hydra" "$installed"
    fi
    ;;
  *)
    echo "usage: $0 keycloak|spring|hydra" >&2
    exit 2
    ;;
esac
echo "$installed"
