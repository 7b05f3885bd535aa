#!/usr/bin/env bash
# Make .venv hold what requirements/$1.txt pins (main or dev), and this project. Does nothing when it does already.
set -euo pipefail
cd "$(dirname "$0")/.."

wanted=${1:?usage: bootstrap.sh main|dev}
python=.venv/bin/python
pip=("$python" -m pip install --quiet --disable-pip-version-check --no-compile --no-deps)

# done_with NAME FILE...: whether the step NAME was done with the present content of the files.
done_with() { [[ -f .venv/.$1 && "$(<".venv/.$1")" == "$(cat "${@:2}" | sha256sum)" ]]; }
mark() { cat "${@:2}" | sha256sum >".venv/.$1"; }

if ! "$python" -c '' 2>/dev/null; then
  found=$(scripts/find_python.sh)
  echo "creating .venv with $("$found" -V)"
  "$found" -m venv --clear .venv
fi

if ! done_with "$wanted" "requirements/$wanted.txt"; then
  echo "installing requirements/$wanted.txt (half a minute or so)"
  "${pip[@]}" --require-hashes -r "requirements/$wanted.txt"
  # Compiling here, on all cores, takes half of the time that pip would need for it.
  "$python" -m compileall -q -j 0 .venv/lib >/dev/null || true # some packages ship templates that are no Python
  mark "$wanted" "requirements/$wanted.txt"
  if [[ $wanted == dev ]]; then mark main requirements/main.txt; fi # dev holds all of main
fi

if ! done_with project pyproject.toml; then
  "${pip[@]}" --no-build-isolation --editable .
  mark project pyproject.toml
fi
