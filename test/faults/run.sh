#!/usr/bin/env bash
# Runs the whole fault suite, test/faults/*.faults.ts, and writes docs/reliability.md; then kills processes at every write, where
# `npm test` takes every fourth. BROKER_SKIP_BUILD=1 uses dist/ as it is.
# Secrets Manager is moto where `npm run interop` has installed it, and the suite's own stand-in elsewhere.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

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

python=.venv/interop/bin/python
if [[ -x $python ]]; then
  "$python" test/interop/moto_server.py "$work/moto.url" >"$work/moto.log" 2>&1 &
  children+=("$!")
  for _ in $(seq 300); do
    [[ -s $work/moto.url ]] && break
    if ! kill -0 "${children[0]}" 2>/dev/null; then break; fi
    sleep 0.1
  done
  if [[ ! -s $work/moto.url ]]; then
    echo 'moto did not start:' >&2
    cat "$work/moto.log" >&2
    exit 1
  fi
  FAULTS_SECRETS_MANAGER=$(cat "$work/moto.url")
  export FAULTS_SECRETS_MANAGER
else
  echo "SKIPPED: faults of the store on moto ($python not found: npm run interop installs it); the stand-in takes its place"
fi

export FAULTS_EVERY_WRITE=1

# In the background, so that a signal to this script is heeded at once.
node --experimental-vm-modules --disable-warning=ExperimentalWarning \
  node_modules/jest/bin/jest.js --config test/faults/jest.config.js "$@" &
children+=("$!")
status=0
wait "$!" || status=$?
exit "$status"
