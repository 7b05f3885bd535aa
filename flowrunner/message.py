"""What travels through a flow: records on their way to the journal, messages on their way to a sink."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from flowrunner.tracecontext import TraceContext

type Json = bool | int | float | str | list[Any] | dict[str, Any] | None

NO_META: Mapping[str, Json] = MappingProxyType({})

NANOSECONDS = 1_000_000_000
"""Nanoseconds in a second: every time in flowrunner is an ``int`` of nanoseconds since the Unix epoch, UTC."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message. Never changes: a node that changes one emits a new one, and a fan-out shares it.

    ``frozen`` protects the fields, not the inside of ``payload``: a transform must not mutate it.
    ``gc=False`` is safe because a message can never be part of a reference cycle.
    """

    topic: str
    payload: Any
    time: int
    """Event time: when it happened, nanoseconds since the epoch."""
    meta: Mapping[str, Json] = NO_META
    """Flat facts of the source: ``entity_id``, ``qos``, ``window_start`` …"""
    clock: int = 0
    """Flow clock, nanoseconds: the arrival time of the journal record this message comes from, or the
    due time of the timer that made it. Not visible to expressions."""
    seq: int = 0
    """Journal position of that record; 0 for a message that a timer made. ``(clock, seq)`` orders the
    messages on a wire and is what a node with several inputs merges by."""

    def replace(
        self,
        *,
        topic: str | None = None,
        payload: Any = msgspec.UNSET,
        time: int | None = None,
        meta: Mapping[str, Json] | None = None,
    ) -> Message:
        """Return a message with some fields changed that stays at this one's place in the order."""
        return Message(
            self.topic if topic is None else topic,
            self.payload if payload is msgspec.UNSET else payload,
            self.time if time is None else time,
            self.meta if meta is None else meta,
            self.clock,
            self.seq,
        )


class Record(msgspec.Struct, frozen=True, gc=False):
    """What a source hands to the journal: undecoded, so that a poison payload is kept too.

    ``time`` is the event time in nanoseconds, ``None`` for the moment of arrival. ``clock`` is set only
    by sources that replay the past (see ``file_in``): the flow clock then follows the data. ``trace`` is the place in
    a recorded trace of whoever sent it.
    """

    data: bytes
    topic: str = ""
    time: int | None = None
    meta: Mapping[str, Json] = NO_META
    clock: int | None = None
    trace: TraceContext | None = None
