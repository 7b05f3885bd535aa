"""Receive messages by HTTP (webhook).

Takes `POST` and `PUT` to `/in/FLOW/NODE` of flowrunner's own HTTP server (`FLOWRUNNER_HTTP_HOST` and `_PORT`), such as
`http://localhost:8080/in/doorbell/button`. What a message becomes:

- `topic` is what stands behind the node in the path: `/in/doorbell/button/front/door` has the topic `front/door`. Without
  that it is the option `topic`.
- `payload` is read as `format` says. `auto` (the default) goes by the content type: JSON, a urlencoded form (a mapping of
  texts; a list where a field comes several times), `text/…`, and anything else as bytes (a base64 text). Without a
  content type it is JSON if it is JSON, else text, else bytes. `json`, `text` and `bytes` read every body so.
- `time` is the moment of arrival.
- `meta` holds `method`, `remote` (the address of the sender or of the last proxy), `content_type` where there is one,
  and each of `headers` that came as `header_NAME`, in lower case and with `_` for `-`.

**Delivery.** The answer is 202 when the message is safe in the journal, and only then. Without an answer, or with a 503
(the journal is full, the disk fails, flowrunner is starting or stopping), send it again after `Retry-After` seconds. A
message whose answer was lost on the way is then there twice.

**Who may send.** With `token` whoever brings it: `Authorization: Bearer TOKEN`. Without one the rule of the API holds: this
machine, or the holder of `FLOWRUNNER_API_TOKEN`. There is no TLS; put a proxy in front.

| answer | because |
|---|---|
| 202 | it is in the journal |
| 400 | the body is not what `format` or its content type says; dropped, counted as `not_readable` |
| 401, 403 | the token is missing or wrong; there is none to compare with |
| 404, 405 | there is no such webhook; the method is neither `POST` nor `PUT` |
| 408, 411 | the body did not come within 30 s; it does not say how long it is |
| 413 | the body has more than `max_bytes`; dropped, counted as `too_large` |
| 415 | a content type, character set or compression that is not taken; dropped, counted as `not_supported` |
| 503 | not now: try again |
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from flowrunner import (
    JournalFull,
    NodeOptions,
    Record,
    Secret,
    Size,
    Source,
    SourceContext,
    TraceContext,
    WebhookRefused,
    WebhookRequest,
    node_type,
    option_error,
)
from flowrunner_nodes._webhook_bodies import READERS, NotReadable, content_type

EXAMPLE = """\
version: 1
flow: doorbell
nodes:
  button:
    type: http_in
    token: "${DOORBELL_TOKEN}"
    format: json
    headers: [User-Agent]
  show:
    type: debug
    from: button
"""

_COMMIT_SECONDS = 10.0
_COUNTED = {400: "not_readable", 413: "too_large", 415: "not_supported"}
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})


def _check_header(name: str) -> str:
    if name.lower() in _SECRET_HEADERS:
        raise option_error(
            "FR026",
            f"`{{name}}` must not hold `{name}`: it is a secret",
            help="leave it out; flowrunner checks the token itself",
        )
    return name


class Config(NodeOptions):
    """Who may send what."""

    token: Annotated[
        Secret | None,
        Field(
            description="The bearer token that senders must bring.", min_length=1, examples=["${HOOK_TOKEN}"]
        ),
    ] = None
    format: Annotated[
        Literal["auto", "json", "text", "bytes"],
        Field(description="What bodies are; `auto` goes by the content type.", examples=["json"]),
    ] = "auto"
    topic: Annotated[
        str, Field(description="The topic of what is sent without a path behind the node.", examples=["door"])
    ] = ""
    headers: Annotated[
        list[Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$"), AfterValidator(_check_header)]],
        Field(default_factory=list, description="The headers to keep in `meta`.", examples=[["User-Agent"]]),
    ]
    max_bytes: Annotated[
        Size, Field(ge=1, le=16 * 2**20, description="The longest body that is taken.", examples=["64KiB"])
    ] = "1MiB"  # type: ignore[assignment]  # validated: becomes bytes


@node_type("http_in")
class HttpIn(Source[Config]):
    """Journals what requests bring before they are answered."""

    def __init__(self, config: Config, context: SourceContext) -> None:
        super().__init__(config, context)
        context.webhook = self.take
        self._trouble: str | None = None

    async def run(self) -> None:
        """Wait: requests come from outside."""
        await asyncio.Event().wait()

    async def take(self, request: WebhookRequest) -> None:
        """Return when what a request brings is in the journal."""
        self._admit(request)
        try:
            record = await self._record(request)
        except WebhookRefused as refused:
            if refused.status in _COUNTED:
                self.context.counters.received += 1
                self.context.counters.drop(_COUNTED[refused.status])
            raise
        try:
            await self._save(record)
        except (JournalFull, OSError) as error:
            self._trouble = str(error)
            self.context.report("degraded", self._trouble)
            raise
        if self._trouble is not None:
            self._trouble = None
            self.context.report("running")

    def _admit(self, request: WebhookRequest) -> None:
        if self.config.token is not None:
            token = self.config.token.get_secret_value().encode()
            if not secrets.compare_digest((request.bearer or "").encode(), token):
                raise WebhookRefused(401, "the node's bearer token is needed")
        elif request.refusal is not None:
            status, reason = request.refusal
            raise WebhookRefused(status, f"{reason}, or give the node a `token`")

    async def _record(self, request: WebhookRequest) -> Record:
        headers = request.headers
        if headers.get("content-encoding", "identity") != "identity":
            raise WebhookRefused(415, "compressed bodies are not taken")
        kind, charset = content_type(headers.get("content-type", ""))
        body = await request.read(self.config.max_bytes)
        try:
            data = READERS[self.config.format](body, kind, charset)
        except NotReadable as error:
            raise WebhookRefused(400, str(error)) from None
        trace = TraceContext.read(headers.get("traceparent"), headers.get("tracestate"))
        return Record(data, request.path or self.config.topic, meta=self._meta(request, kind), trace=trace)

    async def _save(self, record: Record) -> None:
        saved = self.context.post([record])
        try:
            async with asyncio.timeout(_COMMIT_SECONDS):
                # It gets into the journal even when nobody waits for the answer any more.
                await asyncio.shield(saved)
        except TimeoutError:
            reason = f"the journal has not answered for {_COMMIT_SECONDS:.0f} s"
            raise WebhookRefused(503, reason, retry_after=int(_COMMIT_SECONDS)) from None

    def _meta(self, request: WebhookRequest, kind: str) -> dict[str, Any]:
        meta = {"method": request.method, "remote": request.remote}
        if kind:
            meta["content_type"] = kind
        for name in self.config.headers:
            if (value := request.headers.get(name.lower())) is not None:
                meta["header_" + name.lower().replace("-", "_")] = value
        return meta
