"""Publish each message to an MQTT broker.

The message goes to `topic`, a literal or CEL after an equals sign, with `payload`: texts and bytes as they are, all else
as JSON; without `payload` it is the payload of the message. An empty text with `retain: true` removes what the broker
has retained.

**Delivery.** With `qos: 1` (the default) a message counts as written when the broker has acknowledged it (PUBACK). As
many as the broker allows, up to 1,000 or 1 MiB, are on their way at a time, in order. What was not acknowledged when the
connection broke is sent again over the next one, and so is, after a crash, what was published since the last
checkpoint: a message may come twice, and it is not lost. With `qos: 0` it counts as written when the socket has taken
it: what a connection loses is lost. `qos: 2` is not offered: it could not tell these repeats either.

**What fails.** A message whose topic is empty, too long, or has wildcards or control characters; one that is longer than
the broker takes; and one that the broker refuses (MQTT 5), with its words: not authorized, topic name not valid, payload
format not valid. When its quota is exceeded, the message is sent again later; those sent right after it may then come
before it. With MQTT 3.1.1 a broker has no way to refuse: it takes the message and forgets it, or ends the
connection. A message that is alone on its way when the broker ends the connection, five times in a row, fails as well.

`expiry`, `content_type` and `user_properties` are sent with MQTT 5 only.

The connection is the one that `mqtt_in` uses: one client a flow. Without it the messages wait. A flow that subscribes to
what it publishes feeds itself: choose topics that do not match.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from flowrunner import (
    ConnectionName,
    Context,
    Message,
    MessageError,
    NodeFailed,
    NodeOptions,
    PositiveDuration,
    RetryLater,
    Sink,
    Status,
    Value,
    node_type,
)
from flowrunner_nodes._mqtt_checks import (
    check_expiry,
    check_property,
    check_publish_qos,
    check_publish_topic,
    check_retain,
    check_text,
)
from flowrunner_nodes._mqtt_composing import Composer
from flowrunner_nodes._mqtt_suspicion import Suspicion
from flowrunner_nodes.mqtt import MqttConnection

if TYPE_CHECKING:
    from flowrunner_nodes._mqtt_publication import Answer
    from flowrunner_nodes._mqtt_publishing import Outgoing, Sent

EXAMPLE = """\
version: 1
flow: alarms
connections:
  broker:
    type: mqtt
    url: mqtt://localhost:1883
nodes:
  climate:
    type: mqtt_in
    connection: broker
    topics: ["zigbee2mqtt/+"]
  damp:
    type: filter
    from: climate
    where: payload.humidity > 70.0
  tell:
    type: mqtt_out
    from: damp
    connection: broker
    topic: "='home/alarms/' + topic.split('/')[1]"
    payload: { humidity: =payload.humidity, alarm: damp }
    retain: true
"""

_LOOK = 1.0
"""Seconds between two looks at why there is no connection; messages go out with the first one that there is."""

Text = Annotated[str, AfterValidator(check_text)]


class Config(NodeOptions):
    """What is published, and how."""

    connection: Annotated[
        ConnectionName, Field(description="The connection (type `mqtt`) to the broker.", examples=["broker"])
    ]
    topic: Annotated[
        Value,
        AfterValidator(check_publish_topic),
        Field(description="The topic, a literal or CEL.", examples=["='home/' + payload.room"]),
    ]
    payload: Annotated[
        Value | None,
        Field(description="What is published; the message's payload unless given.", examples=["=payload.x"]),
    ] = None
    qos: Annotated[
        Literal[0, 1],
        BeforeValidator(check_publish_qos),
        Field(description="0: a message may be lost. 1: it is sent until acknowledged.", examples=[1]),
    ] = 1
    retain: Annotated[
        Value,
        AfterValidator(check_retain),
        Field(description="Whether the broker keeps it for later subscribers.", examples=[True]),
    ] = False  # type: ignore[assignment]  # read like a user's
    expiry: Annotated[
        Annotated[PositiveDuration, AfterValidator(check_expiry)] | None,
        Field(description="How long the broker keeps it for those who are away.", examples=["1h"]),
    ] = None
    content_type: Annotated[
        Text | None, Field(description="What the payload is.", examples=["application/json"])
    ] = None
    user_properties: Annotated[
        dict[Text, Annotated[Value, AfterValidator(check_property)]],
        Field(
            default_factory=dict,
            description="Properties of your own: texts, numbers or CEL.",
            examples=[{"source": "=meta.entity_id"}],
        ),
    ]


@node_type("mqtt_out", connection="mqtt")
class MqttOut(Sink[Config]):
    """Publishes a batch in one go and waits for the broker's answers."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        if not isinstance(context.connection, MqttConnection):
            raise NodeFailed(f"`{config.connection}` is not a connection of type `mqtt`")
        self._connection = context.connection
        self._composer = Composer(config)
        self._suspicion = Suspicion()

    async def open(self) -> None:
        """Look whether the connection can carry what is configured."""
        if self._composer.needs_version5 and self._connection.config.protocol != 5:
            raise NodeFailed("`expiry`, `content_type` and `user_properties` need `protocol: 5`")

    def show(self, message: Message) -> str:
        """Return topic and payload, and whether it is retained."""
        letter = self._composer.publication(message)
        text = f"{letter.topic.decode()} {letter.payload.decode(errors='replace')}"
        return f"{text} (retained)" if letter.retain else text

    async def write(self, batch: Sequence[Message]) -> None:
        """Return when the broker has what did not fail."""
        outgoing = await self._link()
        careful = self._suspicion.active
        sent: list[tuple[Message, Sent]] = []
        for message in batch:
            try:
                publication = self._composer.publication(message)
            except MessageError as error:
                self.context.fail(message, str(error))
                continue
            if outgoing.version5 and (trace := self.context.trace(message)) is not None:
                publication = self._composer.traced(publication, trace)
            sent.append((message, await outgoing.publish(publication)))
            if careful and await outgoing.answer(sent[-1][1]) is not None:
                self._suspicion.clear()
        await self._settle(outgoing, sent)

    async def _settle(self, outgoing: Outgoing, sent: list[tuple[Message, Sent]]) -> None:
        """Wait for the answers, fail what the broker refuses; raise :class:`RetryLater` for what it does not have."""
        left: list[tuple[Message, Answer | None]] = []
        for message, each in sent:
            answer = await outgoing.answer(each)
            if answer is None or answer.transient:
                left.append((message, answer))
            elif not answer.accepted:
                self.context.fail(message, answer.reason)
        if outgoing.error is not None:
            self._suspicion.judge(left, outgoing.error, self.context.fail)
        if left:
            answer = left[0][1]
            reason = answer.reason if answer is not None else str(outgoing.error)
            raise RetryLater(reason, remaining=[message for message, _ in left])

    async def _link(self) -> Outgoing:
        """Return the way out, as soon as there is a connection that takes our QoS."""
        connection = self._connection.context
        while (outgoing := await self._connection.outgoing(_LOOK)) is None:
            status: Status = "failed" if connection.status == "failed" else "degraded"
            self.context.report(status, connection.reason or "not connected to the broker")
        if self.config.qos > outgoing.limits.qos:
            raise RetryLater("the broker takes messages of QoS 0 only; set `qos: 0`", operator=True)
        return outgoing
