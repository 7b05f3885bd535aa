"""The connection type `influxdb`: one HTTP session to an InfluxDB for all nodes of a flow that write to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from flowrunner import (
    Connection,
    ConnectionContext,
    Finding,
    Options,
    PositiveDuration,
    Secret,
    connection_type,
    option_error,
)
from flowrunner_nodes._http_answer import Unreachable
from flowrunner_nodes._http_options import Tls, TlsOptions, check_tls, check_token, url_check
from flowrunner_nodes._influx_answer import Answer, Target

if TYPE_CHECKING:
    from flowrunner_nodes._influx_http import HttpSession

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
_URL_HELP = "write http://influxdb:8086"
_CREDENTIALS_HELP = "use `token`, or `username` and `password`"


class InfluxdbOptions(Options):
    """An InfluxDB server, or one that takes its writes: InfluxDB 2.7 and later, 1.x, 3 Core, VictoriaMetrics."""

    url: Annotated[
        str,
        AfterValidator(url_check(help=_URL_HELP, credentials=_CREDENTIALS_HELP)),
        Field(description="Where the server listens.", examples=["http://influxdb:8086"]),
    ]
    version: Annotated[
        Literal[1, 2, 3],
        Field(description="The write endpoint: `/write` (1), `/api/v2/write` (2) or `/api/v3/write_lp` (3)."),
    ] = 2
    org: Annotated[
        str | None,
        Field(description="The organization; needed for version 2.", min_length=1, examples=["home"]),
    ] = None
    token: Annotated[
        Secret | None,
        AfterValidator(check_token),
        Field(description="The API token; it may write to the bucket.", examples=["${INFLUX_TOKEN}"]),
    ] = None
    username: Annotated[
        str | None, Field(description="The user, only for version 1.", min_length=1, examples=["flowrunner"])
    ] = None
    password: Annotated[
        Secret | None,
        Field(description="The user's password, only for version 1.", examples=["${INFLUX_PASSWORD}"]),
    ] = None
    timeout: Annotated[
        PositiveDuration,
        Field(description="The longest a request may take, from connecting to the answer.", examples=["10s"]),
    ] = "10s"  # type: ignore[assignment]  # validated like any value
    compression: Annotated[
        Literal["gzip", "none"], Field(description="How request bodies are compressed.", examples=["gzip"])
    ] = "gzip"
    tls: Tls = Field(default_factory=TlsOptions)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_tls(self.url, self.tls, help=_URL_HELP)
        if self.version == 2 and self.org is None:
            raise option_error("FR021", "`org` is missing: version 2 needs it", help="name the organization")
        if (self.username is None) != (self.password is None):
            raise option_error("FR021", "`username` and `password` go together", help="write both or none")
        if self.username is not None and (self.version != 1 or self.token is not None):
            raise option_error(
                "FR023",
                "`username` and `password` are for version 1 without a `token`",
                help="use the `token` alone",
            )
        return self


@connection_type("influxdb", InfluxdbOptions)
class InfluxdbConnection(Connection[InfluxdbOptions]):
    """A session that is opened by the first request and closed when the flow ends."""

    def __init__(self, config: InfluxdbOptions, context: ConnectionContext) -> None:
        super().__init__(config, context)
        self._session: HttpSession | None = None

    async def run(self) -> None:
        """Wait until the server answers at all, then hold the session until cancelled."""
        try:
            await self._reach()
            await asyncio.get_running_loop().create_future()
        finally:
            await self.close()

    async def check(self, users: Sequence[Options]) -> Iterable[Finding]:
        """Look at the version, the clock, and whether each bucket may be written to."""
        from flowrunner_nodes._influx_check import check_influxdb

        buckets = dict.fromkeys(str(getattr(user, "bucket", "")) for user in users)
        try:
            return await check_influxdb(
                self.config.url,
                self.context.clock,
                self.config.tls,
                [bucket for bucket in buckets if bucket],
                lambda bucket, lines: self.post(Target(bucket, "ns"), lines),
            )
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the session; the next request opens another."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def post(self, target: Target, lines: bytes) -> Answer:
        """Send lines and return what the server answered, whatever it was.

        Raises :class:`Unreachable` when there was no whole answer within the time-out.
        """
        return await self._ask(lambda session: session.post(target, lines))

    async def _reach(self) -> None:
        wait = _FIRST_WAIT
        while True:
            try:
                await self._ask(lambda session: session.ping())
            except Unreachable:
                await asyncio.sleep(random.uniform(wait / 2, wait))  # noqa: S311  # spreads load, no secret
                wait = min(wait * 2, _LONGEST_WAIT)
            else:
                return

    async def _ask(self, request: Callable[[HttpSession], Awaitable[Answer]]) -> Answer:
        try:
            answer = await request(await self._open())
        except Unreachable as error:
            self.context.report("degraded", str(error))
            raise
        if self.context.status == "degraded":
            self.context.reconnects += 1
        self.context.report("running")
        return answer

    async def _open(self) -> HttpSession:
        if self._session is not None:
            return self._session
        # The client takes most of a second to import, in which other flows go on.
        http = await asyncio.to_thread(import_module, "flowrunner_nodes._influx_http")
        if self._session is None:
            try:
                self._session = http.HttpSession(self.config, self.context.clock.now)
            except OSError as error:
                raise Unreachable(f"the file of `tls.ca` cannot be used: {error}") from None
        return self._session
