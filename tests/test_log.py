"""Logging: one line an event, one line a second for one cause, and a stdout that nobody reads blocks nobody."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from flowrunner.log import configure, writer
from flowrunner.log.repeats import Repeats
from flowrunner.log.writer import Writer


class StoppedClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> int:
        return 0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, level = before
    root.setLevel(level)
    structlog.reset_defaults()


class Output(io.StringIO):
    """A stream whose lines can be waited for."""

    def lines(self, count: int) -> list[str]:
        deadline = time.monotonic() + 5
        while self.getvalue().count("\n") < count and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.getvalue().splitlines()


class Terminal(Output):
    def isatty(self) -> bool:
        return True


def test_a_line_is_json_with_time_level_and_event_in_front() -> None:
    output = Output()
    logger = configure(StoppedClock(), stream=output)
    logger.warning("node is degraded", reason="503", node="store", flow=None, text="ä\n\ud800")
    logger.debug("not shown")

    line = output.lines(1)[0]
    event = json.loads(line)
    assert ["timestamp", "level", "event", "reason", "node", "text"] == list(event)
    assert ("warning", "node is degraded", "503") == (event["level"], event["event"], event["reason"])
    assert event["timestamp"].endswith("Z")
    assert line.isascii()


@pytest.mark.parametrize(
    ("style", "terminal", "is_json"),
    [("auto", False, True), ("auto", True, False), ("json", True, True), ("console", False, False)],
)
def test_a_terminal_gets_lines_for_people(style: Any, terminal: bool, is_json: bool) -> None:
    output = Terminal() if terminal else Output()
    configure(StoppedClock(), style=style, stream=output).info("stopped")

    assert is_json == output.lines(1)[0].startswith("{")


def test_one_cause_is_told_once_a_second_with_the_number_of_repeats() -> None:
    output, clock = Output(), StoppedClock()
    logger = configure(clock, stream=output)
    for _ in range(100):
        logger.warning("message dead-lettered", node="a")
    logger.warning("message dead-lettered", node="b")
    clock.seconds = 1.0
    logger.warning("message dead-lettered", node="a")
    logger.warning("message dead-lettered", node="b")

    events = [json.loads(line) for line in output.lines(4)]
    assert [("a", None), ("b", None), ("a", 99), ("b", None)] == [
        (event["node"], event.get("repeated")) for event in events
    ]


def test_the_number_of_causes_that_are_remembered_is_bounded() -> None:
    repeats = Repeats(StoppedClock(), causes=10)
    for number in range(1000):
        repeats(None, "info", {"event": f"event {number}"})

    assert len(repeats._seen) <= 10


def test_what_libraries_log_takes_the_same_way() -> None:
    output = Output()
    configure(StoppedClock(), stream=output)
    logging.getLogger("paho").warning("odd %s", "thing")
    logging.getLogger("paho").info("not shown")
    logging.getLogger("paho").log(35, "between two levels")
    logging.getLogger("paho").log(99, "beyond all levels")

    events = [json.loads(line) for line in output.lines(3)]
    assert [
        ("warning", "odd thing"),
        ("warning", "between two levels"),
        ("critical", "beyond all levels"),
    ] == [(event["level"], event["event"]) for event in events]
    assert "paho" == events[0]["logger"]


def test_only_errors_of_libraries_are_told_when_only_errors_are_wanted() -> None:
    configure(StoppedClock(), level="error", stream=Output())

    assert logging.ERROR == logging.getLogger().level


class Stuck(Output):
    """A stream that nobody reads until the test does."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = threading.Event()

    def write(self, text: str) -> int:
        self.reader.wait(10)
        return super().write(text)


def test_a_stream_that_nobody_reads_blocks_nobody_and_what_is_dropped_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer, "QUEUE", 10)
    output = Stuck()
    logger = configure(StoppedClock(), stream=output)
    before = time.monotonic()
    for number in range(1000):
        logger.info("event", flow=str(number))
    assert time.monotonic() - before < 1
    output.reader.set()

    events = [json.loads(line) for line in output.lines(12)]
    notices = [event for event in events if event["event"] == "log lines dropped"]
    assert ["timestamp", "level", "event", "lines"] == list(notices[0])
    assert 1000 == len(events) - len(notices) + sum(notice["lines"] for notice in notices)


class Broken(Output):
    """A stream whose first writes fail."""

    failures = 2

    def write(self, text: str) -> int:
        if self.failures:
            self.failures -= 1
            raise BrokenPipeError
        return super().write(text)


def test_a_stream_that_fails_is_written_to_again() -> None:
    output = Broken()
    broken = Writer(output, lambda count: f"{count} dropped")
    for word in ("one", "two", "three"):
        broken.msg(word)

    assert ["three", "2 dropped"] == output.lines(2)
    broken.close()


@pytest.mark.parametrize("stuck", [False, True])
def test_closing_writes_what_is_queued_but_does_not_wait_for_ever(
    stuck: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "QUEUE", 2)
    output: Any = Stuck() if stuck else Output()
    queued = Writer(output, str)
    for _ in range(2 if not stuck else 10):
        queued.msg("line")
        time.sleep(0.01)
    before = time.monotonic()
    queued.close()

    assert time.monotonic() - before < 2
    assert ("" if stuck else "line\nline\n") == output.getvalue()
    if stuck:
        output.reader.set()


def test_a_pipe_that_is_full_blocks_nobody() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream, os.fdopen(read, "rb") as reader:
        logger = configure(StoppedClock(), stream=stream)
        before = time.monotonic()
        for number in range(5000):
            logger.info("event", flow=str(number), fact="x" * 100)
        assert time.monotonic() - before < 3
        events = [json.loads(reader.readline()) for _ in range(5000)]
    assert "4999" == events[-1]["flow"]


def test_a_pipe_that_another_process_has_set_to_refuse_is_waited_for() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with os.fdopen(write, "w") as stream, os.fdopen(read, "rb") as reader:
        logger = configure(StoppedClock(), stream=stream)
        for number in range(2000):
            logger.info("event", flow=str(number), fact="x" * 100)
        events = [json.loads(reader.readline()) for _ in range(2000)]

    assert [str(number) for number in range(2000)] == [event["flow"] for event in events]


def test_the_number_of_repeats_is_told_though_nothing_follows() -> None:
    output, clock = Output(), StoppedClock()
    logger = configure(clock, stream=output)
    for number in range(100):
        logger.warning("message dead-lettered", node="a", number=number)
    logger.warning("once", node="a")
    clock.seconds = 1.0

    events = [json.loads(line) for line in output.lines(3)]
    assert [("message dead-lettered", 0, None), ("once", None, None), ("message dead-lettered", 99, 98)] == [
        (event["event"], event.get("number"), event.get("repeated")) for event in events
    ]


def test_every_event_is_a_line_or_counted_however_many_causes_there_are() -> None:
    clock = StoppedClock()
    repeats, lines = Repeats(clock, causes=10), []
    for number in range(1000):
        with contextlib.suppress(structlog.DropEvent):
            lines.append(repeats(None, "info", {"event": f"event {number % 20 // 2}"}))
        if number % 100 == 0:
            clock.seconds += 1
            lines += repeats.overdue()
    lines += repeats.overdue(end=True)

    assert 1000 == len(lines) + sum(line.get("repeated", 0) for line in lines)


def test_lines_that_differ_in_their_facts_only_have_one_cause() -> None:
    output = Output()
    configure(StoppedClock(), stream=output)
    for number in range(50):
        logging.getLogger("paho").warning("packet %s", number)
    logging.getLogger("paho").warning("done")

    events = [json.loads(line) for line in output.lines(2)]
    assert ["packet 0", "done"] == [event["event"] for event in events]
    assert not any("_cause" in event for event in events)


def test_a_library_that_logs_what_does_not_fit_disturbs_nobody() -> None:
    output = Output()
    configure(StoppedClock(), stream=output)
    logging.getLogger("paho").warning("odd %d", "thing")
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("asyncio").exception("task failed")

    events = [json.loads(line) for line in output.lines(2)]
    assert "odd %d" == events[0]["event"]
    assert "ValueError: why" in events[1]["error"]
