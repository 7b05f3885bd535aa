"""Outcomes for people: a line a test, and of those that failed what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowrunner.diagnostics.source import printable
from flowrunner.testing.compare import Difference, Pair
from flowrunner.testing.explain import hint
from flowrunner.testing.match import as_expected, described
from flowrunner.testing.run import Outcome
from flowrunner.testing.yaml_text import expectation_text, value_text

_MOST_ROWS = 20
_RED, _GREEN, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[0m"


def outcome_line(outcome: Outcome, *, color: bool = False) -> str:
    """Return one line that says how a test ended."""
    word, paint = ("ok    ", _GREEN) if outcome.passed else ("FAILED", _RED)
    shown = f"{paint}{word}{_PLAIN}" if color else word
    return f"  {shown}  {printable(outcome.test.name)}  ({outcome.seconds:.2f} s)\n"


def failure_text(outcome: Outcome, *, color: bool = False) -> str:
    """Return what is wrong in a test that failed: a diff for each place, with its position and a hint."""
    parts = [f"{_position(outcome, None)}: {problem}\n" for problem in outcome.played.problems]
    parts += [_difference(outcome, difference, color=color) for difference in outcome.differences]
    return "".join(parts)


def _difference(outcome: Outcome, difference: Difference, *, color: bool) -> str:
    test, place = outcome.test, difference.place
    expectation = test.expect[difference.index]
    came = _messages(difference.count)
    if expectation.none:
        head = f"nothing was expected at `{place}`, {came} came"
    elif not difference.pairs:
        head = f"{_messages(expectation.count or 0)} expected at `{place}`, {came} came"
    else:
        met = sum(pair.met for pair in difference.pairs)
        wanted = sum(pair.index is not None for pair in difference.pairs)
        head = f"{_messages(wanted)} expected at `{place}`, {came} came, {met} as expected"
    out = f"{_position(outcome, difference.index)}: {head}\n"
    out += "".join(_rows(outcome, difference, color=color))
    help = hint(test, outcome.played, outcome.suite.graph, difference)
    return out + (f"  = help: {help}\n" if help else "")


def _rows(outcome: Outcome, difference: Difference, *, color: bool) -> list[str]:
    pairs = difference.pairs
    if not pairs:
        seen = outcome.played.seen[difference.place]
        pairs = [Pair(None, each) for each in seen] if outcome.test.expect[difference.index].none else []
    wrong = [at for at, pair in enumerate(pairs) if not pair.met]
    near = [at for at in range(len(pairs)) if any(abs(at - other) <= 1 for other in wrong[:_MOST_ROWS])]
    rows: list[str] = []
    for at in near[:_MOST_ROWS]:
        rows += _pair(outcome, difference.place, pairs[at], color=color)
    left = sum(at > near[_MOST_ROWS - 1] for at in wrong) if len(near) > _MOST_ROWS else 0
    return [*rows, f"    … and {left} more\n"] if left else rows


def _pair(outcome: Outcome, place: str, pair: Pair, *, color: bool) -> list[str]:
    test = outcome.test
    rows: list[tuple[str, str, str]] = []
    if pair.index is not None:
        rows.append((" " if pair.met else "-", _RED, _written(outcome, pair.index)))
    if pair.seen is not None and not pair.met:
        got = described(place, pair.seen, test.start)
        if pair.index is not None:
            got = as_expected(test.expect[pair.index], pair.seen, test.start)
        del got["node"]
        rows.append(("+", _GREEN, expectation_text(got)))
    paint = color and not pair.met
    return [
        f"    {code if paint else ''}{sign} {text}{_PLAIN if paint else ''}\n" for sign, code, text in rows
    ]


def _written(outcome: Outcome, index: int) -> str:
    values: dict[str, Any] = outcome.suite.values["tests"][outcome.number]["expect"][index]
    return value_text({name: value for name, value in values.items() if name != "node"})


def _position(outcome: Outcome, index: int | None) -> str:
    tail: Sequence[str | int] = ("name",) if index is None else ("expect", index)
    span = outcome.suite.places.key(("tests", outcome.number, *tail))
    return f"{outcome.suite.path}:{span.line}"


def _messages(count: int) -> str:
    return f"{count or 'no'} message{'' if count == 1 else 's'}"
