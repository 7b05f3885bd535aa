"""Write each message as a point into an InfluxDB.

The server is a connection of the type `influxdb`: InfluxDB 2.7 and later, 1.x, 3 Core, or a server that takes their
writes. docs/influxdb.md tells what happens at each answer; in short:

- A message counts as written when the server has said so. While the server is away, busy or limits the rate, nothing
  is lost: the journal holds the messages and the node tries again for as long as it takes.
- A wrong token, a missing bucket or a redirect keeps the data, too, and `/readyz` says what to do.
- A point that the server rejects goes to `errors` with the server's words; the others of its batch are written.

**Fields.** Without `fields` every number, bool and string of the payload is a field; members of nested mappings are
joined with `_` (`color: {x: 1}` becomes `color_x`), null and lists are left out, and a payload that is not a mapping
is the field `value`. Numbers are floats, `21` as well as `21.0`, unless `types` says `int`: a field that was stored as
one type can never become another. A field that is not finite is left out; a point with no field at all fails.

**Names.** Measurements, tags and field names with control characters, and what line protocol cannot express, fail with
the reason; they are never altered. In string fields a line break becomes a space, as in Home Assistant.

**Layouts.** `layout: home_assistant` writes the points that Home Assistant's own `influxdb` integration writes, for messages of
`ha_in`: dashboards made for it go on working. Its options stand under `home_assistant:`. A state that it writes no point
for is counted as dropped: `no_state` (unknown, unavailable, removed), `excluded`, `no_field`. docs/home-assistant-layout.md has the rules.

**Times.** The point has the time of the message. Two messages with the same measurement, tags and time are the same
point to InfluxDB: with `precision: s` that is every message of the same second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from flowrunner import (
    NANOSECONDS,
    ConnectionName,
    Context,
    Duration,
    Limits,
    Message,
    MessageError,
    Options,
    Sink,
    Size,
    node_type,
)
from flowrunner_nodes._encoders import encoder
from flowrunner_nodes._ha_layout_fields import LeftOut
from flowrunner_nodes._influx_answer import Answer, Target
from flowrunner_nodes._influx_delivery import Delivery
from flowrunner_nodes._line_protocol import LineEncoder
from flowrunner_nodes._point_options import PointOptions
from flowrunner_nodes.influxdb import InfluxdbConnection

EXAMPLE = """\
version: 1
flow: climate
connections:
  tsdb:
    type: influxdb
    url: "http://influxdb:8086"
    org: home
    token: "${INFLUX_TOKEN}"
nodes:
  readings:
    type: file_in
    path: readings.jsonl
  store:
    type: influxdb_out
    from: readings
    connection: tsdb
    bucket: home
    measurement: climate
    tags: { sensor: =topic }
    types: { samples: int }
"""

_ENCODE_AT_ONCE = 1_000
"""Messages encoded before others may run: about a millisecond."""


class BatchOptions(Options):
    """How many points are sent at once."""

    max_lines: Annotated[
        int, Field(description="Points in one request at most.", ge=1, le=100_000, examples=[5000])
    ] = 5_000
    max_bytes: Annotated[
        Size,
        Field(description="Bytes of one request before compression, at most.", ge=1_024, examples=["1MiB"]),
    ] = "1MiB"  # type: ignore[assignment]  # validated like any value
    max_age: Annotated[
        Duration, Field(description="How long a point waits for others.", examples=["1s", "200ms"])
    ] = "1s"  # type: ignore[assignment]  # likewise


class Config(PointOptions):
    """Which bucket, and how messages become points."""

    connection: ConnectionName
    bucket: Annotated[
        str, Field(description="The bucket; a database in versions 1 and 3.", min_length=1, examples=["home"])
    ]
    precision: Annotated[
        Literal["ns", "us", "ms", "s"], Field(description="The unit of the timestamps.", examples=["ms"])
    ] = "ns"
    batch: Annotated[
        BatchOptions, Field(description="How many points are sent at once.", examples=[{"max_age": "5s"}])
    ] = Field(default_factory=BatchOptions)


@node_type("influxdb_out", connection="influxdb")
class InfluxdbOut(Sink[Config]):
    """Encode messages and see them through to the server's answer."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self._encoder = encoder(config, config.precision)
        self._target = Target(config.bucket, config.precision)
        self._left_out = 0

    def limits(self) -> Limits:
        """Return the batch options."""
        batch = self.config.batch
        return Limits(max_messages=batch.max_lines, max_age=batch.max_age / NANOSECONDS)

    def show(self, message: Message) -> str:
        """Return the line of a message, or why it has none."""
        try:
            return self._encoder.line(message)
        except LeftOut as left_out:
            return f"({left_out.reason})"

    async def write(self, batch: Sequence[Message]) -> None:
        """Return when the server has accepted every point that did not fail."""
        messages, lines = await self._encode(batch)
        self._warn(messages)
        delivery = Delivery(messages, lines, self.context.fail)
        await delivery.send(self._post, self.config.batch.max_bytes)

    async def _encode(self, batch: Sequence[Message]) -> tuple[list[Message], list[bytes]]:
        messages, lines, encode = list[Message](), list[bytes](), self._encoder.line
        for start in range(0, len(batch), _ENCODE_AT_ONCE):
            for message in batch[start : start + _ENCODE_AT_ONCE]:
                try:
                    lines.append(encode(message).encode())
                except LeftOut as left_out:
                    self.context.counters.drop(left_out.reason)
                except MessageError as error:
                    self.context.fail(message, str(error))
                else:
                    messages.append(message)
            await asyncio.sleep(0)
        return messages, lines

    async def _post(self, lines: bytes) -> Answer:
        connection = self.context.connection
        assert isinstance(connection, InfluxdbConnection)  # noqa: S101  # the graph check saw to it
        return await connection.post(self._target, lines)

    def _warn(self, messages: Sequence[Message]) -> None:
        """Say what the messages lose on their way into the lines; each but a warning, for it may be meant so."""
        if not isinstance(self._encoder, LineEncoder):
            return
        left_out, self._left_out = self._left_out, self._encoder.points.non_finite
        if left_out < self._left_out:
            event = "fields left out that are not finite numbers"
            self.context.log.warning(event, node=self.context.node, fields=self._left_out - left_out)
        replaced = self._encoder.replaced(messages)
        if replaced:
            event = "points replaced by others with the same measurement, tags, fields and time"
            self.context.log.warning(event, node=self.context.node, points=replaced)
