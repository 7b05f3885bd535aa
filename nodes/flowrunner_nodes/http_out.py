"""Send each message to an HTTP server.

A `POST` (or `PUT`) of the payload as JSON to `url`, or of `body` where it is given; with `format: text` the body is a
text as it is. `url`, `headers` and `body` are literals, or CEL after an equals sign. An address in CEL needs
`allow_hosts`: a host with its port, unless that is the scheme's own. `token` becomes `Authorization: Bearer`.

**Delivery.** A message is written when the server has answered 2xx. No answer within `timeout`, a broken connection,
408, 425, 429 and 5xx: it is sent again, for as long as it takes, with pauses that grow to a minute, or as long as
`Retry-After` says, up to ten minutes. 401, 407 and redirects (which are never followed) are for a person to look at:
the messages wait, and the node says so. Any other answer fails the message with the server's words.

**Repeats.** Whether the server has done something when the answer is lost is not known: the message is sent again,
as are those since the last checkpoint after a crash. With `idempotency_key: true` each has a header `Idempotency-Key`
that is the same whenever it is sent and another one for each message: a server that remembers keys acts once. (Two
messages made of the same one, with the same topic, time and body, have the same key.)

**Order.** One after the other. `concurrency: 4` sends four at a time, in no order among them, and goes on when all
four have ended. `batch` sends a JSON array of several; for 400, 413 and 422 it is halved until the messages at fault are
found, and the others are written.

**Addresses.** Loopback and private networks can be reached, for that is where a home's servers are. Link-local
addresses and those at which clouds give out credentials (169.254.0.0/16, fe80::/10, fd00:ec2::/32, 100.100.100.200 and
others) cannot, whatever name leads there: the address is looked at when it is connected to. The environment's
proxies are not used.

**Secrets** belong into `token` or `headers`, as `${VARIABLE}`. They, and long parts of the path of a literal `url`, are
blotted out of what a server says; reasons name the host alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from flowrunner import (
    NANOSECONDS,
    Context,
    Limits,
    Message,
    MessageError,
    NodeFailed,
    NodeOptions,
    PositiveDuration,
    Secret,
    Sink,
    Value,
    node_type,
    option_error,
)
from flowrunner_nodes._http_checks import URL_HELP, check_header, check_header_name, check_host, check_url
from flowrunner_nodes._http_delivery import BatchOptions, Delivery, Item
from flowrunner_nodes._http_options import Tls, TlsOptions, check_tls, check_token
from flowrunner_nodes._http_request import RequestMaker
from flowrunner_nodes._values import is_expression

if TYPE_CHECKING:
    from flowrunner_nodes._http_client import HttpClient

EXAMPLE = """\
version: 1
flow: notices
nodes:
  readings:
    type: file_in
    path: readings.jsonl
  hot:
    type: filter
    from: readings
    where: payload.temperature > 30.0
  tell:
    type: http_out
    from: hot
    url: http://127.0.0.1:8090/notices
    body: { title: Too hot, value: =payload.temperature }
    idempotency_key: true
"""


class Config(NodeOptions):
    """Where messages go, and what is sent."""

    url: Annotated[
        Value,
        AfterValidator(check_url),
        Field(description="The address, a literal or CEL.", examples=["http://nas:8080/readings"]),
    ]
    method: Annotated[Literal["POST", "PUT"], Field(description="The method.", examples=["PUT"])] = "POST"
    allow_hosts: Annotated[
        list[Annotated[str, AfterValidator(check_host)]],
        Field(description="Hosts to which a `url` in CEL may lead.", examples=[["nas:8080"]]),
    ] = Field(default_factory=list)
    headers: Annotated[
        dict[
            Annotated[str, AfterValidator(check_header_name)], Annotated[Value, AfterValidator(check_header)]
        ],
        Field(description="Headers to send.", examples=[{"X-Api-Key": "${API_KEY}"}]),
    ] = Field(default_factory=dict)
    token: Annotated[
        Secret | None,
        AfterValidator(check_token),
        Field(description="A bearer token.", examples=["${API_TOKEN}"]),
    ] = None
    body: Annotated[
        Value | None,
        Field(
            description="What is sent; the message's payload unless given.", examples=[{"v": "=payload.x"}]
        ),
    ] = None
    format: Annotated[
        Literal["json", "text"], Field(description="How the body is written.", examples=["text"])
    ] = "json"
    timeout: Annotated[
        PositiveDuration, Field(description="How long a request may take.", examples=["30s"])
    ] = "10s"  # type: ignore[assignment]  # likewise
    idempotency_key: Annotated[
        bool, Field(description="Whether to send a key by which repeats are known.", examples=[True])
    ] = False
    concurrency: Annotated[int, Field(description="Requests at a time.", ge=1, le=100, examples=[4])] = 1
    batch: Annotated[
        BatchOptions | None,
        Field(description="Send several messages as one JSON array.", examples=[{"max_messages": 100}]),
    ] = None
    tls: Tls = Field(default_factory=TlsOptions)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if is_expression(self.url) and not self.allow_hosts:
            raise option_error("FR021", "`allow_hosts` is missing: `url` is CEL", help="name the hosts")
        if isinstance(self.url.source, str) and not is_expression(self.url):
            check_tls(self.url.source, self.tls, help=URL_HELP)
        if self.token is not None and "authorization" in map(str.lower, self.headers):
            raise option_error("FR025", "`token` and the header `Authorization` exclude each other")
        if self.batch is not None and (self.idempotency_key or self.concurrency > 1 or self.format != "json"):
            text = "`batch` goes with neither `idempotency_key` nor `concurrency` nor `format: text`"
            raise option_error("FR025", text, help="leave one of them out")
        return self


@node_type("http_out")
class HttpOut(Sink[Config]):
    """Makes requests of messages and sees them through to the server's answer."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self._maker = RequestMaker(config, context)
        self._client: HttpClient | None = None

    def limits(self) -> Limits:
        """Return as many messages as are sent at a time."""
        batch = self.config.batch
        if batch is None:
            return Limits(max_messages=self.config.concurrency)
        return Limits(max_messages=batch.max_messages, max_age=batch.max_age / NANOSECONDS)

    def show(self, message: Message) -> str:
        """Return method, server and body; the path only where it is made of the message."""
        request, body = self._maker.request(message), self._maker.body(message)
        place = request.url if is_expression(self.config.url) else request.origin
        return f"{self.config.method} {place} {body.decode()}"

    async def open(self) -> None:
        """Make the session; nothing is connected yet."""
        config = self.config
        # The client takes most of a second to import, in which other flows go on.
        http = await asyncio.to_thread(import_module, "flowrunner_nodes._http_client")
        try:
            self._client = http.HttpClient(
                config.timeout, config.tls, self._maker.secrets(), self.context.clock.now, config.concurrency
            )
        except OSError as error:
            raise NodeFailed(f"the file of `tls.ca` cannot be used: {error}") from None

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def write(self, batch: Sequence[Message]) -> None:
        """Return when the server has accepted what did not fail."""
        items = list[Item]()
        for message in batch:
            try:
                items.append(self._item(message))
            except MessageError as error:
                self.context.fail(message, str(error))
        assert self._client is not None  # noqa: S101  # the engine opens before it writes
        array = self.config.batch is not None
        delivery = Delivery(self._client, self.config.method, self.context.fail, array=array)
        await delivery.send(items, self.config.concurrency)

    def _item(self, message: Message) -> Item:
        request, body = self._maker.request(message), self._maker.body(message)
        if self.config.idempotency_key:
            request.headers["Idempotency-Key"] = self._maker.key(message, body)
        return Item(message, request, body, self._maker.traced(message))
