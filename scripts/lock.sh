#!/usr/bin/env bash
# Resolve the dependencies of pyproject.toml into poetry.lock and export them, with hashes, for pip.
set -euo pipefail
cd "$(dirname "$0")/.."

poetry=.cache/poetry/bin/poetry
if ! "$poetry" --version >/dev/null 2>&1; then
  "$(scripts/find_python.sh)" -m venv --clear .cache/poetry
  .cache/poetry/bin/pip install --quiet --disable-pip-version-check \
    'poetry>=2.1,<3' 'poetry-plugin-export>=1.9,<2' 'poetry-plugin-pypi-mirror>=0.6,<1'
fi

# Poetry asks the index that pip is configured for, so that one setting serves both.
POETRY_PYPI_MIRROR_URL=$(.cache/poetry/bin/python -c '
from pip._internal.commands import create_command
print(create_command("install").parse_args([])[0].index_url)')/
export POETRY_PYPI_MIRROR_URL POETRY_VIRTUALENVS_CREATE=false

"$poetry" lock
"$poetry" export --quiet --all-extras --with build --output requirements/main.txt
"$poetry" export --quiet --all-extras --with build,dev --output requirements/dev.txt
