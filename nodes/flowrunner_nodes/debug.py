"""Write messages to the log.

For looking at what passes a wire while a flow is being made; the log is no place to keep data. Each message is one
event `message` with its topic, its time and its payload as JSON text, cut after 1 KiB; `what: message` adds `meta`.
Messages count as written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from flowrunner import Context, Message, NodeOptions, Sink, node_type

EXAMPLE = """\
version: 1
flow: heartbeat
nodes:
  beat:
    type: inject
    every: 10s
    payload: { alive: true }
  show:
    type: debug
    from: beat
"""

_MAX_CHARACTERS = 1024


class Config(NodeOptions):
    """What of a message is shown, and how loudly."""

    what: Annotated[
        Literal["payload", "message"],
        Field(
            description="Whether to show topic, time and payload, or `meta` as well.", examples=["message"]
        ),
    ] = "payload"
    level: Annotated[
        Literal["debug", "info", "warning"],
        Field(description="The level of the log lines.", examples=["warning"]),
    ] = "info"


@node_type("debug")
class Debug(Sink[Config]):
    """One log line a message."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self._log = getattr(context.log, config.level)

    async def write(self, batch: Sequence[Message]) -> None:
        """Log the messages in their order."""
        for message in batch:
            try:
                payload = msgspec.json.encode(message.payload).decode()
            except (ValueError, TypeError, RecursionError) as error:
                self.context.fail(message, f"the payload is not JSON: {error}")
                continue
            facts: dict[str, Any] = {"topic": message.topic, "time": message.time, "payload": _cut(payload)}
            if self.config.what == "message":
                facts["meta"] = dict(message.meta)
            self._log("message", flow=self.context.flow, node=self.context.node, **facts)


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + "…"
