#!/usr/bin/env bash
# Ask the advisory service of PyPI about every pinned dependency: in CI, or where AUDIT=1 says that it can be reached.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ -z ${CI:-}${AUDIT:-} ]]; then
  echo "audit: nothing was looked up. CI does it; here AUDIT=1 does, with a way to pypi.org." >&2
  exit
fi
for list in requirements/main.txt requirements/dev.txt; do
  # --strict: a mirror that knows no advisories makes it skip everything, which is no clean bill.
  .venv/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off --requirement "$list"
done
