#!/usr/bin/env bash
# Prints what is in a docker-archive, a line for each file: type, mode, path and where a link leads.
# Fails when a file belongs to anybody but root. The last line is the image's configuration as JSON.
set -euo pipefail

work=$(mktemp -d)
trap 'chmod -R u+rwx "$work" && rm -rf "$work"' EXIT

mkdir "$work/image" "$work/root"
tar -xf "$1" -C "$work/image"
layers=$(jq -r '.[].Layers[]' "$work/image/manifest.json")
while read -r layer; do
  owners=$(tar --numeric-owner -tvf "$work/image/$layer" | awk '{ print $2 }' | sort -u)
  if [ "$owners" != 0/0 ]; then
    echo "$1: files belong to $owners, not only to 0/0" >&2
    exit 1
  fi
  tar -xpf "$work/image/$layer" -C "$work/root" --no-same-owner
done <<<"$layers"

find "$work/root" -mindepth 1 \
  \( -type l -printf '%y - %P %l\n' -o -printf '%y %m %P\n' \) | LC_ALL=C sort
config=$(jq -r '.[].Config' "$work/image/manifest.json")
jq --compact-output --sort-keys '{architecture, created, config}' "$work/image/$config"
