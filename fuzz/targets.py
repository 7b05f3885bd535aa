"""What is fuzzed: each takes bytes, and raises only when flowrunner does what it must not."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from pydantic_core import PydanticCustomError

from flowrunner import EVALUATION_ERRORS, Expression, Message, MessageError
from flowrunner.diagnostics import render_github, render_json, render_sarif, render_text
from flowrunner.graph.load import load_flows
from flowrunner_nodes._line_protocol import LineEncoder
from flowrunner_nodes._mqtt_packets import PacketError, PacketReader, read_properties
from flowrunner_nodes._mqtt_payloads import DECODERS
from flowrunner_nodes._point_options import PointOptions
from fuzz.server import answers
from tests.nodes.line_protocol_parser import parse

REFUSALS: tuple[type[Exception], ...] = (PydanticCustomError, *EVALUATION_ERRORS)
LARGEST_PACKET = 256
PAYLOAD = {
    "temperature": 21.5,
    "count": 2**63 - 1,
    "on": True,
    "nothing": None,
    "text": "ä" * 300,
    "list": list(range(300)),
    "of": {"a": {"b": [1, {"c": "x"}]}},
}
MESSAGE = Message("zigbee2mqtt/kitchen", PAYLOAD, 1_772_359_200_000_000_000, {"qos": 1})


def yaml(data: bytes) -> None:
    """Load a flow file: diagnostics, and they can be shown in each form."""
    path = _folder() / "flow.yaml"
    path.write_bytes(data)
    loaded = load_flows([path], environment={"X": "10s"}, strict_environment=bool(len(data) % 2))
    render_text(loaded.diagnostics, loaded.texts)
    render_github(loaded.diagnostics)
    json.loads(render_json(loaded.diagnostics))
    json.loads(render_sarif(loaded.diagnostics, "1"))
    assert loaded.graphs or loaded.diagnostics or not loaded.flows


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="flowrunner-fuzz-"))


def expression(data: bytes) -> None:
    """Compile and evaluate: refused, failed, or a value of JSON."""
    source = data.decode(errors="replace")
    try:
        value = Expression(source).function(MESSAGE)
    except REFUSALS:
        return
    json.dumps(value, allow_nan=False)


def mqtt(data: bytes) -> None:
    """Cut packets out of a stream: in pieces the same ones as at once, and never much held."""
    for version5 in (False, True):
        whole, broken = _packets(data, len(data) or 1, version5=version5)
        pieces, broken_too = _packets(data, 1 + len(data) % 7, version5=version5)
        assert broken == broken_too
        assert broken or whole == pieces
        for packet in whole:
            _read_properties(packet[3])


def _packets(data: bytes, size: int, *, version5: bool) -> tuple[list[Any], bool]:
    reader = PacketReader(version5=version5, max_packet=LARGEST_PACKET)
    found: list[Any] = []
    try:
        for start in range(0, len(data), size):
            batch = reader.feed(data[start : start + size])
            found += batch.publishes + batch.passed_over
            assert reader.held <= LARGEST_PACKET + 65_600 + size
    except PacketError:
        return found, True
    return found, False


def _read_properties(raw: bytes) -> None:
    try:
        identifiers, meta = read_properties(raw)
    except PacketError:
        return
    assert all(isinstance(one, int) for one in identifiers)
    msgspec.json.encode(meta)


def payload(data: bytes) -> None:
    """Decode the payload of a message: a value of JSON, or why it is none."""
    for decode in DECODERS.values():
        try:
            value = decode(data)
        except MessageError:
            continue
        assert value == msgspec.json.decode(msgspec.json.encode(value))


def line(data: bytes) -> None:
    """Encode a point: what another parser reads is what was meant, and one line."""
    parts = [*data.decode(errors="replace").split("\x00"), "", "", "", ""]
    measurement, tag, name, text = parts[:4]
    message = Message(measurement, {name: text, "n": len(data), "of": {name: 1.5}}, len(data), {"tag": tag})
    try:
        written = _encoder().line(message)
    except MessageError:
        return
    (point,) = parse(written)
    assert "\n" not in written
    assert (measurement, len(data)) == (point.measurement, point.time)
    assert ({"tag": tag} if tag else {}) == point.tags


@cache
def _encoder() -> LineEncoder:
    options = {"type": "test", "measurement": "=topic", "tags": {"tag": "=meta.tag"}}
    return LineEncoder(PointOptions.model_validate(options), "ns")


def http(data: bytes) -> None:
    """Send bytes to the server: an answer that is HTTP and no failure of ours, or none."""
    received = answers(data)
    assert received == b"" or received.startswith(b"HTTP/1.1 ")
    assert b"HTTP/1.1 500" not in received
    assert b"Traceback" not in received


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (yaml, expression, mqtt, payload, line, http)
}
