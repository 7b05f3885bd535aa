#!/usr/bin/env bash
# Write the plan in the file $PLAN under pull request $NUMBER, in place of the one for $FLOWS that stands there already.
set -euo pipefail

longest=65000 # GitHub refuses a comment of more than 65,536 characters
export MARKER="<!-- flowrunner plan of $FLOWS -->"
body=$RUNNER_TEMP/flowrunner-comment.md
{
  printf '%s\n' "$MARKER"
  head -c "$longest" "$PLAN" | iconv -c -f utf-8 -t utf-8
  if (($(wc -c <"$PLAN") > longest)); then
    printf '\n\nThe rest of the plan stands in the summary of the job.\n'
  fi
} >"$body"

ours='.[] | select(.user.type == "Bot" and (.body | startswith(env.MARKER))) | .id'
found=$(gh api --paginate "repos/$GH_REPO/issues/$NUMBER/comments" --jq "$ours")
read -r comment <<<"$found" || true # nothing is found at first
if [[ -n $comment ]]; then
  gh api --silent --method PATCH "repos/$GH_REPO/issues/comments/$comment" --field "body=@$body"
else
  gh api --silent --method POST "repos/$GH_REPO/issues/$NUMBER/comments" --field "body=@$body"
fi
