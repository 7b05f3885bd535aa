"""``flowrunner test``: the tests of flows, in virtual time."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from flowrunner.cli.exits import EX_CONFIG, EX_USAGE, complain
from flowrunner.clock import SystemClock
from flowrunner.diagnostics import render_text
from flowrunner.testing.junit import junit
from flowrunner.testing.load import Suite, load_suites
from flowrunner.testing.report import failure_text, outcome_line
from flowrunner.testing.run import Outcome, run_suite
from flowrunner.testing.update import NotUpdatable, update

type Format = Literal["text", "junit"]


def run_tests(paths: Sequence[Path], *, name: str, rewrite: bool, format: Format) -> int:
    """Run the tests at ``paths`` whose names contain ``name`` and return the exit code.

    0 when all passed, 1 when one failed, 78 when a test file or a flow is not valid, 2 when a path does not exist
    or no test has such a name. ``rewrite`` writes what came into the expectations of the tests that failed.
    """
    loaded = load_suites(paths)
    if loaded.diagnostics:
        sys.stderr.write(_printable(render_text(loaded.diagnostics, loaded.texts, color=_color(sys.stderr))))
    if loaded.failed:
        return EX_USAGE if any(found.code == "FR060" for found in loaded.diagnostics) else EX_CONFIG
    clock = SystemClock()
    started = clock.monotonic()
    outcomes: list[Outcome] = []
    for suite in loaded.suites:
        of_file = list(run_suite(suite, clock, name))
        if rewrite and any(outcome.differences for outcome in of_file):
            of_file = _rewritten(suite, of_file, name)
        outcomes += of_file
        if of_file and format == "text":
            _say(f"{suite.path}\n" + "".join(outcome_line(each, color=_color()) for each in of_file))
    if not outcomes:
        return complain(f"no test has `{name}` in its name", help="leave out -k to run all")
    if format == "junit":
        _say(junit(outcomes))
    else:
        _say(_failures(outcomes) + _summary(outcomes, clock.monotonic() - started))
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def _rewritten(suite: Suite, outcomes: Sequence[Outcome], name: str) -> list[Outcome]:
    """Rewrite a file's expectations and return how its tests end then."""
    try:
        count = update([outcome for outcome in outcomes if outcome.differences])
    except (NotUpdatable, OSError) as error:
        complain(f"{suite.path} was not updated: {error}", help="correct its expectations by hand")
        return list(outcomes)
    sys.stderr.write(f"{suite.path}: {count} expectation{'' if count == 1 else 's'} updated\n")
    (again,) = load_suites([suite.path]).suites
    return list(run_suite(again, SystemClock(), name))


def _failures(outcomes: Sequence[Outcome]) -> str:
    texts = [failure_text(outcome, color=_color()) for outcome in outcomes if not outcome.passed]
    return "".join(f"\n{text}" for text in texts)


def _summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    failed = sum(not outcome.passed for outcome in outcomes)
    counts = f"{len(outcomes) - failed} passed" + (f", {failed} failed" if failed else "")
    return f"\n{counts} in {seconds:.2f} s\n"


def _color(stream: object = None) -> bool:
    out = sys.stdout if stream is None else stream
    return bool(getattr(out, "isatty", bool)()) and not os.environ.get("NO_COLOR")


def _say(text: str) -> None:
    sys.stdout.write(_printable(text))


def _printable(text: str) -> str:
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
