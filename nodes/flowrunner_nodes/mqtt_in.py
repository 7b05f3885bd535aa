"""Receive messages from an MQTT broker.

The node subscribes to `topics` (with the wildcards `+` and `#`, and `$share/GROUP/FILTER`) and hands on each message
once, however many of its filters match. What a message becomes:

- `topic` is the topic it was published to.
- `payload` is read as `format` says: `json`; `text` (UTF-8); `bytes` (any data, as a base64 text); `auto` (the default:
  JSON if it is JSON, else text, else base64). Data that does not fit `json` or `text` goes to the port `errors`.
- `time` is the moment of arrival.
- `meta` holds `qos` and `retain`, and with MQTT 5, where given, `content_type`, `response_topic` and each user property
  as `user_NAME`.

**Delivery.** With `qos: 1` a message is acknowledged only when it is safe in the journal: whatever fails in between, the
broker sends it again. It may then come twice. With `qos: 0` nothing is repeated: what arrives while flowrunner is away,
or while the journal cannot keep up for long (counted as dropped, `buffer_full`), is lost. `qos: 2` is not offered: it
would have to be accepted before it is safe. Messages that publishers send with QoS 2 are received with QoS 1.

**Retained messages** come once when a subscription is new (MQTT 5), or at each connect (3.1.1); they have
`meta.retain`. `retained: ignore` leaves them out.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from flowrunner import (
    ConnectionName,
    JournalFull,
    NodeFailed,
    NodeOptions,
    Source,
    SourceContext,
    node_type,
)
from flowrunner_nodes._mqtt_checks import check_qos, check_topic
from flowrunner_nodes._mqtt_payloads import DECODERS
from flowrunner_nodes.mqtt import MqttConnection

if TYPE_CHECKING:
    from flowrunner_nodes._mqtt_inbox import Batch, Inbox

EXAMPLE = """\
version: 1
flow: zigbee
connections:
  broker:
    type: mqtt
    url: mqtt://localhost:1883
nodes:
  sensors:
    type: mqtt_in
    connection: broker
    topics: ["zigbee2mqtt/+"]
    qos: 1
    format: json
    retained: ignore
  show:
    type: debug
    from: sensors
"""

_FULL_PAUSE = 0.25
"""Seconds between two attempts to write to a journal that does not take anything now."""


class Config(NodeOptions):
    """What to subscribe to, and how payloads are read."""

    connection: Annotated[
        ConnectionName, Field(description="The connection (type `mqtt`) to the broker.", examples=["broker"])
    ]
    topics: Annotated[
        list[Annotated[str, AfterValidator(check_topic)]],
        Field(description="The topic filters to subscribe to.", min_length=1, examples=[["zigbee2mqtt/+"]]),
    ]
    qos: Annotated[
        Literal[0, 1],
        BeforeValidator(check_qos),
        Field(
            description="0: a message may be lost. 1: it is kept by the broker until journaled.", examples=[1]
        ),
    ] = 1
    format: Annotated[
        Literal["auto", "json", "text", "bytes"],
        Field(description="What payloads are; `auto` is JSON, else text, else bytes.", examples=["json"]),
    ] = "auto"
    retained: Annotated[
        Literal["use", "ignore"],
        Field(description="Whether messages that the broker has retained count.", examples=["ignore"]),
    ] = "use"


@node_type("mqtt_in", connection="mqtt")
class MqttIn(Source[Config]):
    """Takes what has arrived to the journal, all there is at a time, and acknowledges it when it is safe."""

    def __init__(self, config: Config, context: SourceContext) -> None:
        super().__init__(config, context)
        if not isinstance(context.connection, MqttConnection):
            raise NodeFailed(f"`{config.connection}` is not a connection of type `mqtt`")
        self._connection = context.connection
        # A connection that runs is that of a reload: the node that this one replaces still has the inbox.
        self._inbox = None if self._connection.started else self._attach()
        self._full = False

    async def open(self) -> None:
        """Take up the messages that have arrived, and those to come."""
        self._inbox = self._attach()

    async def close(self) -> None:
        """Leave what is not journaled to whoever comes next."""
        if self._inbox is not None:
            self._inbox = None
            self._connection.detach(self.context.node)

    async def run(self) -> None:
        """Journal until cancelled."""
        inbox = self._inbox or self._attach()
        while True:
            batch = await inbox.take()
            if not await self._save(inbox, batch):
                await asyncio.sleep(_FULL_PAUSE)  # and then take the same batch again

    async def _save(self, inbox: Inbox, batch: Batch) -> bool:
        """Hand a batch to the journal; return false when that does not take it now: the broker keeps it."""

        def settle(done: asyncio.Future[None]) -> None:
            if not done.cancelled() and done.exception() is None:
                inbox.settle(batch)

        try:
            saved = self.context.post(batch.records)
            # Acknowledging does not wait for this task: it may be cancelled while the journal writes.
            saved.add_done_callback(settle)
            await asyncio.shield(saved)
        except (JournalFull, OSError) as error:
            self._full = True
            reason = (
                str(error) if isinstance(error, JournalFull) else f"the journal cannot be written: {error}"
            )
            self.context.report("degraded", reason)
            return False
        if self._full:
            self._full = False
            self.context.report("running")
        return True

    def decode(self, data: bytes) -> Any:
        """Return the payload of a record, by ``format``."""
        return DECODERS[self.config.format](data)

    def _attach(self) -> Inbox:
        config = self.config
        return self._connection.attach(
            self.context, config.topics, qos=config.qos, retained=config.retained == "use"
        )
