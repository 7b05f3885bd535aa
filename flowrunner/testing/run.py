"""Run suites: each test played and compared."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from flowrunner.clock import Clock
from flowrunner.testing.compare import Difference, compare
from flowrunner.testing.load import Suite
from flowrunner.testing.model import FlowTest
from flowrunner.testing.play import Played, play
from flowrunner.testing.schedule import schedule


class Outcome(msgspec.Struct, frozen=True):
    """How one test ended."""

    suite: Suite
    number: int
    """Of the test in its file, from 0."""
    seconds: float
    played: Played
    differences: list[Difference]

    @property
    def test(self) -> FlowTest:
        """The test."""
        return self.suite.file.tests[self.number]

    @property
    def passed(self) -> bool:
        """Whether everything was as expected, and nothing happened that must not."""
        return not self.differences and not self.played.problems


def run_suite(suite: Suite, clock: Clock, wanted: str = "") -> Iterator[Outcome]:
    """Run the tests of a file whose names contain ``wanted``; ``clock`` is that of the machine."""
    recordings = {name: recording.messages for name, recording in suite.recordings.items()}
    for number, test in enumerate(suite.file.tests):
        if wanted.lower() not in test.name.lower():
            continue
        started = clock.monotonic()
        try:
            played = play(test, schedule(test, recordings), suite.graph, suite.versions)
        except Exception as error:  # of a node type, or of ours: the other tests go on
            played = _broken(test, f"the test could not be run: {type(error).__name__}: {error}")
        yield Outcome(suite, number, clock.monotonic() - started, played, compare(test, played))


def _broken(test: FlowTest, problem: str) -> Played:
    return Played({expectation.node: [] for expectation in test.expect}, 0, {}, [], [problem])
