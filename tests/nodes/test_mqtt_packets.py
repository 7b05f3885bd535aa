"""Cutting a byte stream into MQTT packets, compared with what paho makes of the same packets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import _packet
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from flowrunner_nodes._mqtt_packets import PacketError, PacketReader, Publish, read_properties
from tests.servers.mqtt_peer import packet, publish_packet, text, varint


def read_all(pieces: list[bytes], *, version5: bool = False, max_packet: int = 2**20) -> dict[str, list[Any]]:
    reader = PacketReader(version5=version5, max_packet=max_packet)
    found: dict[str, list[Any]] = {"publishes": [], "controls": [], "passed_over": []}
    for piece in pieces:
        batch = reader.feed(piece)
        found["publishes"] += batch.publishes
        found["controls"] += batch.controls
        found["passed_over"] += batch.passed_over
    return found


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


user_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), max_size=20)


@st.composite
def properties(draw: st.DrawFn) -> Properties:
    made: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if draw(st.booleans()):
        made.PayloadFormatIndicator = draw(st.integers(0, 1))
    if draw(st.booleans()):
        made.MessageExpiryInterval = draw(st.integers(0, 2**32 - 1))
    if draw(st.booleans()):
        made.ContentType = draw(user_texts)
    if draw(st.booleans()):
        made.ResponseTopic = draw(user_texts)
    if draw(st.booleans()):
        made.CorrelationData = draw(st.binary(max_size=20))
    for pair in draw(st.lists(st.tuples(user_texts, user_texts), max_size=4)):
        made.UserProperty = pair
    for number in draw(st.lists(st.integers(1, 268_435_455), max_size=3)):
        made.SubscriptionIdentifier = number
    return made  # type: ignore[no-any-return]


@st.composite
def messages(draw: st.DrawFn, *, version5: bool) -> bytes:
    qos = draw(st.integers(0, 2))
    raw = None
    if version5:
        packed = draw(properties()).pack()  # type: ignore[no-untyped-call]
        raw = packed[len(varint(len(packed))) :] if len(packed) > 128 else packed[1:]
    return publish_packet(
        draw(st.binary(min_size=1, max_size=40)),
        draw(st.binary(max_size=300)),
        qos=qos,
        mid=draw(st.integers(1, 65535)),
        retain=draw(st.booleans()),
        properties=raw,
    )


def by_paho(whole: bytes, *, version5: bool) -> tuple[Publish, Any]:
    start = 1
    while whole[start] & 0x80:
        start += 1
    version = MQTTProtocolVersion.MQTTv5 if version5 else MQTTProtocolVersion.MQTTv311
    found = _packet.decode_publish(whole[0], whole[start + 1 :], version)
    return (
        found.qos << 1 | found.retain,
        found.mid,
        found.topic,
        b"",
        bytes(found.payload),
    ), found.properties


@pytest.mark.parametrize("version5", [False, True])
@given(data=st.data())
def test_any_messages_in_any_pieces_are_what_paho_reads(version5: bool, data: st.DataObject) -> None:
    whole = data.draw(st.lists(messages(version5=version5), max_size=5))
    pieces = cut(b"".join(whole), data.draw(st.lists(st.integers(0, 4000), max_size=20)))
    found = read_all(pieces, version5=version5)["publishes"]

    expected = [by_paho(each, version5=version5) for each in whole]
    assert [each for each, _ in expected] == [(*each[:3], b"", each[4]) for each in found]
    for (_, theirs), ours in zip(expected, found, strict=True):
        identifiers, meta = read_properties(ours[3])
        if theirs is not None:
            assert getattr(theirs, "SubscriptionIdentifier", []) == list(identifiers)
            assert getattr(theirs, "ContentType", None) == meta.get("content_type")
            assert getattr(theirs, "ResponseTopic", None) == meta.get("response_topic")
            users = {"user_" + name: value for name, value in getattr(theirs, "UserProperty", [])}
            assert users == {name: value for name, value in meta.items() if name.startswith("user_")}


@given(st.lists(st.binary(max_size=50), max_size=10), st.booleans())
def test_no_bytes_raise_anything_but_packet_error(pieces: list[bytes], version5: bool) -> None:
    refused = ""
    try:
        read_all(pieces, version5=version5, max_packet=100)
    except PacketError as error:
        refused = str(error)
    assert not refused or refused.startswith("the broker sent")


@given(st.binary(max_size=60))
def test_no_properties_raise_anything_but_packet_error(raw: bytes) -> None:
    try:
        identifiers, _ = read_properties(raw)
    except PacketError:
        return
    assert all(0 <= number < 2**28 for number in identifiers)


@pytest.mark.parametrize("step", [1, 7, 1000, 10**6])
@pytest.mark.parametrize("qos", [0, 1])
def test_a_message_that_is_too_long_is_passed_over_and_never_held(qos: int, step: int) -> None:
    long = publish_packet("a/b", bytes(200_000), qos=qos, mid=5)
    after = publish_packet("c", b"1", qos=1, mid=6)
    reader = PacketReader(version5=False, max_packet=1000)
    publishes, passed_over, most = [], [], 0
    stream = long + after
    for start in range(0, len(stream), step):
        batch = reader.feed(stream[start : start + step])
        publishes += batch.publishes
        passed_over += batch.passed_over
        most = max(most, reader.held)

    assert [(qos << 1, 5 * qos, b"a/b", b"", b"")] == passed_over
    assert [(2, 6, b"c", b"", b"1")] == publishes
    assert most <= 70_000


def test_packets_that_are_no_messages_come_as_they_are() -> None:
    found = read_all([packet(0xD0) + packet(0x90, b"\x00\x01\x00"), packet(0xE0, b"\x8b\x00")])

    assert [(0xD0, b""), (0x90, b"\x00\x01\x00"), (0xE0, b"\x8b\x00")] == found["controls"]


def test_user_properties_beyond_sixteen_are_left_out() -> None:
    raw = b"".join(b"\x26" + text(f"k{number}") + text("v") for number in range(20))

    assert [f"user_k{number}" for number in range(16)] == list(read_properties(raw)[1])
