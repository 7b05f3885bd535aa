"""The messages of Home Assistant's WebSocket API, one or several in a text."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec


class Frame(msgspec.Struct, gc=False):
    """A message of Home Assistant, whatever its type; what is inside is read by whom it concerns."""

    type: str = ""
    id: int = 0
    success: bool = True
    result: msgspec.Raw = msgspec.Raw(b"null")
    event: msgspec.Raw = msgspec.Raw(b"null")
    error: Any = None
    message: str = ""
    ha_version: str = ""


UNREADABLE = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)
"""What reading a message may raise."""

_ONE = msgspec.json.Decoder(Frame)
_MANY = msgspec.json.Decoder(list[Frame])


def read_frames(text: bytes, counts: Counter[str]) -> list[Frame]:
    """Return the messages of a text; what cannot be read is counted as ``malformed`` and left out."""
    try:
        return _MANY.decode(text) if text.startswith(b"[") else [_ONE.decode(text)]
    except UNREADABLE:
        return _read_one_by_one(text, counts)


def _read_one_by_one(text: bytes, counts: Counter[str]) -> list[Frame]:
    frames = []
    try:
        parts = msgspec.json.decode(text, type=list[msgspec.Raw])
    except UNREADABLE:
        parts = [msgspec.Raw(b"")]
    for part in parts:
        try:
            frames.append(_ONE.decode(part))
        except UNREADABLE:
            counts["malformed"] += 1
    return frames
