#!/usr/bin/env bash
# Makes one OCI image layout out of docker-archives: a multi-architecture index for every tag.
#
#   oci-layout.sh LAYOUT TAG,ARCHIVE,ARCHIVE... [TAG,ARCHIVE...]...
#
# Needs skopeo and jq, and neither a daemon nor the network.
set -euo pipefail

layout=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Adds a file to the layout and prints its descriptor.
add_blob() { # FILE MEDIA_TYPE
  local digest size
  digest=$(sha256sum "$1" | cut -d ' ' -f 1)
  size=$(stat -c %s "$1")
  install -m 0644 "$1" "$layout/blobs/sha256/$digest"
  jq -n --compact-output --arg type "$2" --arg digest "sha256:$digest" --argjson size "$size" \
    '{mediaType: $type, digest: $digest, size: $size}'
}

tags=()
for group in "$@"; do
  IFS=, read -r -a parts <<<"$group"
  tag=${parts[0]}
  manifests=()
  for archive in "${parts[@]:1}"; do
    # not every skopeo reads a compressed archive
    gzip -dc "$archive" >"$work/archive"
    name=${#tags[@]}.${#manifests[@]}
    skopeo --insecure-policy --tmpdir "$work" copy --quiet "docker-archive:$work/archive" "oci:$layout:$name"
    manifest=$(jq --compact-output --arg name "$name" '.manifests[] |
      select(.annotations["org.opencontainers.image.ref.name"] == $name) | del(.annotations)' "$layout/index.json")
    # the image's configuration tells for which machine it is
    config=$(jq -r .digest <<<"$manifest")
    config=$(jq -r .config.digest "$layout/blobs/sha256/${config#sha256:}")
    platform=$(jq --compact-output '{architecture, os}' "$layout/blobs/sha256/${config#sha256:}")
    manifests+=("$(jq --compact-output --argjson platform "$platform" '. + {platform: $platform}' <<<"$manifest")")
  done
  type=application/vnd.oci.image.index.v1+json
  jq --slurp --compact-output --arg type "$type" '{schemaVersion: 2, mediaType: $type, manifests: .}' \
    <<<"${manifests[*]}" >"$work/index"
  tags+=("$(add_blob "$work/index" "$type" |
    jq --compact-output --arg tag "$tag" '. + {annotations: {"org.opencontainers.image.ref.name": $tag}}')")
done

jq --slurp '{schemaVersion: 2, manifests: .}' <<<"${tags[*]}" >"$layout/index.json"
