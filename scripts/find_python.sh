#!/usr/bin/env bash
# Print the path of a CPython 3.12 or newer. PYTHON=... chooses one.
# Every candidate is run: a pyenv shim can stand on the PATH for a version that is not active.
set -euo pipefail

works() {
  "$1" -c 'import ensurepip, ssl, sqlite3, sys
sys.exit(sys.version_info < (3, 12) or sys.implementation.name != "cpython")' >/dev/null 2>&1
}

candidates=(${PYTHON:+"$PYTHON"} python3.13 python3.12 python3.14 python3)
shopt -s nullglob
candidates+=("${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3 /opt/python/*/bin/python3)

for candidate in "${candidates[@]}"; do
  if works "$candidate"; then
    exec "$candidate" -c 'import sys; print(sys.executable)'
  fi
done
echo "flowrunner needs CPython 3.12 or newer; install it, or set PYTHON=/path/to/python3.12" >&2
exit 1
