#!/usr/bin/env bash
# Write what a reload from commit $BASE to the checkout would do with $FLOWS: a file, named in the outputs, and the summary.
set -euo pipefail

file=$RUNNER_TEMP/flowrunner-plan.md
none=0000000000000000000000000000000000000000 # what GitHub calls the commit before the first push of a branch
base=${BASE:-$none}

# A checkout is one commit deep, and a commit can be fetched by its hash.
if [[ $base != "$none" ]] && ! git cat-file -e "$base^{commit}" 2>/dev/null; then
  git fetch --quiet --no-tags --depth=1 origin "$base"
fi

old=$base:$FLOWS
if [[ $base == "$none" ]] || ! git cat-file -e "$old" 2>/dev/null; then
  old=$RUNNER_TEMP/flowrunner-no-flows # everything is added
  mkdir -p "$old"
fi

# `plan` ends with 78 when there are mistakes. They stand in the plan, and `validate` has failed the job for them.
code=0
"$FLOWRUNNER" plan "$old" "$FLOWS" --format markdown >"$file" || code=$?
if ((code != 0 && code != 78)); then exit "$code"; fi
cat "$file" >>"$GITHUB_STEP_SUMMARY"
echo "file=$file" >>"$GITHUB_OUTPUT"
