"""The connection to an MQTT broker, shared by the MQTT nodes of a flow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from flowrunner import (
    NANOSECONDS,
    Connection,
    ConnectionContext,
    Duration,
    Finding,
    Options,
    PositiveDuration,
    Secret,
    Size,
    SourceContext,
    connection_type,
    option_error,
)
from flowrunner_nodes._mqtt_checks import (
    PORTS,
    URL_HELP,
    check_expiry,
    check_keepalive,
    check_packet,
    check_url,
)
from flowrunner_nodes._mqtt_tls import TlsOptions

if TYPE_CHECKING:
    from flowrunner_nodes._mqtt_inbox import Inbox
    from flowrunner_nodes._mqtt_publishing import Outgoing
    from flowrunner_nodes._mqtt_settings import Settings


class MqttOptions(Options):
    """A broker that speaks MQTT 5 or 3.1.1, with a session that outlives restarts.

    One connection a flow, shared by its MQTT nodes. The client id is stable, so the broker keeps what is published
    while flowrunner is away, as long as `session_expiry` says; two instances must not have the same one.
    """

    url: Annotated[
        str,
        AfterValidator(check_url),
        Field(
            description="The broker: mqtt://HOST:PORT, mqtts:// with TLS.", examples=["mqtt://mosquitto:1883"]
        ),
    ]
    username: Annotated[str | None, Field(description="The user.", examples=["flowrunner"])] = None
    password: Annotated[
        Secret | None, Field(description="The user's password.", examples=["${MQTT_PASSWORD}"])
    ] = None
    client_id: Annotated[
        str | None,
        Field(
            description="The name of the session at the broker; INSTANCE-FLOW-CONNECTION unless given.",
            min_length=1,
            max_length=256,
            examples=["flowrunner-climate"],
        ),
    ] = None
    protocol: Annotated[Literal[5, "3.1.1"], Field(description="The version of MQTT.", examples=[5])] = 5
    keepalive: Annotated[
        PositiveDuration,
        AfterValidator(check_keepalive),
        Field(description="A silent connection is checked this often.", examples=["60s"]),
    ] = "60s"  # type: ignore[assignment]  # read like a user's
    session_expiry: Annotated[
        Duration,
        AfterValidator(check_expiry),
        Field(
            description="How long the broker keeps the session without us; 0s for not at all. "
            "With 3.1.1 the broker decides unless it is 0s.",
            examples=["1d"],
        ),
    ] = "1d"  # type: ignore[assignment]
    tls: Annotated[TlsOptions | None, Field(description="TLS options, with mqtts:// only.")] = None
    max_packet: Annotated[
        Size,
        AfterValidator(check_packet),
        Field(description="Longer messages are left out and counted.", examples=["1MiB"]),
    ] = "1MiB"  # type: ignore[assignment]
    receive_maximum: Annotated[
        int,
        Field(
            description="Messages of QoS 1 that the broker may send ahead of our acknowledgement (MQTT 5).",
            ge=1,
            le=65535,
            examples=[1000],
        ),
    ] = 1000

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.tls is not None and not self.url.startswith("mqtts:"):
            raise option_error("FR025", "`tls` needs a `url` that begins with mqtts://", help=URL_HELP)
        if self.password is not None and self.username is None:
            raise option_error("FR025", "`password` needs `username`", help="add the user")
        return self


@connection_type("mqtt", MqttOptions)
class MqttConnection(Connection[MqttOptions]):
    """One client, shared by the MQTT nodes of a flow."""

    def __init__(self, config: MqttOptions, context: ConnectionContext) -> None:
        from flowrunner_nodes._mqtt_hub import Hub

        super().__init__(config, context)
        self.started = False
        """Whether the connection has begun to run: it may have nodes of an earlier version of the flow."""
        self._hub = Hub(_settings(config, context), context)
        self.counts = self._hub.counts
        """Messages and events that belong to no node, by cause."""

    def attach(self, context: SourceContext, filters: list[str], *, qos: int, retained: bool) -> Inbox:
        """Return the inbox into which the messages of these filters go from now on.

        To be called when a node is constructed, before the connection runs: what the broker has kept comes at
        once, and what no node wants by then is let go. The same node may be attached again, as it is or changed.
        """
        from flowrunner_nodes._mqtt_router import Wish

        return self._hub.attach(context, Wish(tuple(dict.fromkeys(filters)), qos, retained))

    def detach(self, node: str) -> None:
        """Say that a node takes no more; it has half a minute to come back."""
        self._hub.detach(node)

    async def outgoing(self, patience: float) -> Outgoing | None:
        """Return what publishes over the present connection; ``None`` when there is none for so many seconds."""
        try:
            async with asyncio.timeout(patience):
                return await self._hub.outgoing()
        except TimeoutError:
            return None

    async def check(self, users: Sequence[Options]) -> Iterable[Finding]:
        """Look whether the broker takes the login, and the subscriptions of the nodes."""
        from flowrunner_nodes._mqtt_check import check_mqtt

        topics = dict.fromkeys(topic for user in users for topic in getattr(user, "topics", ()))
        return await check_mqtt(_settings(self.config, self.context), list(topics))

    def forget(self, node: str) -> None:
        """Unsubscribe at once from what a node wanted that a reload has removed."""
        self._hub.forget(node)

    async def run(self) -> None:
        """Keep the connection up until cancelled."""
        self.started = True
        await self._hub.run()


def _settings(config: MqttOptions, context: ConnectionContext) -> Settings:
    from flowrunner_nodes._mqtt_settings import Settings, TlsFiles

    url = urlsplit(config.url)
    tls = config.tls or TlsOptions()
    return Settings(
        host=url.hostname or "",
        port=url.port or PORTS[url.scheme],
        client_id=config.client_id or f"{context.instance}-{context.flow}-{context.name}",
        version5=config.protocol == 5,
        username=config.username,
        password=None if config.password is None else config.password.get_secret_value(),
        tls=TlsFiles(tls.ca, tls.cert, tls.key, tls.insecure) if url.scheme == "mqtts" else None,
        keepalive=config.keepalive // NANOSECONDS,
        session_expiry=-(-config.session_expiry // NANOSECONDS),
        max_packet=config.max_packet,
        receive_maximum=config.receive_maximum,
    )
