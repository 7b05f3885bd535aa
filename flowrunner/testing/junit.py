"""Outcomes as JUnit XML, which continuous integration shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from xml.sax.saxutils import quoteattr

from flowrunner.testing.report import failure_text
from flowrunner.testing.run import Outcome

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(outcomes: Sequence[Outcome]) -> str:
    """Return a document with one suite a file."""
    out = f'<?xml version="1.0" encoding="utf-8"?>\n<testsuites name="flowrunner"{_totals(outcomes)}>\n'
    for path, group in groupby(outcomes, key=lambda outcome: str(outcome.suite.path)):
        of_file = list(group)
        out += f"  <testsuite name={_attribute(path)}{_totals(of_file)}>\n"
        out += "".join(_case(path, outcome) for outcome in of_file)
        out += "  </testsuite>\n"
    return out + "</testsuites>\n"


def _totals(outcomes: Sequence[Outcome]) -> str:
    failures = sum(not outcome.passed for outcome in outcomes)
    seconds = sum(outcome.seconds for outcome in outcomes)
    return f' tests="{len(outcomes)}" failures="{failures}" errors="0" time="{seconds:.3f}"'


def _case(path: str, outcome: Outcome) -> str:
    line = outcome.suite.places.key(("tests", outcome.number, "name")).line
    head = (
        f"    <testcase classname={_attribute(path)} name={_attribute(outcome.test.name)} "
        f'file={_attribute(path)} line="{line}" time="{outcome.seconds:.3f}"'
    )
    if outcome.passed:
        return head + "/>\n"
    text = failure_text(outcome)
    message = text.partition("\n")[0]
    return (
        f"{head}>\n      <failure message={_attribute(message)}>{_escaped(text)}</failure>\n    </testcase>\n"
    )


def _escaped(text: str) -> str:
    text = _NOT_XML.sub("·", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _attribute(text: str) -> str:
    return quoteattr(_NOT_XML.sub("·", text))
