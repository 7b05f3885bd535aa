"""The report of a soak, in Markdown."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from reliability.oracle import Account
from reliability.watch import Footprint, Watched

LAG_LIMIT = 0.1
"""Seconds that the event loop may be late, in 99 of 100 looks."""
MEMORY_SLACK = 1.5
"""Resident memory after a fault, as a multiple of that before all, that is still a return to the base line."""
SLACK = 6
"""Descriptors and threads above the base line that are still a return to it: idle connections, a busy pool."""


@dataclass(frozen=True)
class Run:
    """Everything that a soak brought; ``recoveries`` are seconds by kind of fault."""

    seed: int
    version: str
    minutes: float
    faults: int
    kinds: Mapping[str, int]
    recoveries: Mapping[str, Sequence[float]]
    account: Account
    seen: Watched
    before: Footprint
    after: Sequence[Footprint]
    """After each fault, once all was well again; the last one at the end."""
    failures: Sequence[str]
    """What went wrong while it ran."""


def percentile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that ``part`` of all values do not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * part) - 1] if ordered else 0.0


def broken(run: Run) -> list[str]:
    """Return what keeps the verdict from being clean."""
    lag = percentile(run.seen.own_lags, 0.99)
    found = [*run.failures, *run.account.problems, *run.seen.silent, *run.seen.unbalanced]
    if lag > LAG_LIMIT:
        found.append(f"the event loop was late by {lag * 1000:.0f} ms (99th percentile)")
    limit = run.before.rss * MEMORY_SLACK
    if any(each.rss > limit for each in run.after):
        found.append("resident memory did not return to its base line after each fault")
    if any(each.descriptors > run.before.descriptors + SLACK for each in run.after):
        found.append("descriptors did not return to their base line after each fault")
    if any(each.threads > run.before.threads + SLACK for each in run.after):
        found.append("threads did not return to their base line after each fault")
    if run.seen.tracebacks:
        found.append(f"{run.seen.tracebacks} tracebacks in the log")
    if not run.account.journaled or not run.seen.looks:
        found.append("nothing was measured")
    return found


def render(run: Run) -> str:
    """Return the report."""
    problems = broken(run)
    verdict = "**clean**" if not problems else f"**not clean** ({len(problems)} findings)"
    parts = [
        f"# Soak of {run.minutes:g} minutes, seed {run.seed}",
        f"Verdict: {verdict}.",
        *(["\n".join(f"- {problem}" for problem in problems)] if problems else []),
        _table("run", _run_rows(run)),
        _table("messages", _message_rows(run.account)),
        _table("process", _process_rows(run)),
        _faults(run),
    ]
    return "\n\n".join(parts) + "\n"


def _run_rows(run: Run) -> list[tuple[str, str]]:
    cores, memory = os.cpu_count(), psutil.virtual_memory().total / 2**30
    return [
        ("version", run.version),
        ("machine", f"{platform.machine()}, {cores} cores, {memory:.0f} GiB, {platform.system()}"),
        ("Python", platform.python_version()),
        ("command", f"`make soak MINUTES={run.minutes:g} SEED={run.seed}`"),
        ("faults", str(run.faults)),
    ]


def _message_rows(account: Account) -> list[tuple[str, str]]:
    return [
        ("published with QoS 1", str(account.published)),
        ("acknowledged by the broker", str(account.acknowledged)),
        ("lost by the broker when it was killed (not saved yet)", str(account.excused)),
        ("taken over into the journal", str(account.journaled)),
        ("of these sent again by the broker", str(account.repeated_by_broker)),
        ("written to the database", str(account.written)),
        ("of these sent more than once, the same each time", str(account.duplicated)),
        ("dead-lettered, with the reason", str(account.dead_lettered)),
        ("windows, equal to those recomputed from the journal", str(account.windows)),
        ("**lost**", f"**{account.lost}**"),
    ]


def _process_rows(run: Run) -> list[tuple[str, str]]:
    seen, before, last = run.seen, run.before, run.after[-1]
    most = max(each.descriptors for each in run.after), max(each.threads for each in run.after)
    return [
        ("looks at `/livez`, the books and the lag", str(seen.looks)),
        ("`/livez` without an answer", str(len(seen.silent))),
        ("books that did not balance", str(len(seen.unbalanced))),
        ("event-loop lag: median, 99th percentile, most", _lags(seen.lags)),
        ("the same without waiting for a core of the machine", _lags(seen.own_lags)),
        ("resident memory before, after, most at any time", _memory(before.rss, last.rss, seen.rss_most)),
        (
            "descriptors before, after, most after a fault",
            f"{before.descriptors}, {last.descriptors}, {most[0]}",
        ),
        ("threads before, after, most after a fault", f"{before.threads}, {last.threads}, {most[1]}"),
    ]


def _lags(lags: Sequence[float]) -> str:
    found = percentile(lags, 0.5), percentile(lags, 0.99), percentile(lags, 1.0)
    return ", ".join(f"{lag * 1000:.1f} ms" for lag in found)


def _memory(*sizes: int) -> str:
    return ", ".join(f"{size / 2**20:.0f} MiB" for size in sizes)


def _table(name: str, rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join([f"| {name} | |", "|---|--:|", *(f"| {left} | {right} |" for left, right in rows)])


def _faults(run: Run) -> str:
    head = ["| fault | times | recovered in, median | most |", "|---|--:|--:|--:|"]
    rows = []
    for kind, times in sorted(run.kinds.items()):
        seconds = run.recoveries.get(kind, ())
        found = [f"{statistics.median(seconds):.1f} s", f"{max(seconds):.1f} s"] if seconds else ["", ""]
        rows.append(f"| {' | '.join([kind, str(times), *found])} |")
    note = (
        "Seconds from the end of the fault until something published after it was written and all was ready."
    )
    return "\n".join([*head, *rows, "", note])
