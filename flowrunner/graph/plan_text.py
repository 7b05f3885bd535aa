"""A plan as text for a terminal, as JSON, and as Markdown for a comment on a pull request."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from flowrunner.diagnostics import Diagnostic, render_text
from flowrunner.graph.diff import OUTCOMES, Change, Outcome
from flowrunner.graph.rollout import FlowOutcome, FlowPlan

_FLOWS: dict[FlowOutcome, str] = {
    "unchanged": "goes on as it is",
    "changed": "changes",
    "added": "is new",
    "removed": "is drained and stopped; its journal and states stay in the state directory",
    "refused": "goes on as it is, because of a mistake",
}
_WORDS: dict[Outcome, str] = {name: name.replace("_", " ") for name in OUTCOMES}
_RED, _YELLOW, _GREEN, _CYAN, _BOLD, _PLAIN = (f"\x1b[{code}m" for code in ("31", "33", "32", "36", "1", "0"))
_PAINTS: dict[Outcome, str] = {
    "keep": "",
    "restart": _YELLOW,
    "state_kept": _YELLOW,
    "state_lost": _RED,
    "added": _GREEN,
    "removed": _CYAN,
}


def plan_json(plans: Sequence[FlowPlan], diagnostics: Sequence[Diagnostic]) -> str:
    """Return an object: ``valid``, ``summary``, ``flows`` with their nodes and connections, ``diagnostics``."""
    told = {
        "valid": not any(found.severity == "error" for found in diagnostics),
        "summary": summary(plans),
        "flows": [_flow_facts(each) for each in plans],
        "diagnostics": msgspec.to_builtins(list(diagnostics)),
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _flow_facts(each: FlowPlan) -> dict[str, Any]:
    plan = msgspec.to_builtins(each.plan)
    return {
        "flow": each.flow,
        "file": each.file,
        "outcome": each.outcome,
        "nodes": plan["nodes"],
        "connections": plan["connections"],
    }


def plan_text(plans: Sequence[FlowPlan], *, color: bool = False) -> str:
    """Return a block of lines for each flow, the parts in columns, and a summary line."""
    blocks = [_block(each, color=color) for each in plans]
    return "\n".join([*blocks, summary(plans) + "\n"])


def _block(each: FlowPlan, *, color: bool) -> str:
    head = _painted(f"flow {each.flow}", _BOLD, color=color) + f" {_FLOWS[each.outcome]}\n"
    if each.outcome in ("unchanged", "refused"):
        return head
    parts = _parts(each)
    names = max(len(change.name) for _, change in parts)
    types = max(len(change.type) for _, change in parts)
    widest = max(map(len, _WORDS.values()))
    rows = []
    for kind, change in parts:
        word = _painted(f"{_WORDS[change.outcome]:<{widest}}", _PAINTS[change.outcome], color=color)
        row = f"  {kind:<10}  {change.name:<{names}}  {change.type:<{types}}  {word}  {_why(change)}"
        rows.append(row.rstrip() + "\n")
    return head + "".join(rows)


def summary(plans: Sequence[FlowPlan]) -> str:
    """Return in one line how many flows and nodes there are of each outcome."""
    flows = Counter(each.outcome for each in plans)
    nodes = Counter(change.outcome for each in plans for change in each.plan.nodes)
    parts = [_counts("flow", flows, _FLOWS), _counts("node", nodes, _WORDS)]
    return "; ".join(part for part in parts if part) or "no flows"


def _counts(noun: str, counts: Mapping[Any, int], order: Iterable[Any]) -> str:
    told = [f"{counts[name]} {name.replace('_', ' ')}" for name in order if counts[name]]
    total = sum(counts.values())
    return f"{total} {noun}{'' if total == 1 else 's'}: {', '.join(told)}" if told else ""


def plan_markdown(
    plans: Sequence[FlowPlan], diagnostics: Sequence[Diagnostic], texts: Mapping[str, str]
) -> str:
    """Return a summary line, the mistakes, a table for each flow that changes, and the rest folded up."""
    errors = [found for found in diagnostics if found.severity == "error"]
    lost = sum(change.outcome == "state_lost" for each in plans for change in each.plan.nodes)
    head = f"**flowrunner plan** — {summary(plans)}"
    if lost:
        head += f" — **{lost} node{'s lose' if lost > 1 else ' loses'} state**"
    blocks = [head]
    if errors:
        blocks.append(f"**Not valid: {len(errors)} error{'s' if len(errors) > 1 else ''}.** Nothing of the files "
                      "with mistakes is applied.\n\n" + _fence(render_text(errors, texts)))  # fmt: skip
    blocks += [_section(each) for each in plans if each.outcome not in ("unchanged", "refused")]
    quiet = [each for each in plans if each.outcome in ("unchanged", "refused")]
    if quiet:
        lines = "\n".join(f"- `{each.flow}` {_FLOWS[each.outcome]}" for each in quiet)
        blocks.append(_folded(f"{len(quiet)} flow{'s go' if len(quiet) > 1 else ' goes'} on", lines))
    return "\n\n".join(blocks) + "\n"


def _section(each: FlowPlan) -> str:
    parts = _parts(each)
    moved = [part for part in parts if part[1].outcome != "keep"]
    kept = [part for part in parts if part[1].outcome == "keep"]
    blocks = [f"### `{each.flow}` {_FLOWS[each.outcome]}"]
    if moved:
        blocks.append(_table(moved))
    if kept:
        what = f"{len(kept)} part{'s go' if len(kept) > 1 else ' goes'} on as {'they are' if len(kept) > 1 else 'it is'}"
        blocks.append(_folded(what, _table(kept)))
    return "\n\n".join(blocks)


def _table(parts: Sequence[tuple[str, Change]]) -> str:
    rows = ["| | name | type | outcome | why |", "|---|---|---|---|---|"]
    for kind, change in parts:
        word = _WORDS[change.outcome]
        word = f"**{word}**" if change.outcome == "state_lost" else word
        rows.append(f"| {kind} | `{change.name}` | `{change.type}` | {word} | {_cell(_why(change))} |")
    return "\n".join(rows)


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _fence(text: str) -> str:
    """Return a text in a fence that nothing in it can close."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}text\n{text.rstrip()}\n{marks}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _parts(each: FlowPlan) -> list[tuple[str, Change]]:
    nodes = (("node", change) for change in each.plan.nodes)
    return list(chain(nodes, (("connection", change) for change in each.plan.connections)))


def _why(change: Change) -> str:
    return "; ".join(change.reasons)


def _painted(text: str, paint: str, *, color: bool) -> str:
    return f"{paint}{text}{_PLAIN}" if color and paint else text
