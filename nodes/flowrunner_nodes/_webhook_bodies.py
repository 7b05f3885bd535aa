"""What the body of a webhook request can be read as, each written down as JSON."""

from __future__ import annotations

import base64
from collections.abc import Callable
from email.message import Message as Header
from urllib.parse import parse_qsl

import msgspec

from flowrunner import WebhookRefused

FORM = "application/x-www-form-urlencoded"
_FIELDS = 1000
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "windows-1252"})
"""Not whatever Python can decode: some of its codecs unpack, and some are not of text."""


class NotReadable(ValueError):
    """A body that is not what it has to be."""


def content_type(header: str) -> tuple[str, str]:
    """Return type and character set of a ``Content-Type``. Raises ``WebhookRefused`` for what cannot be taken."""
    parsed = Header()
    parsed["content-type"] = header or "none/none"
    kind = "" if not header else parsed.get_content_type()
    charset = str(parsed.get_param("charset") or "utf-8").lower()
    if kind.startswith("multipart/"):
        raise WebhookRefused(415, f"`{kind}` is not taken: send JSON, text, a urlencoded form, or bytes")
    if charset not in _CHARSETS:
        raise WebhookRefused(415, "the character set is not taken: send UTF-8")
    return kind, charset


def as_json(body: bytes, kind: str, charset: str) -> bytes:
    """Return a body that is JSON as it is."""
    del kind, charset
    if not body:
        raise NotReadable("the body is empty")
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise NotReadable(f"the body is not JSON: {error}") from None
    return body


def as_text(body: bytes, kind: str, charset: str) -> bytes:
    """Return a text as JSON."""
    del kind
    try:
        return msgspec.json.encode(body.decode(charset))
    except UnicodeDecodeError as error:
        raise NotReadable(
            f"the body is not text in {charset}: {error.reason} at byte {error.start}"
        ) from None


def as_bytes(body: bytes, kind: str, charset: str) -> bytes:
    """Return any data as a base64 text."""
    del kind, charset
    return msgspec.json.encode(base64.b64encode(body).decode())


def as_it_says(body: bytes, kind: str, charset: str) -> bytes:
    """Return a body read as its content type says; without one as JSON, else text, else bytes."""
    if kind == "application/json" or kind.endswith("+json"):
        return as_json(body, kind, charset)
    if kind == FORM:
        return _form(body, charset)
    if kind.startswith("text/"):
        return as_text(body, kind, charset)
    readers = (as_json, as_text, as_bytes) if not kind else (as_bytes,)
    return _first(readers, body, kind, charset)


READERS: dict[str, Callable[[bytes, str, str], bytes]] = {
    "auto": as_it_says,
    "json": as_json,
    "text": as_text,
    "bytes": as_bytes,
}


def _form(body: bytes, charset: str) -> bytes:
    if body[:1] in (b"{", b"["):  # what `curl -d` sends without further words
        try:
            return as_json(body, FORM, charset)
        except NotReadable:
            pass
    try:
        pairs = parse_qsl(
            body.decode(charset),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=_FIELDS,
        )
    except ValueError as error:
        raise NotReadable(f"the body is not a form: {error}") from None
    fields: dict[str, str | list[str]] = {}
    for name, value in pairs:
        known = fields.get(name)
        if known is None:
            fields[name] = value
        else:
            fields[name] = [*known, value] if isinstance(known, list) else [known, value]
    return msgspec.json.encode(fields)


def _first(
    readers: tuple[Callable[[bytes, str, str], bytes], ...], body: bytes, kind: str, charset: str
) -> bytes:
    for reader in readers[:-1]:
        try:
            return reader(body, kind, charset)
        except NotReadable:
            continue
    return readers[-1](body, kind, charset)
