#!/usr/bin/env bash
# Print every mistake in $FLOWS as a command that annotates the pull request. $STRICT: warnings are errors.
set -euo pipefail

options=(--format github)
if [[ $STRICT == true ]]; then options+=(--strict); fi

code=0
annotations=$("$FLOWRUNNER" validate "${options[@]}" "$FLOWS") || code=$?
if [[ -n $annotations ]]; then printf '%s\n' "$annotations"; fi

# `|| true`: grep ends with 1 when it counts nothing.
errors=$(grep -c '^::error ' <<<"$annotations" || true)
warnings=$(grep -c '^::warning ' <<<"$annotations" || true)
printf '### Flows\n\n%s: %s errors, %s warnings\n\n' "$FLOWS" "$errors" "$warnings" >>"$GITHUB_STEP_SUMMARY"
exit "$code"
