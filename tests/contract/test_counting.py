"""The counting that a transform with ``on_message`` gets for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flowrunner import Message, MessageError, NodeOptions, Transform, node_type
from tests.nodes.harness import message, run_transform


class Config(NodeOptions):
    """None."""


@node_type("doing")
class Doing(Transform[Config]):
    """Does what the payload says."""

    def on_message(self, message: Message) -> Any:
        return message.payload(self, message)


def emit(node: Doing, incoming: Message) -> None:
    node.context.emit(incoming, "other")


def emit_and_return(node: Doing, incoming: Message) -> list[Message]:
    node.context.emit(incoming, "other")
    return [incoming]


def emit_and_raise(node: Doing, incoming: Message) -> None:
    node.context.emit(incoming, "other")
    raise MessageError("no")


def hold(node: Doing, incoming: Message) -> None:
    node.context.counters.held += 1


def hold_and_crash(node: Doing, incoming: Message) -> None:
    node.context.counters.held += 1
    raise ZeroDivisionError


def fail(node: Doing, incoming: Message) -> None:
    node.context.fail(incoming, "no")


def yield_and_raise(node: Doing, incoming: Message) -> Iterator[Message]:
    yield incoming
    raise MessageError("no")


@pytest.mark.parametrize(
    ("what", "counts"),
    [
        pytest.param(lambda node, incoming: None, (0, 1, 0, 0, 0), id="return nothing"),
        pytest.param(lambda node, incoming: [incoming], (0, 0, 0, 1, 0), id="return one"),
        pytest.param(lambda node, incoming: [incoming] * 3, (2, 0, 0, 3, 0), id="return three"),
        pytest.param(emit, (0, 0, 0, 0, 1), id="emit"),
        pytest.param(emit_and_return, (1, 0, 0, 1, 1), id="emit and return"),
        pytest.param(emit_and_raise, (1, 0, 1, 0, 1), id="emit and raise"),
        pytest.param(hold, (0, 0, 0, 0, 0), id="hold"),
        pytest.param(hold_and_crash, (1, 0, 1, 0, 0), id="hold and crash"),
        pytest.param(fail, (0, 0, 1, 0, 0), id="fail"),
        pytest.param(yield_and_raise, (0, 0, 1, 0, 0), id="yield and raise"),
    ],
)
def test_every_way_to_deal_with_a_message_is_counted(
    what: Callable[[Doing, Message], Any], counts: tuple[int, ...]
) -> None:
    outcome = run_transform(Doing, {}, [[message(what)]])

    counters = outcome.context.counters
    emitted = tuple(len(outcome.ports.get(port, ())) for port in ("out", "other"))
    assert counts == (counters.created, counters.filtered, len(outcome.failures), *emitted)
