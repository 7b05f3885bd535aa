"""Dead letters: kept with the reason, capped, replayed once as recorded input, and always accounted for."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import pytest
from pydantic import BaseModel, SecretStr

from flowrunner import (
    Connection,
    Message,
    MessageError,
    NodeOptions,
    Options,
    Record,
    Sink,
    Source,
    Transform,
    node_type,
)
from flowrunner.graph.build import GraphConnection
from flowrunner.registry import ConnectionType
from flowrunner.runtime.checkpoints.store import Checkpoint, DiskStore, MemoryStore
from flowrunner.runtime.flow import FlowRunner
from flowrunner.runtime.letters import table as letter_table
from flowrunner.runtime.letters.letter import REPLAYED, DeadLetter, encode, pack
from flowrunner.runtime.letters.table import Caps, Kept, Selection
from flowrunner.runtime.secrecy import Secrecy
from flowrunner.runtime.storage import FlowSettings, Storage
from flowrunner.testing import VirtualClock, run_virtual
from tests.nodes.harness import RecordingLog, SetClock
from tests.runtime.flows import START, FlowBuilder, Running, record, running


class Config(NodeOptions):
    """The options of the nodes of these tests."""

    password: SecretStr = SecretStr("hunter2")


class Mending:
    """A world that is broken until somebody mends it."""

    broken = True


@pytest.fixture(autouse=True)
def _broken() -> None:
    Mending.broken = True


@node_type("tagged")
class Tagged(Transform[Config]):
    """Fails while the world is broken; numbers what it passes."""

    def __init__(self, config: Config, context: Any) -> None:
        super().__init__(config, context)
        self.count = 0

    def on_message(self, message: Message) -> list[Message]:
        if Mending.broken and message.payload != "good":
            raise MessageError("refused with hunter2")
        self.count += 1
        return [message.replace(payload=[self.count, message.payload])]

    def snapshot(self) -> Any:
        return self.count

    def restore(self, state: Any) -> None:
        self.count = state


@node_type("picky")
class Picky(Sink[Config]):
    """A sink that does not take anything while the world is broken."""

    def __init__(self, config: Config, context: Any) -> None:
        super().__init__(config, context)
        self.kept: list[Message] = []

    async def write(self, batch: Any) -> None:
        for message in batch:
            if Mending.broken:
                self.context.fail(message, "400: field type conflict")
            else:
                self.kept.append(message)


@node_type("blind")
class Blind(Source[Config]):
    """A source that can read nothing while the world is broken."""

    async def run(self) -> None:
        await asyncio.Event().wait()

    def decode(self, data: bytes) -> Any:
        if Mending.broken:
            raise MessageError("not readable")
        return data.hex()


GRAPHS: dict[str, tuple[FlowBuilder, str]] = {
    "a transform": (FlowBuilder().source("a").node("n", Tagged, "a").sink("b", "n"), "n"),
    "a transform in a stage": (
        FlowBuilder().source("a").node("m", Tagged, "a", buffer={"capacity": 1}).sink("b", "m"),
        "m",
    ),
    "a transform within a stage": (
        FlowBuilder()
        .source("a")
        .sink("s", "a")
        .node("first", Tagged, "s.errors", buffer={"capacity": 1})
        .node("n", Tagged, "a", "first", buffer={"capacity": 4})
        .sink("b", "n"),
        "n",
    ),
    "a sink": (FlowBuilder().source("a").node("b", Picky, "a"), "b"),
    "a sink behind a sink": (
        FlowBuilder().source("a").node("s", Picky, "a").node("b", Picky, "s.errors"),
        "b",
    ),
    "a source": (FlowBuilder().node("a", Blind).sink("b", "a"), "a"),
}


async def letters_of(flow: Running | FlowRunner, **chosen: Any) -> list[Kept]:
    runner = flow.runner if isinstance(flow, Running) else flow
    return await runner.store.read_dead_letters(Selection(**chosen))


async def replay_all(runner: FlowRunner) -> None:
    kept = await runner.store.read_dead_letters()
    await runner.store.want_dead_letters([one.number for one in kept])
    runner.replays.wake()


def assert_books(runner: FlowRunner) -> None:
    """All dead letters that were counted are kept or have ended, and the flow's own books balance."""
    ledger, letters = runner.ledger, runner.store.letters
    assert ledger.balance == 0
    assert ledger.dead_lettered == letters.count + sum(letters.ended.values())


@pytest.mark.parametrize("name", GRAPHS)
def test_a_letter_goes_in_front_of_the_node_that_failed_it(name: str) -> None:
    builder, node = GRAPHS[name]

    async def scenario() -> None:
        async with running(builder.graph()) as flow:
            await flow.feed("a", Record(b"1", "t/1"))
            await asyncio.sleep(25)
            (kept,) = [one for one in await letters_of(flow) if one.letter.node == node]
            assert (kept.letter.node, kept.letter.topic, kept.letter.tried) == (node, "t/1", 1)

            Mending.broken = False
            await flow.runner.store.want_dead_letters([kept.number])
            flow.runner.replays.wake()
            await asyncio.sleep(25)

            sink: Any = flow.runner.assembly.sinks["b"].node
            (message,) = sink.kept
            assert message.topic == "t/1"
            assert message.meta["replays"] == 1
            assert node not in {one.letter.node for one in await letters_of(flow)}
            assert flow.runner.store.letters.ended == {(node, "replayed"): 1}
            assert_books(flow.runner)

    run_virtual(scenario())


def test_what_fails_again_comes_back_and_has_been_tried_once_more() -> None:
    async def scenario() -> None:
        async with running(GRAPHS["a sink"][0].graph()) as flow:
            await flow.feed("a", record(1))
            await asyncio.sleep(15)
            for tried in (1, 2, 3):
                assert [tried] == [one.letter.tried for one in await letters_of(flow)]
                await replay_all(flow.runner)
                await asyncio.sleep(15)
            assert_books(flow.runner)
            books = flow.runner.ledger
            assert (4, 4, 0) == (books.received, books.dead_lettered, books.written)

    run_virtual(scenario())


def test_bytes_that_are_no_text_are_kept_and_read_again() -> None:
    async def scenario() -> None:
        async with running(GRAPHS["a source"][0].graph()) as flow:
            await flow.feed("a", Record(b"\xff\x00{", "t"))
            await asyncio.sleep(15)
            assert [b"\xff\x00{"] == [one.letter.data for one in await letters_of(flow)]
            await replay_all(flow.runner)
            await asyncio.sleep(15)
            assert [(2, b"\xff\x00{")] == [
                (one.letter.tried, one.letter.data) for one in await letters_of(flow)
            ]

            Mending.broken = False
            await replay_all(flow.runner)
            await asyncio.sleep(15)
            assert ["ff007b"] == flow.payloads("b")
            assert_books(flow.runner)

    run_virtual(scenario())


def test_a_wired_errors_port_takes_precedence_over_the_store() -> None:
    async def scenario() -> None:
        graph = (
            FlowBuilder().source("a").node("n", Tagged, "a").sink("b", "n").sink("bad", "n.errors").graph()
        )
        async with running(graph) as flow:
            await flow.feed("a", record(1))
            await asyncio.sleep(15)

            assert [1] == flow.payloads("bad")
            assert [] == await letters_of(flow)

    run_virtual(scenario())


def test_secrets_are_kept_out_of_the_reason() -> None:
    async def scenario() -> None:
        async with running(GRAPHS["a transform"][0].graph()) as flow:
            await flow.feed("a", record(1))
            await asyncio.sleep(15)

            assert ["refused with **********"] == [one.letter.reason for one in await letters_of(flow)]

    run_virtual(scenario())


class Places(BaseModel):
    """Options with secrets in all places."""

    by_name: dict[str, SecretStr]
    listed: list[SecretStr | int]
    short: SecretStr


def test_secrets_are_found_wherever_options_have_them() -> None:
    graph: Any = FlowBuilder().source("a").sink("b", "a").graph()
    places = Places(
        by_name={"x": SecretStr("one-two")}, listed=[SecretStr("one-two-three"), 4], short=SecretStr("he")
    )
    graph.connections["c"] = GraphConnection("c", ConnectionType("c", Connection, Options, ""), places)  # type: ignore[arg-type]

    assert "the ********** and **********" == Secrecy(graph).mask("the one-two-three and one-two")


def test_a_letter_of_a_node_that_is_gone_is_refused_with_the_reason() -> None:
    async def scenario() -> None:
        storage = Storage("flow", "memory", FlowSettings(state_dir=Path("unused")), VirtualClock(START))
        await storage.open()
        async with running(GRAPHS["a transform"][0].graph(), storage=storage) as flow:
            await flow.feed("a", record(1))
            await asyncio.sleep(15)
        async with running(FlowBuilder().source("a").sink("b", "a").graph(), storage=storage) as flow:
            await replay_all(flow.runner)
            await asyncio.sleep(1)

            (kept,) = await letters_of(flow)
            reason = "there is no node `n` in flow `flow` any more"
            assert (reason, False) == (kept.refused, kept.wanted)
            assert [] == flow.payloads("b")
        await storage.close()

    run_virtual(scenario())


async def _start(graph: Any, storage: Storage) -> tuple[FlowRunner, asyncio.Task[None]]:
    settings = FlowSettings(state_dir=Path("unused"))
    runner = FlowRunner(graph, storage, settings, VirtualClock(START), RecordingLog())
    task = asyncio.create_task(runner.run())
    await runner.ready.wait()
    return runner, task


def _payloads(runner: FlowRunner) -> list[Any]:
    sink: Any = runner.assembly.sinks["b"].node
    return [message.payload for message in sink.kept]


async def _kill(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def _hang(*_: Any) -> Any:
    await asyncio.Event().wait()


MOMENTS: dict[str, Callable[[FlowRunner], None]] = {
    "before it is journaled": lambda runner: setattr(runner.assembly.replays, "emit_records", _hang),
    "before it is taken out of the store": lambda runner: setattr(runner.store, "end_dead_letters", _hang),
    "before the checkpoint": lambda runner: setattr(runner.store, "save", _hang),
}


@pytest.mark.parametrize("name", ["a transform", "a sink", "a source", "a sink behind a sink"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_a_letter_is_neither_lost_nor_replayed_twice(
    moment: str, name: str, tmp_path: Path
) -> None:
    builder, node = GRAPHS[name]
    graph = msgspec.structs.replace(builder.graph(), delivery="journal")

    async def scenario() -> None:
        settings = FlowSettings(state_dir=tmp_path)
        storage = Storage("flow", "journal", settings, VirtualClock(START))
        await storage.open()
        runner, task = await _start(graph, storage)
        for number in range(3):
            await runner.assembly.sources["a"].context.post([record(number)])
        await asyncio.sleep(25)
        assert {node: 3} == runner.store.letters.kept
        Mending.broken = False
        MOMENTS[moment](runner)
        await replay_all(runner)
        await asyncio.sleep(5)
        await _kill(task)
        for changed in ("save", "end_dead_letters"):
            vars(runner.store).pop(changed, None)
        await storage.close()

        storage = Storage("flow", "journal", settings, VirtualClock(START))
        await storage.open()
        runner, task = await _start(graph, storage)
        await asyncio.sleep(25)
        sink: Any = runner.assembly.sinks["b"].node
        origins = [message.seq for message in sink.kept]
        assert 3 == len(origins) == len(set(origins))
        assert {} == runner.store.letters.kept
        assert {(node, "replayed"): 3} == runner.store.letters.ended
        assert_books(runner)
        assert (6, 3) == (runner.ledger.received, runner.ledger.written)
        await _kill(task)
        await storage.close()

    run_virtual(scenario())


def test_a_letter_that_was_replayed_does_not_come_back_when_its_failure_is_repeated(tmp_path: Path) -> None:
    """Letters that are many are stored before their checkpoint: a crash then makes them again."""

    async def scenario() -> None:
        store = DiskStore(tmp_path / "state.db", SetClock(9))
        await store.open()
        await store.save(_checkpoint(1), [])
        failed = [_letter(number, seq=number) for number in (2, 3)]
        await store.add_dead_letters(failed)
        kept = await store.read_dead_letters(Selection(numbers=[1]))
        await store.end_dead_letters("replayed", [(one.key, one.letter.clock) for one in kept])
        await store.close()

        await store.open()
        assert await store.load() is not None
        await store.add_dead_letters(failed)
        assert [3] == [one.letter.payload for one in await store.read_dead_letters()]
        for position in (2, 3, 4):
            await store.save(_checkpoint(position), [])
        assert [] == await store._use(
            lambda connection: connection.execute("SELECT * FROM dead_letters_gone").fetchall()
        )
        await store.close()

    asyncio.run(scenario())


def test_the_output_is_a_function_of_the_journal_with_its_replays(tmp_path: Path) -> None:
    graph = msgspec.structs.replace(GRAPHS["a transform"][0].graph(), delivery="journal")

    async def scenario() -> list[list[Any]]:
        storage = Storage("flow", "journal", FlowSettings(state_dir=tmp_path), VirtualClock(START))
        await storage.open()
        runner, task = await _start(graph, storage)
        await runner.assembly.sources["a"].context.post([record("bad"), record("good")])
        await asyncio.sleep(25)
        Mending.broken = False
        await replay_all(runner)
        await asyncio.sleep(2)
        await runner.assembly.sources["a"].context.post([record("good")])
        await asyncio.sleep(2)
        await _kill(task)
        outputs = [_payloads(runner)]
        runner, task = await _start(graph, storage)  # goes over what came after the checkpoint again
        await asyncio.sleep(25)
        outputs.append(_payloads(runner))
        await _kill(task)
        await storage.close()
        return outputs

    first, again = run_virtual(scenario())
    assert [[1, "good"], [2, "bad"], [3, "good"]] == first
    assert first[1:] == again


def test_a_disk_that_fails_holds_a_replay_up_and_loses_nothing() -> None:
    async def scenario() -> None:
        async with running(GRAPHS["a sink"][0].graph()) as flow:
            await flow.feed("a", record(1))
            await asyncio.sleep(15)
            Mending.broken = False
            store: Any = flow.runner.store
            failures = [OSError("not now"), OSError("not yet")]
            read = store.read_dead_letters

            async def failing(*given: Any) -> Any:
                if failures:
                    raise failures.pop()
                return await read(*given)

            await replay_all(flow.runner)
            store.read_dead_letters = failing
            await asyncio.sleep(20)

            assert [1] == _payloads(flow.runner)
            assert_books(flow.runner)

    run_virtual(scenario())


def test_a_letter_whose_node_went_while_it_was_in_the_journal_is_kept() -> None:
    async def scenario() -> None:
        async with running(FlowBuilder().source("a").sink("b", "a").graph()) as flow:
            letter = _letter(1, seq=1, node="gone", created=START)
            await flow.runner.assembly.replays.post([Record(encode(letter), "t")])
            await asyncio.sleep(15)

            (kept,) = await letters_of(flow)
            assert ("gone", 2) == (kept.letter.node, kept.letter.tried)
            assert "there is no node `gone` in flow `flow` any more; before: refused" == kept.letter.reason
            assert_books(flow.runner)

    run_virtual(scenario())


def test_what_gives_way_is_counted_and_logged() -> None:
    async def scenario() -> None:
        settings = FlowSettings(state_dir=Path("unused"), dead_letters=Caps(letters=2))
        storage = Storage("flow", "memory", settings, VirtualClock(START))
        await storage.open()
        async with running(GRAPHS["a sink"][0].graph(), storage=storage) as flow:
            await flow.feed("a", *[record(number) for number in range(5)])
            await asyncio.sleep(15)
            assert [3, 4] == [one.letter.payload for one in await letters_of(flow)]
            assert {("b", "max_count"): 3} == flow.runner.store.letters.dropped()
            assert_books(flow.runner)
            log: Any = flow.runner._log
            told = [facts for _, event, facts in log.lines if event == "dead letters gave way to newer ones"]
            assert [{"flow": "flow", "node": "b", "reason": "max_count", "letters": 3}] == told
        await storage.close()

    run_virtual(scenario())


def _letter(payload: Any, *, seq: int = 1, node: str = "store", created: int = 9) -> DeadLetter:
    return DeadLetter.of(Message("t", payload, 5, clock=seq, seq=seq), node, "refused", created)


def _checkpoint(position: int) -> Checkpoint:
    fields: dict[str, Any] = {"states": {}, "definitions": {}, "counters": {}, "created": 0}
    if "versions" in Checkpoint.__struct_fields__:
        fields["versions"] = {}
    return Checkpoint(position=position, clock=position, **fields)


class TestTable:
    @pytest.mark.parametrize(
        ("caps", "left", "reason"),
        [
            (Caps(letters=2), [3, 4], "max_count"),
            (Caps(bytes=250), [3, 4], "max_bytes"),
            (Caps(retention=50), [2, 3, 4], "retention"),
            (Caps(bytes=1), [], "max_bytes"),
        ],
        ids=["count", "size", "age", "nothing fits"],
    )
    async def test_the_oldest_give_way(self, caps: Caps, left: list[int], reason: str) -> None:
        clock = SetClock(70)
        store = MemoryStore(clock, caps)
        await store.open()
        await store.add_dead_letters([_letter(number, created=10 * number) for number in range(5)])

        assert left == [one.letter.payload for one in await store.read_dead_letters()]
        assert {("store", reason): 5 - len(left)} == store.letters.ended
        assert len(left) == store.letters.count
        await store.close()

    @pytest.mark.parametrize(
        ("chosen", "payloads"),
        [
            ({}, [0, 1, 2, 3]),
            ({"node": "odd"}, [1, 3]),
            ({"reason": "fus"}, [0, 1, 2, 3]),
            ({"reason": "%"}, []),
            ({"since": 20}, [2, 3]),
            ({"numbers": [1, 4]}, [0, 3]),
            ({"numbers": []}, []),
            ({"limit": 2}, [0, 1]),
            ({"limit": 2, "newest": True}, [3, 2]),
            ({"after": 1, "before": 4}, [1, 2]),
            ({"wanted": True}, [1]),
        ],
    )
    async def test_letters_are_chosen(self, chosen: dict[str, Any], payloads: list[int]) -> None:
        store = MemoryStore(SetClock(30))
        await store.open()
        letters = [_letter(n, node="odd" if n % 2 else "even", created=10 * n) for n in range(4)]
        await store.add_dead_letters(letters)
        await store.want_dead_letters([2])

        found = await store.read_dead_letters(Selection(**chosen))
        assert payloads == [one.letter.payload for one in found]
        await store.close()

    async def test_letters_of_an_older_version_are_taken_over(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        store = DiskStore(path, SetClock(9))
        await store.open()
        await store.close()
        ordinals: Counter[bytes] = Counter()
        with sqlite3.connect(path) as connection:
            for name in ("dead_letters", "dead_letters_gone", "dead_letters_ended"):
                connection.execute(f"DROP TABLE {name}")
            connection.execute(
                """CREATE TABLE dead_letters (id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE,
                created INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL)"""
            )
            for number in range(150):
                one = pack(_letter(number, seq=number), ordinals)
                row = (one.key, one.created, crc32(one.data), one.data)
                connection.execute(
                    "INSERT INTO dead_letters (key, created, crc, data) VALUES (?, ?, ?, ?)", row
                )
            connection.execute(
                "INSERT INTO dead_letters (key, created, crc, data) VALUES (x'00', 0, 1, x'ff')"
            )
        connection.close()

        await store.open()
        assert {"store": 150, "": 1} == store.letters.kept
        found = await store.read_dead_letters(Selection(node="store", reason="refused", limit=1000))
        assert list(range(150)) == [one.letter.payload for one in found]
        assert [(1, "refused")] == [(one.number, one.letter.reason) for one in found[:1]]
        await store.close()

    async def test_another_process_asks_and_the_flow_hears_of_it(self, tmp_path: Path) -> None:
        store = DiskStore(tmp_path / "state.db", SetClock(9))
        await store.open()
        await store.add_dead_letters([_letter(1), _letter(2)])
        with sqlite3.connect(tmp_path / "state.db") as connection:
            letter_table.want(connection, [2])
        connection.close()

        assert [2] == [one.letter.payload for one in await store.read_dead_letters(Selection(wanted=True))]
        await store.refuse_dead_letters([(2, "no")])
        assert [None, "no"] == [one.refused for one in await store.read_dead_letters()]
        await store.want_dead_letters([2])
        assert [None, None] == [one.refused for one in await store.read_dead_letters()]
        await store.close()


def test_the_name_in_the_journal_is_no_node_of_anybody() -> None:
    assert not REPLAYED.replace("_", "").isalnum()
