"""Send each message to the port whose condition it meets.

`cases` maps names of ports to CEL conditions, which are tried in the order in which they are written. With
`match: first` a message leaves by the first port whose condition is true; with `match: all` by every one of them.
A message that meets none leaves by `else`. A port that nothing is wired to ends its messages, counted as filtered.

A switch has no port `out`: wires name the case, as in `from: by_room.kitchen`. If a condition that has to be tried
fails or gives anything but a bool, the message goes to `errors` and to no case at all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from flowrunner import (
    EVALUATION_ERRORS,
    Context,
    Expression,
    Message,
    NodeOptions,
    Transform,
    node_type,
    option_error,
)
from flowrunner_nodes._paths import kind_of

EXAMPLE = """\
version: 1
flow: warmth
nodes:
  lines:
    type: file_in
    path: readings.jsonl
  by_warmth:
    type: switch
    from: lines
    cases:
      warm: payload.temperature >= 22.0
      cold: payload.temperature < 18.0
  warm_rooms:
    type: file_out
    from: by_warmth.warm
    path: warm.jsonl
  other_rooms:
    type: file_out
    from: [by_warmth.cold, by_warmth.else]
    path: other.jsonl
"""

_ELSE = ("else",)
_RESERVED = frozenset({"out", "errors", "else"})


def _check_ports[T](cases: dict[str, T]) -> dict[str, T]:
    for port in cases:
        if port in _RESERVED:
            raise option_error(
                "FR028", f"`{port}` cannot name a case: the port has a meaning of its own", help=_PORT_HELP
            )
        if re.fullmatch(r"[a-z][a-z0-9_]*", port) is None:
            raise option_error("FR026", f"{port!r} cannot name a case", help=_PORT_HELP)
    return cases


_PORT_HELP = "take another name of lower-case letters, digits and underscores that begins with a letter"


class Config(NodeOptions):
    """Which messages go where."""

    cases: Annotated[
        dict[str, Expression],
        AfterValidator(_check_ports),
        Field(
            description="Port names and their conditions, in CEL, tried in this order.",
            examples=[{"warm": "payload.temperature >= 22.0", "cold": "payload.temperature < 18.0"}],
            min_length=1,
        ),
    ]
    match: Annotated[
        Literal["first", "all"],
        Field(
            description="Whether a message goes to the first case it meets or to all of them.",
            examples=["all"],
        ),
    ] = "first"


@node_type(
    "switch",
    ports={"else": "The messages that meet no case; the other ports have the names of the `cases`."},
)
class Switch(Transform[Config]):
    """Evaluate the cases in their order and sort by the outcome."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self._cases = [(port, expression.function) for port, expression in config.cases.items()]
        self._first = config.match == "first"

    @classmethod
    def ports(cls, config: Config) -> tuple[str, ...]:
        """Return the cases in their order, and ``else``."""
        return (*config.cases, "else")

    def on_batch(self, batch: Sequence[Message]) -> list[Message]:
        """Sort the messages to their ports; nothing leaves by ``out``."""
        sorted_to: dict[str, list[Message]] = {}
        for message in batch:
            for port in self._matching(message):
                sorted_to.setdefault(port, []).append(message)
        for port, messages in sorted_to.items():
            self._send(messages, port)
        return []

    def _matching(self, message: Message) -> Sequence[str]:
        """Return the ports of a message, at least one; none when it failed."""
        matching, port = [], ""
        try:
            for port, function in self._cases:
                verdict = function(message)
                if verdict is True:
                    matching.append(port)
                    if self._first:
                        return matching
                elif verdict is not False:
                    self.context.fail(message, f"case `{port}` must be true or false, got {kind_of(verdict)}")
                    return ()
        except EVALUATION_ERRORS as error:
            self.context.fail(message, f"case `{port}`: {self.config.cases[port].reason(error)}")
            return ()
        self.context.counters.created += max(len(matching) - 1, 0)
        return matching or _ELSE

    def _send(self, messages: list[Message], port: str) -> None:
        if port in self.context.wired:
            for message in messages:
                self.context.emit(message, port)
        else:
            self.context.counters.filtered += len(messages)
