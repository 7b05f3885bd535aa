"""The report of a soak: its numbers, and what keeps the verdict from being clean."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

import pytest

from reliability.oracle import Account
from reliability.report import Run, broken, percentile, render
from reliability.watch import Footprint, Watched, core_wait, events, metric

MIB = 2**20
ACCOUNT = Account(
    published=10,
    acknowledged=9,
    journaled=9,
    repeated_by_broker=0,
    excused=0,
    lost=0,
    written=8,
    duplicated=1,
    dead_lettered=1,
    windows=3,
    problems=(),
)
RUN = Run(
    seed=7,
    version="1.2.3",
    minutes=2.0,
    faults=3,
    kinds={"kill -9": 2, "503": 1},
    recoveries={"kill -9": [1.0, 3.0]},
    account=ACCOUNT,
    seen=Watched(looks=100, lags=[0.3] * 99 + [0.5], own_lags=[0.001] * 99 + [0.5]),
    before=Footprint(100 * MIB, 20, 9),
    after=[Footprint(120 * MIB, 25, 10), Footprint(110 * MIB, 21, 9)],
    failures=(),
)


def test_a_clean_run_is_called_clean_and_tells_its_numbers() -> None:
    report = render(RUN)

    assert [] == broken(RUN)
    for line in (
        "# Soak of 2 minutes, seed 7",
        "Verdict: **clean**.",
        "| command | `make soak MINUTES=2 SEED=7` |",
        "| version | 1.2.3 |",
        "| **lost** | **0** |",
        "| event-loop lag: median, 99th percentile, most | 300.0 ms, 300.0 ms, 500.0 ms |",
        "| the same without waiting for a core of the machine | 1.0 ms, 1.0 ms, 500.0 ms |",
        "| resident memory before, after, most at any time | 100 MiB, 110 MiB, 0 MiB |",
        "| descriptors before, after, most after a fault | 20, 21, 25 |",
        "| kill -9 | 2 | 2.0 s | 3.0 s |",
        "| 503 | 1 |  |  |",
    ):
        assert line in report.splitlines()


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        pytest.param({"account": replace(ACCOUNT, problems=("1 lost",))}, "1 lost", id="oracle"),
        pytest.param({"failures": ["never well again"]}, "never well again", id="recovery"),
        pytest.param(
            {"seen": Watched(looks=1, silent=["3 s: /livez answered 0"])},
            "3 s: /livez answered 0",
            id="health",
        ),
        pytest.param(
            {"seen": Watched(looks=1, unbalanced=["3 s: 1 unaccounted"])}, "3 s: 1 unaccounted", id="books"
        ),
        pytest.param(
            {"seen": Watched(looks=1, own_lags=[0.2, 0.2])},
            "the event loop was late by 200 ms (99th percentile)",
            id="lag",
        ),
        pytest.param(
            {"after": [Footprint(200 * MIB, 20, 9), RUN.before]},
            "resident memory did not return to its base line after each fault",
            id="memory",
        ),
        pytest.param(
            {"after": [Footprint(100 * MIB, 50, 9), RUN.before]},
            "descriptors did not return to their base line after each fault",
            id="descriptors",
        ),
        pytest.param(
            {"after": [Footprint(100 * MIB, 20, 30), RUN.before]},
            "threads did not return to their base line after each fault",
            id="threads",
        ),
        pytest.param({"seen": Watched(looks=1, tracebacks=2)}, "2 tracebacks in the log", id="tracebacks"),
        pytest.param({"seen": Watched()}, "nothing was measured", id="nothing measured"),
    ],
)
def test_every_finding_spoils_the_verdict(change: dict[str, Any], finding: str) -> None:
    run = replace(RUN, **change)

    assert [finding] == broken(run)
    assert f"Verdict: **not clean** (1 findings).\n\n- {finding}\n" in render(run)


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [([], 0.99, 0.0), ([5.0], 0.99, 5.0), ([3.0, 1.0, 2.0], 0.5, 2.0), (list(range(1, 101)), 0.99, 99)],
    ids=["none", "one", "median", "99th of 100"],
)
def test_a_percentile_is_a_value_that_was_seen(values: list[float], part: float, expected: float) -> None:
    assert expected == percentile(values, part)


def test_who_sleeps_does_not_wait_for_a_core() -> None:
    before = core_wait(os.getpid())
    time.sleep(0.05)

    assert 0.0 <= core_wait(os.getpid()) - before < 0.05


def test_metrics_are_read_by_name_and_reason() -> None:
    text = (
        "# HELP flowrunner_x_total x\n"
        'flowrunner_x_total{flow="a"} 1.0\n'
        'flowrunner_x_total{flow="b"} -3.0\n'
        "flowrunner_lag 0.25\n"
        'flowrunner_connection_events_total{flow="a",reason="session_lost"} 2.0\n'
        'flowrunner_connection_events_total{flow="a",reason="unrouted"} 5.0\n'
    )

    assert (-3.0, 0.25, None) == tuple(
        metric(text, f"flowrunner_{name}") for name in ("x_total", "lag", "missing")
    )
    assert (2, 0) == (events(text, "session_lost"), events(text, "stale_acks"))
