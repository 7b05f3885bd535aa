"""The connection type `home_assistant`: one WebSocket to a Home Assistant for all nodes of a flow that use it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from flowrunner import (
    Connection,
    ConnectionContext,
    Finding,
    Options,
    Secret,
    Size,
    connection_type,
    option_error,
)
from flowrunner_nodes._http_options import Tls, TlsOptions, check_tls, check_token, split_url, url_check

if TYPE_CHECKING:
    from flowrunner_nodes._ha_hub import Hub
    from flowrunner_nodes._ha_registry import Registry
    from flowrunner_nodes._ha_session import Session

_URL_HELP = "write http://homeassistant:8123"


def _check_path(url: str) -> str:
    if urlsplit(url).path.endswith(("/api", "/api/websocket")):
        raise option_error("FR025", "`{name}` must end before the `/api`", help=_URL_HELP)
    return url


def _check_proxy(proxy: str | None) -> str | None:
    parts = None if proxy is None else split_url(proxy)
    if proxy is not None and (parts is None or parts.scheme != "http" or not parts.hostname):
        raise option_error("FR025", "`{name}` must begin with http://", help="write http://proxy:3128")
    return proxy


class HomeAssistantOptions(Options):
    """A Home Assistant, reached through its WebSocket API with a long-lived access token."""

    url: Annotated[
        str,
        AfterValidator(url_check(help=_URL_HELP, credentials="use `token`")),
        AfterValidator(_check_path),
        Field(
            description="Where Home Assistant is, with the path of a reverse proxy if there is one.",
            examples=["http://homeassistant:8123"],
        ),
    ]
    token: Annotated[
        Secret,
        AfterValidator(check_token),
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
    tls: Tls = Field(default_factory=TlsOptions)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_tls(self.url, self.tls, help=_URL_HELP)
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

    async def check(self, users: Sequence[Options]) -> Iterable[Finding]:
        """Look at the version and the clock, and whether the token is taken."""
        from flowrunner_nodes._ha_check import check_home_assistant

        del users
        config = self.config
        return await check_home_assistant(
            config.url, config.token.get_secret_value(), self.context.clock, config.tls
        )

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
