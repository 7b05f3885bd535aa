"""Send one message per element of a list or mapping.

`of` says what to take apart, the payload unless it says otherwise. Each element becomes the payload of a message with
the topic, the time and the `meta` of the one that came, and in `meta` in addition:

| name | value |
|---|---|
| `index` | the place of the element, from 0 |
| `count` | how many elements there were |
| `key` | the name of the element, when a mapping is taken apart |

A list or mapping without elements ends here and is counted as filtered. What is neither goes to `errors`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from flowrunner import Expression, Message, MessageError, NodeOptions, Transform, node_type
from flowrunner_nodes._paths import kind_of

EXAMPLE = """\
version: 1
flow: quantities
nodes:
  lines:
    type: file_in
    path: readings.jsonl
  each:
    type: split
    from: lines
  named:
    type: map
    from: each
    set: { topic: "=topic + '/' + meta.key" }
  show:
    type: debug
    from: named
"""


class Config(NodeOptions):
    """What to take apart."""

    of: Annotated[
        Expression,
        Field(description="The list or mapping, in CEL.", examples=["payload.sensors"]),
    ] = "payload"  # type: ignore[assignment]  # read like a user's


@node_type("split", ports={"out": "One message per element."})
class Split(Transform[Config]):
    """Make many messages of one, in the order of their elements."""

    def on_message(self, message: Message) -> Iterable[Message]:
        """Return the elements."""
        whole = self.config.of.evaluate(message)
        if isinstance(whole, dict):
            return [
                self._element(message, value, index, len(whole), {"key": key})
                for index, (key, value) in enumerate(whole.items())
            ]
        if isinstance(whole, list):
            return [self._element(message, value, index, len(whole), {}) for index, value in enumerate(whole)]
        raise MessageError(f"`of` must be a list or a mapping, got {kind_of(whole)}")

    @staticmethod
    def _element(message: Message, value: object, index: int, count: int, more: dict[str, str]) -> Message:
        return message.replace(payload=value, meta={**message.meta, "index": index, "count": count, **more})
