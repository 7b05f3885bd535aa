"""Dead letters: messages that could not be processed, with the reason, and how they are written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from flowrunner.message import Message

REPLAYED = "dead letters"
"""The name under which dead letters stand in the journal that are replayed; not a valid node id."""
REPLAYS = "replays"
"""The fact in ``meta`` that says how often a message was put in front of its node again."""
_REPR_CHARACTERS = 65_536


class Undecoded(Message, frozen=True, gc=False):
    """A record that its source could not read: ``payload`` is what a person can read of ``data``."""

    data: bytes = b""


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that could not be processed, and why.

    ``position`` and ``clock`` are where it comes from: a flow that goes over its journal again makes the same
    letter, and the store recognises it.
    """

    position: int
    clock: int
    node: str
    reason: str
    topic: str
    payload: Any
    time: int
    meta: Mapping[str, Any]
    created: int
    data: bytes | None = None
    """The record as it came, when it was the source that failed: it may not be text at all."""

    @classmethod
    def of(cls, message: Message, node: str, reason: str, created: int) -> DeadLetter:
        """Return the letter for a message that failed at ``node``."""
        return cls(
            message.seq,
            message.clock,
            node,
            reason,
            message.topic,
            message.payload,
            message.time,
            message.meta,
            created,
            message.data if isinstance(message, Undecoded) else None,
        )

    @property
    def tried(self) -> int:
        """How often the message has been tried."""
        replays = self.meta.get(REPLAYS, 0)
        return 1 + (replays if isinstance(replays, int) else 0)

    def because(self, reason: str) -> DeadLetter:
        """Return the letter with another reason."""
        return msgspec.structs.replace(self, reason=reason)


class Letter(msgspec.Struct, frozen=True):
    """A dead letter as stored; two with one ``key`` are the same."""

    key: bytes
    clock: int
    node: str
    reason: str
    created: int
    data: bytes


def pack(letter: DeadLetter, ordinals: Counter[bytes]) -> Letter:
    """Encode a letter under a key that it gets again when its flow is run again from the same checkpoint.

    The key is made of origin, content and repetition; ``ordinals`` counts the repetitions.
    """
    content = encode(msgspec.structs.replace(letter, created=0, reason=""))
    digest = blake2b(content, digest_size=16).digest()
    ordinals[digest] += 1
    key = digest + ordinals[digest].to_bytes(4, "big")
    return Letter(key, letter.clock, letter.node, _printable(letter.reason), letter.created, encode(letter))


def replayed(letter: DeadLetter, position: int, clock: int) -> DeadLetter:
    """Return a letter that has been journaled again: at another place, and tried once more."""
    meta = {**letter.meta, REPLAYS: letter.tried}
    return msgspec.structs.replace(letter, position=position, clock=clock, meta=meta)


def unpack(data: bytes) -> DeadLetter:
    """Return the letter that :func:`pack` encoded. Raises ``msgspec.DecodeError`` for anything else."""
    return msgspec.msgpack.decode(data, type=DeadLetter)


def encode(letter: DeadLetter) -> bytes:
    """Encode a letter, in parts as text where no format can hold it."""
    try:
        return msgspec.msgpack.encode(letter, enc_hook=dict)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # What no format can hold is often why the message failed: keep at least what a person can read.
        return msgspec.msgpack.encode(
            msgspec.structs.replace(
                letter,
                reason=_printable(letter.reason),
                topic=_printable(letter.topic),
                payload=_printable(letter.payload),
                meta={_printable(name): _printable(value) for name, value in letter.meta.items()},
            )
        )


def _printable(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):
        text = f"<{type(value).__name__}>"
    return text[:_REPR_CHARACTERS].encode("utf-8", "backslashreplace").decode()
