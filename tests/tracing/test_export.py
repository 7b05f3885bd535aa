"""The queue to the collector: bounded, never in anybody's way, and everything that is lost is counted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from flowrunner.tracing.export import _LIBRARIES, ExportQueue
from tests.nodes.harness import RecordingLog


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    before = [(logging.getLogger(name), logging.getLogger(name).handlers[:]) for name in _LIBRARIES]
    yield
    for logger, handlers in before:
        logger.handlers, logger.propagate = handlers, True


class Sender:
    """Does as ``script`` says, then takes everything; stands still while ``gate`` is closed."""

    def __init__(self, *script: bool | Exception) -> None:
        self.script = list(script)
        self.sent: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.hurried = False

    def send(self, spans: Sequence[int]) -> bool:
        self.gate.wait(20)
        logging.getLogger("opentelemetry.exporter").warning("http://me:canary@host says 503")
        logging.getLogger("opentelemetry.exporter").debug("a detail")
        outcome = self.script.pop(0) if self.script else True
        if isinstance(outcome, Exception):
            raise outcome
        self.sent.append(list(spans))
        return outcome

    def hurry(self) -> None:
        self.hurried = True


def started(sender: Sender, log: RecordingLog | None = None, **sizes: int) -> ExportQueue[int]:
    queue: ExportQueue[int] = ExportQueue(log or RecordingLog(), delay=0.01, **sizes)
    queue.start(lambda: sender)
    return queue


def until(queue: ExportQueue[int], **counts: int) -> None:
    deadline = time.monotonic() + 10
    expected = {"exported": 0, "queue_full": 0, "failed": 0} | counts
    while dict(queue.counts) != expected:
        assert time.monotonic() < deadline, (expected, queue.counts)
        time.sleep(0.005)


def test_spans_are_sent_in_order_and_in_batches() -> None:
    sender = Sender()
    sender.gate.clear()
    queue = started(sender, batch=4)
    for number in range(10):
        queue.put(number)
    sender.gate.set()
    until(queue, exported=10)

    assert list(range(10)) == [number for batch in sender.sent for number in batch]
    assert max(map(len, sender.sent)) <= 4
    queue.close(5)
    assert sender.hurried


def test_what_has_no_room_is_dropped_and_counted_and_nobody_waits() -> None:
    sender = Sender()
    sender.gate.clear()
    queue = started(sender, capacity=10)
    before = time.monotonic()
    for number in range(10_000):
        queue.put(number)
    assert time.monotonic() - before < 1
    lost = queue.counts["queue_full"]
    assert 10_000 - 2 * 10 <= lost <= 10_000 - 10
    sender.gate.set()
    until(queue, exported=10_000 - lost, queue_full=lost)
    queue.close(5)


def test_a_collector_that_fails_is_told_of_once_and_again_when_it_is_back() -> None:
    log = RecordingLog()
    sender = Sender(False, False, ValueError("odd"), False, True, True, False)
    queue = started(sender, log, batch=1)
    for number in range(6):
        queue.put(number)
    until(queue, failed=4, exported=2)
    queue.close(5)

    assert [
        (
            "warning",
            "traces cannot be exported; the flows go on without",
            {"reason": "http://***@host says 503"},
        ),
        ("info", "traces are exported again", {"lost": 4}),
    ] == log.lines


def test_what_it_raises_is_told() -> None:
    log = RecordingLog()
    queue = started(Sender(ValueError("odd")), log)
    queue.put(1)
    until(queue, failed=1)

    assert {"reason": "ValueError: odd"} == log.lines[0][2]
    queue.close(5)


def test_closing_sends_what_is_left_but_waits_for_no_collector_that_stands_still() -> None:
    quick, stuck = Sender(), Sender()
    stuck.gate.clear()
    for sender in (quick, stuck):
        queue: ExportQueue[int] = ExportQueue(RecordingLog(), delay=60)
        queue.start(lambda sender=sender: sender)  # type: ignore[misc]  # bound at once
        queue.put(1)
        before = time.monotonic()
        queue.close(0.2)
        assert time.monotonic() - before < 2

    assert ([[1]], []) == (quick.sent, stuck.sent)
    assert stuck.hurried
    stuck.gate.set()


def test_a_queue_that_was_not_started_can_be_closed() -> None:
    queue: ExportQueue[int] = ExportQueue(RecordingLog())
    queue.put(1)
    queue.close(5)

    assert {"exported": 0, "queue_full": 0, "failed": 0} == dict(queue.counts)
