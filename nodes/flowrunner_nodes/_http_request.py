"""What `http_out` sends for a message: address, headers and body, each checked."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

import msgspec

from flowrunner import Context, Message, MessageError
from flowrunner_nodes._http_checks import Origin, header_fault, origin_of
from flowrunner_nodes._paths import kind_of
from flowrunner_nodes._values import evaluate, is_expression

if TYPE_CHECKING:
    from flowrunner_nodes.http_out import Config

_CONTENT_TYPES = {"json": "application/json", "text": "text/plain; charset=utf-8"}
_PLAIN = {"accept", "content-type", "user-agent"}
"""Headers in which nobody keeps a secret."""
_SHORTEST_SECRET = 8


class Request(NamedTuple):
    """Where a message goes, and with which headers."""

    url: str
    origin: Origin
    headers: dict[str, str]


class RequestMaker:
    """Makes requests of messages, by the options of a node."""

    def __init__(self, config: Config, context: Context) -> None:
        self._config = config
        self._context = context
        self._place = f"{context.flow}-{context.node}"
        self._allowed = frozenset(config.allow_hosts)
        self._fixed = {"Content-Type": _CONTENT_TYPES[config.format]}
        if config.token is not None:
            self._fixed["Authorization"] = f"Bearer {config.token.get_secret_value()}"

    def request(self, message: Message) -> Request:
        """Return address and headers; raises :class:`MessageError`."""
        url = evaluate("url", self._config.url, message)
        if not isinstance(url, str):
            raise MessageError(f"`url` must be a text, got {kind_of(url)}")
        origin = origin_of(url)
        if origin is None:
            raise MessageError(
                "`url` is not an address that begins with http:// or https:// and names a host"
            )
        if is_expression(self._config.url):
            self._check(url, origin)
        headers = dict(self._fixed)
        for name, value in self._config.headers.items():
            _set(headers, name, _header(name, evaluate(f"headers.{name}", value, message)))
        return Request(url, origin, headers)

    def traced(self, message: Message) -> dict[str, str]:
        """Return the headers that tell of the trace of a message; those that the flow sets itself win."""
        trace = self._context.trace(message)
        if trace is None:
            return {}
        given = {name.lower() for name in self._config.headers}
        return {name: value for name, value in trace.headers().items() if name not in given}

    def body(self, message: Message) -> bytes:
        """Return what is sent; raises :class:`MessageError`."""
        value = self._config.body
        body = message.payload if value is None else evaluate("body", value, message)
        try:
            if self._config.format == "json":
                return msgspec.json.encode(body)
            if isinstance(body, str):
                return body.encode()
        except UnicodeEncodeError:
            raise MessageError("the body has a text that is not valid Unicode") from None
        raise MessageError(f"with `format: text` the body must be a text, got {kind_of(body)}")

    def key(self, message: Message, body: bytes) -> str:
        """Return a name of the message that is the same whenever it is sent, and no other's."""
        text = b"\0".join([message.topic.encode(errors="replace"), str(message.time).encode(), body])
        digest = hashlib.sha256(text).hexdigest()[:16]
        return f"{self._place}-{message.clock}-{message.seq}-{digest}"

    def secrets(self) -> list[str]:
        """Return what no answer may show, should a server repeat what it was sent."""
        config = self._config
        found = [] if config.token is None else [config.token.get_secret_value()]
        for name, value in config.headers.items():
            if name.lower() not in _PLAIN and isinstance(value.source, str):
                found += [value.source, value.source.rpartition(" ")[2]]
        if isinstance(config.url.source, str):
            found += re.split(r"[/?&=]", config.url.source.partition("://")[2].partition("/")[2])
        return [secret for secret in found if len(secret) >= _SHORTEST_SECRET]

    def _check(self, url: str, origin: Origin) -> None:
        """Refuse an address to which the author of the flow did not mean to send."""
        if origin.place not in self._allowed:
            raise MessageError(f"`url` leads to {origin.place!r:.100}, which is not in `allow_hosts`")
        path = re.split(r"[?#]", url, maxsplit=1)[0]
        if {".", ".."} & set(re.split(r"[/\\]", unquote(path))):
            raise MessageError("`url` has `.` or `..` in its path")


def _header(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise MessageError(f"`headers.{name}` must be a text or a number, got {kind_of(value)}")
    text = str(value)
    if header_fault(text):
        raise MessageError(f"`headers.{name}` has characters that no header has")
    return text


def _set(headers: dict[str, str], name: str, value: str) -> None:
    """Set a header in place of one that differs in case only."""
    for other in [other for other in headers if other.lower() == name.lower()]:
        del headers[other]
    headers[name] = value
