"""Journal entries: how records are stamped on arrival, and how entries become the rows of a file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from isal.isal_zlib import compress, decompress

from flowrunner.clock import NEVER, Clock, FlowClock
from flowrunner.errors import FlowrunnerError
from flowrunner.message import Record
from flowrunner.runtime.journal.segment import Batch
from flowrunner.tracecontext import TraceContext

RUN_ENTRIES = 1024
"""The most entries in a run, and so in what a reader gets at once unless it asks for more."""
_ROW_BYTES = 2**20
_RUN_BYTES = 4 * 2**20
_COMPRESS_BYTES = 1024
"""Rows below this size are not compressed: they fit into the page that has to be written anyway."""
_LEVEL = 1
_PLAIN, _DEFLATED = b"\0", b"\1"


class Entry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One record as journaled: ``clock`` is its arrival on the flow clock, ``time`` its event time."""

    seq: int
    clock: int
    node: str
    data: bytes
    topic: str
    time: int
    meta: Mapping[str, Any] | None
    trace: TraceContext | None = None


type Run = tuple[list[Entry], bytes]
"""Entries with consecutive numbers, and the same encoded, one after the other without an array around them."""


class Group:
    """Appends that are committed together."""

    __slots__ = ("bytes", "clock", "count", "cursors", "futures", "runs")

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.cursors: dict[str, bytes] = {}
        self.futures: list[asyncio.Future[None]] = []
        self.count = 0
        self.bytes = 0
        self.clock = NEVER
        """Flow clock of the first entry."""

    def add(self, runs: list[Run], count: int, size: int) -> None:
        """Add ``count`` entries that take ``size`` bytes encoded."""
        self.runs += runs
        self.count += count
        self.bytes += size
        if runs:
            self.clock = min(self.clock, runs[0][0][0].clock)


class TooLargeError(FlowrunnerError):
    """A record is larger than the whole journal may be: no waiting helps."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"larger than the journal may be: {max_bytes} bytes")
        self.max_bytes = max_bytes


def check_sizes(records: Sequence[Record], size: int, max_bytes: int) -> None:
    """Raise ``TooLargeError`` when a record, of records that take ``size`` bytes, is larger than ``max_bytes``."""
    if size > max_bytes and any(len(record.data) > max_bytes for record in records):
        raise TooLargeError(max_bytes)


class Damage(msgspec.Struct):
    """What was found broken since the journal was opened."""

    files: int = 0
    entries: int = 0
    """Committed entries that no reader will get: their rows or files could not be read."""


class Stamper:
    """Gives records their number, flow clock and event time."""

    def __init__(self, flow_clock: FlowClock, clock: Clock) -> None:
        self.highest = 0
        """The highest flow clock that was given out or promised."""
        self._clock = clock
        self._flow_clock = flow_clock

    def at_least(self, clock: int) -> None:
        """Give no entry a flow clock below ``clock`` from now on."""
        self._flow_clock.at_least(clock)
        self.highest = max(self.highest, clock)

    def stamp(self, node: str, records: Sequence[Record], seq: int) -> list[Entry]:
        """Return the entries of records, numbered from ``seq``.

        Records without a time of their own get that of their arrival, each its own nanosecond: two readings of one
        sensor that arrive together are two points in a database and not one.
        """
        arrived, now, highest = self._flow_clock.now(), self._clock.now(), self.highest
        entries = []
        for number, record in enumerate(records, seq):
            clock = arrived if record.clock is None else record.clock
            if clock > highest:  # noqa: PLR1730  # max() would be a third of what stamping costs
                highest = clock
            time = record.time
            if time is None:
                time, now = now, now + 1
            entries.append(
                Entry(
                    number, highest, node, record.data, record.topic, time, record.meta or None, record.trace
                )
            )
        if highest >= NEVER:
            raise ValueError(f"the clock of a record is out of range: {highest}")
        self.highest = highest
        return entries


def encode_runs(entries: list[Entry]) -> list[Run]:
    """Encode entries in runs of a bounded number and size. Raises what msgspec raises for odd values."""
    return [
        run
        for start in range(0, len(entries), RUN_ENTRIES)
        for run in _encode(entries[start : start + RUN_ENTRIES])
    ]


def batches(runs: Iterable[Run]) -> Iterator[Batch]:
    """Return the rows for consecutive runs: small runs share one."""
    parts: list[bytes] = []
    first: Entry | None = None
    last: Entry | None = None
    size = 0
    for entries, body in runs:
        if first is not None and last is not None and size + len(body) > _ROW_BYTES:
            yield _batch(first, last, parts)
            parts, first, size = [], None, 0
        first, last = first or entries[0], entries[-1]
        parts.append(body)
        size += len(body)
    if first is not None and last is not None:
        yield _batch(first, last, parts)


def decode(batch: Batch) -> list[Entry]:
    """Return the entries of a row; none when they are not the ones that the row is said to hold."""
    try:
        data = batch.data[1:] if batch.data[:1] == _PLAIN else decompress(batch.data[1:])
        entries = _DECODER.decode(data)
    except Exception:  # whatever it is, a row that cannot be read must not stop the reader
        return []
    count = batch.last - batch.first + 1
    if len(entries) != count or entries[0].seq != batch.first or entries[-1].seq != batch.last:
        return []
    return entries


def _encode(run: list[Entry]) -> Iterator[Run]:
    body = _ENCODER.encode(run)
    if len(body) > _RUN_BYTES and len(run) > 1:
        middle = len(run) // 2
        yield from _encode(run[:middle])
        yield from _encode(run[middle:])
    else:
        yield run, body[_header_bytes(len(run)) :]


def _header_bytes(count: int) -> int:
    """Return the length of the header that msgpack writes before an array of ``count`` elements."""
    return 1 if count < 16 else 3


def _batch(first: Entry, last: Entry, bodies: list[bytes]) -> Batch:
    header = b"\xdd" + (last.seq - first.seq + 1).to_bytes(4, "big")
    data = b"".join((header, *bodies))
    # A third of the CPU at 500 records a commit: compressing costs less than the pages that it saves.
    packed = compress(data, _LEVEL) if len(data) >= _COMPRESS_BYTES else data
    data = _DEFLATED + packed if len(packed) < len(data) else _PLAIN + data
    return Batch(first.seq, last.seq, last.clock, data)


def _encode_mapping(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a record cannot hold a value of type {type(value).__name__}")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode_mapping)
_DECODER = msgspec.msgpack.Decoder(list[Entry])
