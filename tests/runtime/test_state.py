"""States as bytes: in slices, of several versions, with all that a message can hold."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any

import msgspec
import pytest

from flowrunner import Context, NodeOptions, SystemClock, Transform
from flowrunner.runtime.checkpoints import state
from flowrunner.runtime.checkpoints.state import converted, dump_state, load_state
from tests.nodes.harness import RecordingLog

KEYS = 10_000


class Keyed(Transform[NodeOptions]):
    """Keeps a value for each key, and says how it was restored."""

    def __init__(self) -> None:
        super().__init__(
            NodeOptions(type="keyed"), Context("flow", "node", log=RecordingLog(), clock=SystemClock())
        )
        self.values: dict[str, Any] = {}
        self.pieces = 0

    def snapshot(self) -> Iterator[Any]:
        for key, value in self.values.items():
            yield {key: value}

    def restore(self, state: Any) -> None:
        self.pieces += 1
        self.values.update(state)


class Second(Keyed):
    """The second version: its values are lists."""

    state_version = 2

    def upgrade(self, state: Any, version: int) -> Any:
        assert 1 == version
        return {key: [value] for key, value in state.items()}


def turns[T](work: Coroutine[Any, Any, T]) -> tuple[int, T]:
    """Run to the end; return how often others had their turn in between."""
    count = 0
    while True:
        try:
            work.send(None)
        except StopIteration as done:
            return count, done.value
        count += 1


def copied(old: Transform[Any], new: Any, version: int = 1) -> Any:
    _, chunks = turns(dump_state(old, old.context.timers))
    turns(load_state(new, new.context.timers, chunks, version))
    return new


def test_others_have_their_turn_after_every_piece_of_a_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "PATIENCE_NS", 0)
    old, new = Keyed(), Keyed()
    old.values = {f"key {number}": "x" * 100 for number in range(KEYS)}
    for number in range(KEYS):
        old.context.timers.set(number, number + 10, now=0)

    taking, chunks = turns(dump_state(old, old.context.timers))
    giving, _ = turns(load_state(new, new.context.timers, chunks, 1))

    assert taking >= KEYS + KEYS // 1024
    assert giving >= KEYS + KEYS // 1024
    assert max(map(len, chunks)) < state.CHUNK_BYTES + 20_000
    assert (old.values, KEYS) == (new.values, new.pieces)
    assert [old.context.timers.pop(9**9) for _ in range(KEYS)] == [
        new.context.timers.pop(9**9) for _ in range(KEYS)
    ]


@pytest.mark.parametrize(
    "value",
    [
        2**70,
        -(2**200),
        {"deep": [1, {"deeper": 10**40}]},
        "half \ud83d",
        {"\udc00": None},
        [b"raw", 1.5, None],
    ],
    ids=["large", "negative", "inside", "half a character", "as a name", "ordinary"],
)
def test_whatever_a_message_can_hold_survives(value: Any) -> None:
    node = Keyed()
    node.values = {"good": 1, "odd": value}

    assert node.values == copied(node, Keyed()).values


def test_structs_are_written_beside_large_integers() -> None:
    class Point(msgspec.Struct, array_like=True):
        x: int

    node = Keyed()
    node.values = {"point": [Point(1), 2**99]}

    assert {"point": [[1], 2**99]} == copied(node, Keyed()).values


def test_a_value_that_is_no_data_is_refused_with_its_type() -> None:
    node = Keyed()
    node.values = {"bad": object()}

    with pytest.raises(TypeError, match="cannot hold a value of type object"):
        turns(dump_state(node, node.context.timers))


def test_an_unknown_extension_is_refused() -> None:
    chunk = msgspec.msgpack.encode([["state", {"x": msgspec.msgpack.Ext(99, b"")}]])

    with pytest.raises(ValueError, match="extension of type 99"):
        turns(load_state(Keyed(), Keyed().context.timers, (chunk,), 1))


def test_a_state_of_an_older_version_is_upgraded_piece_by_piece() -> None:
    node = Keyed()
    node.values = {"a": 1, "b": 2}

    assert {"a": [1], "b": [2]} == copied(node, Second()).values


@pytest.mark.parametrize(
    ("new", "version", "reason"),
    [
        (Keyed, 2, "it is of version 2, and this node type reads up to 1"),
        (Keyed, 0, "a state of version 0 cannot be read, only of 1"),
    ],
)
def test_a_state_of_a_version_that_cannot_be_read_is_refused(
    new: type[Keyed], version: int, reason: str
) -> None:
    node = Keyed()
    node.values = {"a": 1}

    with pytest.raises(ValueError, match=reason):
        copied(node, new(), version)


def test_a_node_without_state_and_timers_takes_no_room() -> None:
    node = Keyed()

    assert (0, ()) == turns(dump_state(node, node.context.timers))


def test_what_was_saved_before_there_were_pieces_is_converted() -> None:
    node = Keyed()
    old = msgspec.msgpack.encode([{"a": 1}, [[5, "late"], [3, ["a", 1]]]])

    turns(load_state(node, node.context.timers, (converted(old),), 1))

    assert {"a": 1} == node.values
    assert [(("a", 1), 3), ("late", 5), None] == [node.context.timers.pop(9) for _ in range(3)]


def test_timers_that_are_set_again_and_again_do_not_pile_up() -> None:
    timers = Keyed().context.timers
    for moment in range(100_000):
        timers.set(moment % 10, moment + 1_000_000, now=moment)

    assert (10, True) == (len(timers), len(timers._heap) < 5_000)
    assert 1_099_990 == timers.due


@pytest.mark.parametrize(
    ("clock", "size", "crowd"),
    [(9, 10, True), (9, 11, False), (8, 10, False), (99, 100, True), (-1, 1, False)],
)
def test_a_crowd_of_timers_is_seen_without_firing_it(clock: int, size: int, crowd: bool) -> None:
    timers = Keyed().context.timers
    for number in reversed(range(100)):
        timers.set(number, number, now=-1)

    assert crowd is timers.crowd(clock, size)
    assert 100 == len(timers)
