"""A sink that is down, and what the rest of its flow, another flow and a restart notice of it."""

from __future__ import annotations

from pathlib import Path

from reliability.scenario import Outcome, scenario
from tests.e2e.sink_faults import (
    Evidence,
    killed_with_an_outbox,
    one_sink_stalls,
    percentile,
    the_token_file_is_corrected,
)
from tests.servers.fake_influx import Hang, Reply

_SLOWEST = 3.0
"""Seconds in which a reading of another flow must be in its database, on a busy machine."""


@scenario(
    "an outbox, killed six times", "What a sink's outbox holds is written in order, over kill -9 at any time."
)
async def outbox(folder: Path) -> Outcome:
    """Kill the process while the database is down, comes back, and goes again."""
    found = await killed_with_an_outbox(folder)
    assert found.in_order, "the order was not kept"
    assert found.made == found.kept_during, "the other sink of the flow was held back"
    return _outcome(found)


@scenario(
    "a token, corrected in its file", "A token that is corrected in its file is taken up without a restart."
)
async def token(folder: Path) -> Outcome:
    """Let the database refuse the token, then write the right one and send SIGHUP."""
    return _outcome(await the_token_file_is_corrected(folder))


@scenario("two flows, one database never answers", "A sink that stalls does not stop another flow.")
async def black_hole(folder: Path) -> Outcome:
    """Watch a flow whose database is well while that of another is a black hole."""
    return _beside(await one_sink_stalls(folder, Hang()))


@scenario(
    "two flows, one has a backlog", "A backlog is made up for without harm to another flow's live data."
)
async def backlog(folder: Path) -> Outcome:
    """Let 100,000 points gather behind a 503 and be written, and watch another flow meanwhile."""
    return _beside(await one_sink_stalls(folder, Reply(503), backlog=100_000))


def _beside(found: Evidence) -> Outcome:
    slowest = percentile(found.lags, 0.99)
    assert slowest < _SLOWEST, f"a reading of the other flow took {slowest:.1f} s"
    return _outcome(found)


def _outcome(found: Evidence) -> Outcome:
    assert found.others == 0, f"{found.others} points that nobody made"
    assert (found.held, found.unaccounted) == (0, 0), "the books do not balance"
    assert found.kept == found.made, "the other sink lacks messages"
    return Outcome(found.lost, found.duplicated, recovered_in=found.recovered_in)
