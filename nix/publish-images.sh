#!/usr/bin/env bash
# Pushes the multi-architecture images of an OCI layout to a registry.
# Expects LAYOUT, the layout's directory, in the environment; needs skopeo and jq.
set -euo pipefail

usage() {
  cat >&2 <<'END'
usage: publish-images REGISTRY/REPO [--push]

Pushes every image of this build as an index for amd64 and arm64. Without --push it only says what it would do.
Sign in first with 'skopeo login REGISTRY'.
END
  exit 2
}

repo=
push=false
for argument in "$@"; do
  case $argument in
    --push) push=true ;;
    -*) usage ;;
    *)
      [ -z "$repo" ] || usage
      repo=${argument#docker://}
      ;;
  esac
done
case $repo in
  */*) ;;
  *) usage ;;
esac

images=$(jq -r '.manifests[] | .annotations["org.opencontainers.image.ref.name"] + " " + .digest' "$LAYOUT/index.json")
while read -r tag digest; do
  platforms=$(jq -r '[.manifests[].platform | .os + "/" + .architecture] | join(", ")' \
    "$LAYOUT/blobs/sha256/${digest#sha256:}")
  if $push; then
    skopeo --insecure-policy copy --all --preserve-digests "oci:$LAYOUT:$tag" "docker://$repo:$tag"
    echo "pushed $repo:$tag@$digest ($platforms)"
  else
    echo "would push $repo:$tag@$digest ($platforms)"
  fi
done <<<"$images"

$push || echo "nothing was pushed; add --push to do it" >&2
