"""The state of a transform as bytes: taken and given back piece by piece, so that the event loop turns in between.

A state is a row of chunks. Each is a msgpack array of ``[kind, piece]``, where a piece is what the node has yielded
or some of its timers. Nothing but the stage touches the node meanwhile, and the stage waits: so the state is that
of one moment however long it takes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from flowrunner.node import Transform
from flowrunner.timers import Timers

PATIENCE_NS = 2_000_000
"""Nanoseconds after which work lets other tasks run."""
CHUNK_BYTES = 128 * 1024
"""What a chunk holds at least, unless it is the last."""
_LARGE_INTEGER, _BROKEN_TEXT, _PAIRS = 1, 2, 3

type Chunks = tuple[bytes, ...]


class Pace:
    """Lets other tasks run whenever one has worked for a while."""

    def __init__(self) -> None:
        self.rested = time.perf_counter_ns()
        """When other tasks last had their turn, nanoseconds."""

    async def rest(self) -> None:
        """Let other tasks run if it is their turn."""
        if time.perf_counter_ns() - self.rested > PATIENCE_NS:
            await asyncio.sleep(0)
            self.rested = time.perf_counter_ns()


async def dump_state(node: Transform[Any], timers: Timers) -> Chunks:
    """Return a transform's state and timers; empty when it has none. Raises what ``snapshot`` raises."""
    pace = Pace()
    chunks: list[bytes] = []
    gathered: list[bytes] = []
    size = 0
    for piece in _pieces(node, timers):
        gathered.append(_encode(piece))
        size += len(gathered[-1])
        if size >= CHUNK_BYTES:
            chunks.append(_join(gathered))
            gathered, size = [], 0
        await pace.rest()
    if gathered:
        chunks.append(_join(gathered))
    return tuple(chunks)


async def load_state(node: Transform[Any], timers: Timers, chunks: Chunks, version: int) -> None:
    """Give a new transform what :func:`dump_state` returned at ``version`` of its type. Raises what the type raises."""
    pace = Pace()
    for chunk in chunks:
        for kind, piece in _DECODER.decode(chunk):
            if kind == "timers":
                timers.restore(piece)
            else:
                node.restore(piece if version == node.state_version else _upgraded(node, piece, version))
            await pace.rest()
        await pace.rest()


def converted(data: bytes) -> bytes:
    """Return as one chunk what flowrunner saved before there were chunks: ``[state, timers]``."""
    state, timers = _DECODER.decode(data)
    pieces = [["state", state], ["timers", timers]]
    return _join([_encode(piece) for piece in pieces if piece[1]])


def _pieces(node: Transform[Any], timers: Timers) -> Iterator[list[Any]]:
    state = node.snapshot()
    if isinstance(state, Iterator):
        for piece in state:
            yield ["state", piece]
    elif state is not None:
        yield ["state", state]
    for timers_piece in timers.snapshot():
        yield ["timers", timers_piece]


def _upgraded(node: Transform[Any], piece: Any, version: int) -> Any:
    if version > node.state_version:
        raise ValueError(f"it is of version {version}, and this node type reads up to {node.state_version}")
    return node.upgrade(piece, version)


def _join(pieces: list[bytes]) -> bytes:
    """Return the msgpack array of values that are encoded already."""
    return b"".join((b"\xdd", len(pieces).to_bytes(4, "big"), *pieces))


def _encode(piece: list[Any]) -> bytes:
    try:
        return msgspec.msgpack.encode(piece, enc_hook=_encode_mapping)
    except (OverflowError, UnicodeEncodeError):
        return msgspec.msgpack.encode(_writable(piece))


def _encode_mapping(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a state cannot hold a value of type {type(value).__name__}")


def _writable(value: Any) -> Any:
    """Return a value without what JSON has and msgpack has not: integers of more than 64 bits, halves of characters."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return msgspec.msgpack.Ext(_LARGE_INTEGER, b"%x" % value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return msgspec.msgpack.Ext(_BROKEN_TEXT, value.encode("utf-8", "surrogatepass"))
        return value
    if isinstance(value, msgspec.Struct):
        value = msgspec.to_builtins(value, builtin_types=(bytes, bytearray), enc_hook=_encode_mapping)
    if isinstance(value, Mapping):
        pairs = [(_writable(name), _writable(member)) for name, member in value.items()]
        if any(isinstance(name, msgspec.msgpack.Ext) for name, _ in pairs):
            return msgspec.msgpack.Ext(_PAIRS, msgspec.msgpack.encode(pairs))
        return dict(pairs)
    if isinstance(value, list | tuple):
        return [_writable(member) for member in value]
    return value


def _read_extension(code: int, data: memoryview) -> Any:
    if code == _LARGE_INTEGER:
        return int(bytes(data), 16)
    if code == _BROKEN_TEXT:
        return bytes(data).decode("utf-8", "surrogatepass")
    if code == _PAIRS:
        return dict(_DECODER.decode(data))
    raise ValueError(f"an extension of type {code} is unknown")


_DECODER = msgspec.msgpack.Decoder(ext_hook=_read_extension)
