"""The life of every node type: options, creation, start, work, snapshot, restore, stop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowrunner import Message, MessageError, Sink, Source, Transform
from flowrunner.runtime.checkpoints.books import dump_counters, load_counters
from tests.contract.subjects import MINUTE, NAMES, corpus, create, needs_server, node_type, of_kind, subject
from tests.nodes.harness import take_up

ROOT = Path(__file__).parents[2]
FOREVER = 2**62
_IO = ("open", "socket.", "sqlite3.connect", "subprocess.", "os.mkdir", "os.rename", "os.remove")
_watched: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is not None and event.startswith(_IO):
        _watched.append(f"{event} {arguments}")


sys.addaudithook(_watch)


@pytest.fixture
def io_of() -> Iterator[list[str]]:
    """Collect the files, sockets and processes that are opened."""
    global _watched  # noqa: PLW0603  # an audit hook can never be removed
    _watched = []
    yield _watched
    _watched = None


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("readings.jsonl").write_text('{"ts": "2026-03-01T10:00:00Z", "temperature": 20.0}\n')


def open_files() -> set[str]:
    """Return what the open files and sockets of this process lead to."""
    found = set()
    for handle in Path("/proc/self/fd").iterdir():
        try:
            found.add(str(handle.readlink()))
        except FileNotFoundError:
            continue
    return found


@pytest.mark.parametrize("name", NAMES)
def test_creation_does_no_io_and_needs_no_loop(name: str, request: pytest.FixtureRequest) -> None:
    create(name)  # modules that are imported late are files too
    io = request.getfixturevalue("io_of")

    create(name)

    assert [] == io


@pytest.mark.parametrize("name", NAMES)
async def test_a_node_that_was_never_opened_can_be_closed(name: str) -> None:
    node = create(name)

    await node.close()
    await node.close()

    assert 0 == node.context.counters.balance()


class Engine:
    """What a stage does around a transform, and what comes of it."""

    def __init__(self, name: str) -> None:
        node = create(name)
        assert isinstance(node, Transform)
        self.node: Transform[Any] = node
        self.out: dict[str, list[Message]] = {}
        self.failed: list[tuple[Message, str]] = []

    def batch(self, messages: Sequence[Message]) -> None:
        self.node.context.counters.received += len(messages)
        self._take(self.node.on_batch(messages))

    def tick(self, clock: int) -> None:
        out: list[Message] = []
        assert self.node.advance(clock, out)
        self._take(out)

    def _take(self, out: list[Message]) -> None:
        context = self.node.context
        for port, messages in {"out": out, **context.ports}.items():
            self.out.setdefault(port, []).extend(messages)
            context.counters.emitted[port] = context.counters.emitted.get(port, 0) + len(messages)
        context.counters.dead_lettered += len(context.failures)
        self.failed += context.failures
        context.ports.clear()
        context.failures.clear()
        assert 0 == context.counters.balance()

    def reborn(self, name: str) -> Engine:
        """Return an engine with a new node that has the saved state of this one."""
        other = Engine(name)
        mine, theirs = self.node.context, other.node.context
        load_counters(theirs.counters, dump_counters(mine.counters))
        take_up(other.node, self.node)
        other.out, other.failed = self.out, self.failed
        return other


@pytest.mark.parametrize("name", of_kind("transform"))
def test_a_transform_works_and_every_message_is_accounted_for(name: str) -> None:
    engine = Engine(name)

    engine.batch(corpus())
    engine.tick(FOREVER)

    assert 0 == engine.node.context.counters.held
    assert [] == [reason for _, reason in engine.failed if "in node type" in reason]


@pytest.mark.parametrize("name", of_kind("transform"))
def test_a_message_comes_out_of_every_port(name: str) -> None:
    engine = Engine(name)

    engine.batch(corpus())
    engine.tick(FOREVER)

    assert set(subject(name).ports) == {port for port, messages in engine.out.items() if messages}


@pytest.mark.parametrize("name", of_kind("transform"))
def test_a_transform_never_changes_a_message(name: str) -> None:
    messages = corpus()
    before = msgspec.msgpack.encode(messages)
    engine = Engine(name)

    engine.batch(messages)

    assert before == msgspec.msgpack.encode(messages)


@pytest.mark.parametrize("name", of_kind("transform"))
@pytest.mark.parametrize("place", [0, 1, 37, 121])
def test_a_restored_transform_goes_on_as_if_nothing_had_happened(name: str, place: int) -> None:
    messages = corpus()
    undisturbed, engine = Engine(name), Engine(name)
    undisturbed.batch(messages)
    undisturbed.tick(FOREVER)

    engine.batch(messages[:place])
    engine = engine.reborn(name)
    engine.batch(messages[place:])
    engine.tick(FOREVER)

    assert (undisturbed.out, undisturbed.failed) == (engine.out, engine.failed)


@pytest.mark.parametrize("name", of_kind("transform"))
def test_the_borders_of_batches_change_nothing(name: str) -> None:
    messages = corpus()
    whole, single = Engine(name), Engine(name)
    whole.batch(messages)
    whole.tick(FOREVER)

    for message in messages:
        single.tick(message.clock)
        single.batch([message])
    single.tick(FOREVER)

    assert (whole.out, whole.failed) == (single.out, single.failed)


@pytest.mark.parametrize("name", [name for name in of_kind("source") if not needs_server(name)])
async def test_a_source_runs_and_lets_go_of_everything(name: str) -> None:
    before = open_files()
    node = create(name)
    assert isinstance(node, Source)

    await node.open()
    running = asyncio.create_task(node.run())
    await asyncio.sleep(0.05)
    crashed = running.done() and running.exception()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await node.close()

    assert not crashed
    assert set() == {path for path in open_files() - before if not path.startswith("anon_inode")}


@pytest.mark.parametrize("name", of_kind("source"))
@pytest.mark.parametrize("data", [b'{"a": 1}', b"21.5", b"", b"\xff", b"a,b\n1,2"])
def test_decoding_is_a_pure_function(name: str, data: bytes) -> None:
    def decode() -> Any:
        node = create(name)
        assert isinstance(node, Source)
        try:
            return node.decode(data)
        except MessageError as error:
            return f"<{error}>"

    assert decode() == decode()


@pytest.mark.parametrize("name", [name for name in of_kind("sink") if not needs_server(name)])
async def test_a_sink_writes_and_lets_go_of_everything(name: str) -> None:
    before = open_files()
    node = create(name)
    assert isinstance(node, Sink)
    counters = node.context.counters
    messages = corpus()

    await node.open()
    counters.received += len(messages)
    await node.write(messages)
    await node.close()

    ended = len(node.context.failures) + sum(counters.dropped.values())
    counters.dead_lettered = len(node.context.failures)
    counters.written += len(messages) - ended
    assert 0 == counters.balance()
    assert counters.written > 0
    assert set() == {
        path for path in open_files() - before if str(ROOT) not in path and "anon_inode" not in path
    }


@pytest.mark.parametrize("name", of_kind("sink"))
def test_a_sink_wants_batches_of_a_size(name: str) -> None:
    node = create(name)
    assert isinstance(node, Sink)

    assert 1 <= node.limits().max_messages <= 100_000
    assert 0 <= node.limits().max_age * 1e9 <= MINUTE
    assert "sink" == node_type(name).kind
