"""What the payload of an MQTT message can be read as."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from flowrunner import MessageError


def _json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MessageError(f"the payload is not JSON: {error}") from None


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise MessageError(
            f"the payload is not text in UTF-8: {error.reason} at byte {error.start}"
        ) from None


def _bytes(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _auto(data: bytes) -> Any:
    for decode in (_json, _text):
        try:
            return decode(data)
        except MessageError:
            continue
    return _bytes(data)


DECODERS = {"auto": _auto, "json": _json, "text": _text, "bytes": _bytes}
