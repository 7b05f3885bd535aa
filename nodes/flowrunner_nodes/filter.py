"""Let the messages pass for which a condition holds.

`where` is a CEL expression that must give `true` or `false` for every message. Messages for which it is true leave
by `out`, the others by `rejected`; when nothing is wired to `rejected` they end here and are counted as filtered.
A message for which the expression fails, or gives anything but a bool, goes to `errors`: a filter never guesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from flowrunner import (
    EVALUATION_ERRORS,
    Context,
    Expression,
    Message,
    NodeOptions,
    Transform,
    node_type,
)
from flowrunner_nodes._paths import kind_of

EXAMPLE = """\
version: 1
flow: plausible
nodes:
  lines:
    type: file_in
    path: readings.jsonl
  valid:
    type: filter
    from: lines
    where: payload.temperature > -40.0 && payload.temperature < 80.0
  show:
    type: debug
    from: valid
  strange:
    type: debug
    from: valid.rejected
    level: warning
"""


class Config(NodeOptions):
    """Which messages pass."""

    where: Annotated[
        Expression,
        Field(
            description="The condition, in CEL; must be true or false for every message.",
            examples=["payload.temperature > 20.0", "topic.startsWith('home/')"],
        ),
    ]


@node_type(
    "filter",
    ports={
        "out": "The messages for which `where` is true.",
        "rejected": "The messages for which it is false.",
    },
)
class Filter(Transform[Config]):
    """Sort messages by a condition, in their order."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self._function = config.where.function

    @classmethod
    def ports(cls, config: Config) -> tuple[str, ...]:
        """Return ``out`` and ``rejected``."""
        del config
        return ("out", "rejected")

    def on_batch(self, batch: Sequence[Message]) -> list[Message]:
        """Return the messages that pass; the hot loop does nothing but evaluate and sort."""
        function, passed, rejected = self._function, list[Message](), list[Message]()
        for message in batch:
            try:
                verdict = function(message)
            except EVALUATION_ERRORS as error:
                self.context.fail(message, self.config.where.reason(error))
                continue
            if verdict is True:
                passed.append(message)
            elif verdict is False:
                rejected.append(message)
            else:
                self.context.fail(message, f"`where` must be true or false, got {kind_of(verdict)}")
        self._reject(rejected)
        return passed

    def _reject(self, rejected: list[Message]) -> None:
        if "rejected" in self.context.wired:
            for message in rejected:
                self.context.emit(message, "rejected")
        else:
            self.context.counters.filtered += len(rejected)
