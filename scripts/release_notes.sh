#!/usr/bin/env bash
# Print what CHANGELOG.md says about the version of the tag $1, which must be the one in pyproject.toml.
set -euo pipefail
cd "$(dirname "$0")/.."

tag=${1:?usage: release_notes.sh vX.Y.Z}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
if [[ $tag != "v$version" ]]; then
  echo "the tag is $tag, but pyproject.toml has version $version: it must be v$version" >&2
  exit 1
fi

notes=$(awk -v heading="## [$version]" '
  index($0, "## ") == 1 { within = index($0, heading) == 1; next }
  within' CHANGELOG.md)
if [[ -z ${notes//[[:space:]]/} ]]; then
  echo "CHANGELOG.md has no section \"## [$version]\", or nothing stands in it" >&2
  exit 1
fi
printf '%s\n' "$notes"
