"""The connection type `home_assistant`: one WebSocket to a Home Assistant for all nodes of a flow that use it."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, model_validator

from flowrunner import (
    Connection,
    ConnectionContext,
    Options,
    Secret,
    Size,
    connection_type,
    option_error,
)

if TYPE_CHECKING:
    from flowrunner_nodes._ha_hub import Hub
    from flowrunner_nodes._ha_registry import Registry
    from flowrunner_nodes._ha_session import Session

_URL_HELP = "write http://homeassistant:8123"


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # reading it is the check
    except ValueError:
        return None
    return parts


def _check_url(url: str) -> str:
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise option_error(
            "FR025", "`{name}` must begin with http:// or https:// and name a host", help=_URL_HELP
        )
    if parts.username or parts.password:
        raise option_error("FR025", "`{name}` must not contain a user or a password", help="use `token`")
    if parts.query or parts.fragment:
        raise option_error("FR025", "`{name}` must end before the `?` or `#`", help=_URL_HELP)
    if parts.path.rstrip("/").endswith(("/api", "/api/websocket")):
        raise option_error("FR025", "`{name}` must end before the `/api`", help=_URL_HELP)
    return url.rstrip("/")


def _check_token(token: Secret) -> Secret:
    if re.fullmatch(r"[\x21-\x7e]+", token.get_secret_value()) is None:
        raise option_error(
            "FR025",
            "`{name}` contains characters that no token has",
            help="look for a line break, a space or quotation marks around it",
        )
    return token


def _check_proxy(proxy: str | None) -> str | None:
    parts = None if proxy is None else _split(proxy)
    if proxy is not None and (parts is None or parts.scheme != "http" or not parts.hostname):
        raise option_error("FR025", "`{name}` must begin with http://", help="write http://proxy:3128")
    return proxy


class TlsOptions(Options):
    """How the server's certificate is checked; only for `https`."""

    ca: Annotated[
        str | None,
        Field(description="A PEM file with the authorities to trust.", examples=["/run/secrets/ca.pem"]),
    ] = None
    insecure: Annotated[
        bool, Field(description="Whether to accept any certificate, also a forged one.", examples=[False])
    ] = False


class HomeAssistantOptions(Options):
    """A Home Assistant, reached through its WebSocket API with a long-lived access token."""

    url: Annotated[
        str,
        AfterValidator(_check_url),
        Field(
            description="Where Home Assistant is, with the path of a reverse proxy if there is one.",
            examples=["http://homeassistant:8123"],
        ),
    ]
    token: Annotated[
        Secret,
        AfterValidator(_check_token),
        Field(description="A long-lived access token.", examples=["${HA_TOKEN}"]),
    ]
    max_size: Annotated[
        Size,
        Field(
            description="The longest message that is taken; a home with many entities needs some MiB.",
            examples=["64MiB"],
        ),
    ] = "64MiB"  # type: ignore[assignment]  # validated like any value
    compression: Annotated[
        Literal["deflate", "none"],
        Field(description="How messages are compressed; worth it over slow lines only.", examples=["none"]),
    ] = "none"
    proxy: Annotated[
        str | None,
        AfterValidator(_check_proxy),
        Field(
            description="A proxy on the way there; none unless given.",
            examples=["http://proxy:3128"],
        ),
    ] = None
    tls: Annotated[
        TlsOptions,
        Field(description="How the server's certificate is checked.", examples=[{"ca": "/etc/ca.pem"}]),
    ] = Field(default_factory=TlsOptions)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.tls != TlsOptions() and not self.url.startswith("https:"):
            raise option_error("FR025", "`tls` needs a `url` that begins with https://", help=_URL_HELP)
        return self


@connection_type("home_assistant", HomeAssistantOptions)
class HomeAssistantConnection(Connection[HomeAssistantOptions]):
    """One WebSocket, shared by the Home Assistant nodes of a flow."""

    def __init__(self, config: HomeAssistantOptions, context: ConnectionContext) -> None:
        super().__init__(config, context)
        self._made: Hub | None = None

    async def run(self) -> None:
        """Keep the connection up until cancelled."""
        await self._hub.run()

    async def session(self) -> Session:
        """Return the session, waiting until there is one; it is a new one after each reconnect."""
        return await self._hub.connected()

    async def call(self, type: str, *, timeout: float = 30.0, **fields: Any) -> Any:
        """Give a command and return its result.

        Raises :class:`NotConnected` when it was not sent, :class:`Lost` when it was and no answer came within
        ``timeout`` seconds, :class:`Refused` when Home Assistant answered with an error.
        """
        from flowrunner_nodes._ha_link import NotConnected

        session = self._hub.session
        if session is None:
            raise NotConnected(self.context.reason or "not connected to Home Assistant")
        return await session.call(type, timeout=timeout, **fields)

    @property
    def registry(self) -> Registry:
        """Areas, floors, devices and labels of the entities."""
        return self._hub.registry

    @property
    def counts(self) -> Counter[str]:
        """What happened to the connection, by cause."""
        return self._hub.counts

    @property
    def _hub(self) -> Hub:
        if self._made is None:
            from flowrunner_nodes._ha_hub import Hub

            self._made = Hub(_link(self.config), self.context)
        return self._made


def _link(config: HomeAssistantOptions) -> Any:
    from flowrunner_nodes._ha_link import Link

    return Link(
        url="ws" + config.url.removeprefix("http") + "/api/websocket",
        token=config.token.get_secret_value(),
        ca=config.tls.ca,
        insecure=config.tls.insecure,
        compression=config.compression == "deflate",
        max_size=config.max_size,
        proxy=config.proxy,
    )
