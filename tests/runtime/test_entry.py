"""What a record is stamped with when it comes in."""

from __future__ import annotations

from flowrunner import Record
from flowrunner.clock import FlowClock
from flowrunner.runtime.journal.entry import Stamper
from tests.nodes.harness import SetClock
from tests.runtime.flows import START


def test_records_that_arrive_together_have_times_of_their_own() -> None:
    clock = SetClock(START)
    stamper = Stamper(FlowClock(clock), clock)

    entries = stamper.stamp("a", [Record(b"1"), Record(b"2", time=7), Record(b"3")], 1)

    assert [START, 7, START + 1] == [entry.time for entry in entries]
    assert [START] * 3 == [entry.clock for entry in entries]
