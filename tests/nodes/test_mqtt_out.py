"""``mqtt_out`` and a broker by hand: what is sent, what counts as written, what is sent again, what fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from flowrunner import ConnectionContext, Context, Message, NodeFailed, RetryLater
from flowrunner_nodes import _mqtt_hub, _mqtt_inbox, _mqtt_publishing, mqtt_out
from flowrunner_nodes.influxdb import InfluxdbConnection, InfluxdbOptions
from flowrunner_nodes.mqtt import MqttConnection
from flowrunner_nodes.mqtt_out import MqttOut
from tests.nodes.harness import RecordingLog, SetClock, message, options, write_all
from tests.nodes.influx_harness import deliver
from tests.nodes.mqtt_harness import Flow, running, until
from tests.servers.mosquitto import free_port
from tests.servers.mqtt_peer import (
    CONNACK,
    CONNECT,
    DISCONNECT,
    PUBACK,
    PUBLISH,
    Peer,
    PeerConnection,
    packet,
    publish_packet,
    text,
    varint,
)

VERSIONS = pytest.mark.parametrize("protocol", [pytest.param(5, id="5"), pytest.param("3.1.1", id="3.1.1")])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mqtt_hub, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(_mqtt_hub, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(mqtt_out, "_LOOK", 0.05)


class Published:
    """A PUBLISH packet, taken apart."""

    def __init__(self, first: int, body: bytes, *, five: bool) -> None:
        end = 2 + int.from_bytes(body[:2], "big")
        self.topic = body[2:end].decode()
        self.qos, self.retain = first >> 1 & 3, bool(first & 1)
        self.mid = int.from_bytes(body[end : end + 2], "big") if self.qos else 0
        rest = body[end + 2 * bool(self.qos) :]
        length = rest[0] if five else 0
        self.properties = rest[1 : 1 + length] if five else b""
        self.payload = rest[five + length :]


class Broker(Peer):
    """Takes messages: ``verdict`` says the reason code for each, or what else to do with it."""

    def __init__(self, properties: bytes = b"") -> None:
        super().__init__()
        self.properties = properties
        self.got: list[Published] = []
        self.verdict: Callable[[Published, PeerConnection], int | None] = lambda published, connection: 0
        self.words = ""

    @property
    def payloads(self) -> list[str]:
        return [each.payload.decode() for each in self.got]

    async def has(self, count: int) -> None:
        """Return when so many messages have come."""
        await until(lambda: len(self.got) == count)

    def _answer(self, connection: PeerConnection, kind: int, body: bytes) -> None:
        five = connection.version5
        if kind == CONNECT and five:
            properties = varint(len(self.properties)) + self.properties
            connection.send(packet(CONNACK, b"\x00\x00" + properties), *self.greeting)
        elif kind == PUBLISH:
            published = Published(connection.received[-1][0], body, five=five)
            self.got.append(published)
            code = self.verdict(published, connection)
            if published.qos and code is not None:
                self.acknowledge(connection, published.mid, code)
        else:
            super()._answer(connection, kind, body)

    def acknowledge(self, connection: PeerConnection, mid: int, code: int = 0) -> None:
        body = mid.to_bytes(2, "big")
        if code:
            words = b"\x26" + text("k") + text("v") + b"\x1f" + text(self.words) if self.words else b""
            body += bytes([code]) + (varint(len(words)) + words if words else b"")
        connection.send(packet(PUBACK, body))


def sink_of(flow: Flow, **given: Any) -> MqttOut:
    context = Context("flow", "out", log=RecordingLog(), clock=SetClock(), connection=flow.connection)
    return MqttOut(options(MqttOut, **{"connection": "broker", "topic": "=topic", **given}), context)


@asynccontextmanager
async def publishing(
    broker: Any, *, connection: dict[str, Any] | None = None, **given: Any
) -> AsyncIterator[tuple[MqttOut, Flow]]:
    """Run a sink on a connection that is up."""
    address = {"url": f"mqtt://127.0.0.1:{broker.port}", **(connection or {})}
    async with running(address, {}) as flow:
        yield sink_of(flow, **given), flow


def numbered(count: int) -> list[Message]:
    return [message(number) for number in range(count)]


# What is sent


@pytest.mark.parametrize(
    ("given", "payload", "expected"),
    [
        pytest.param({}, {"a": 1, "b": "ä"}, '{"a":1,"b":"ä"}', id="a mapping is JSON"),
        pytest.param({}, [1, None, True], "[1,null,true]", id="a list is JSON"),
        pytest.param({}, "on", "on", id="a text is as it is"),
        pytest.param({}, b"\x01", "\x01", id="bytes are as they are"),
        pytest.param({}, 21.5, "21.5", id="a number"),
        pytest.param({}, None, "null", id="null"),
        pytest.param({"payload": "fixed"}, 1, "fixed", id="a literal text"),
        pytest.param({"payload": ""}, 1, "", id="nothing"),
        pytest.param({"payload": "=payload.x"}, {"x": 2}, "2", id="CEL"),
        pytest.param({"payload": {"y": "=payload.x", "z": 1}}, {"x": 2}, '{"y":2,"z":1}', id="CEL inside"),
    ],
)
@VERSIONS
async def test_payloads_become_bytes(
    given: dict[str, Any], payload: Any, expected: str, protocol: Any
) -> None:
    async with (
        Broker() as broker,
        publishing(broker, connection={"protocol": protocol}, **given) as (node, _),
    ):
        assert [] == await write_all(node, [message(payload, topic="a/b")])

    assert [("a/b", expected, 1, False)] == [
        (p.topic, p.payload.decode(), p.qos, p.retain) for p in broker.got
    ]


async def test_topic_qos_retain_and_properties_are_those_of_the_options() -> None:
    given: dict[str, Any] = {
        "topic": "='home/' + payload.room",
        "qos": 0,
        "retain": "=payload.keep",
        "expiry": "1500ms",
        "content_type": "text/plain",
        "user_properties": {"from": "=meta.device", "n": 1},
    }
    async with Broker() as broker, publishing(broker, **given) as (node, _):
        keep, let_go = ({"room": "hall", "keep": keep} for keep in (True, False))
        assert [] == await write_all(node, [message(keep, device="x"), message(let_go, device="x")])
        await until(lambda: len(broker.got) == 2)

    assert [("home/hall", 0, True), ("home/hall", 0, False)] == [
        (p.topic, p.qos, p.retain) for p in broker.got
    ]
    user = b"\x26" + text("from") + text("x") + b"\x26" + text("n") + text("1")
    assert b"\x02\x00\x00\x00\x02" + b"\x03" + text("text/plain") + user == broker.got[0].properties


# What counts as written


async def test_a_message_is_written_when_it_is_acknowledged_and_not_before() -> None:
    async with Broker() as broker, publishing(broker) as (node, _):
        broker.verdict = lambda published, connection: None
        writing = asyncio.create_task(write_all(node, numbered(2)))
        await until(lambda: len(broker.got) == 2)
        broker.acknowledge(broker.last, broker.got[1].mid)
        await asyncio.sleep(0.05)
        assert not writing.done()
        broker.acknowledge(broker.last, broker.got[0].mid)

        assert [] == await writing
        assert 2 == len({published.mid for published in broker.got})


async def test_no_more_are_in_flight_than_the_broker_takes() -> None:
    async with Broker(b"\x21\x00\x03") as broker, publishing(broker) as (node, _):
        broker.verdict = lambda published, connection: None
        writing = asyncio.create_task(write_all(node, numbered(5)))
        await until(lambda: len(broker.got) == 3)
        await asyncio.sleep(0.05)
        assert 3 == len(broker.got)
        for done in range(5):
            broker.acknowledge(broker.last, broker.got[done].mid)
            await broker.has(min(5, done + 4))

        assert [] == await writing
        assert ["0", "1", "2", "3", "4"] == broker.payloads


async def test_no_more_bytes_are_in_flight_than_fit_into_memory() -> None:
    long = "x" * 400_000
    async with Broker() as broker, publishing(broker) as (node, _):
        broker.verdict = lambda published, connection: None
        writing = asyncio.create_task(write_all(node, [message(long)] * 4))
        await until(lambda: len(broker.got) == 2)
        await asyncio.sleep(0.05)
        assert 2 == len(broker.got)
        broker.verdict = lambda published, connection: 0
        for published in list(broker.got):
            broker.acknowledge(broker.last, published.mid)

        assert [] == await writing


async def test_two_sinks_and_a_subscription_share_one_connection() -> None:
    async with Broker() as broker, publishing(broker) as (node, flow):
        other = sink_of(flow, topic="other")
        flow.add("in", {"topics": ["a"]})
        await asyncio.gather(write_all(node, numbered(300)), write_all(other, numbered(300)))

        assert 1 == len(broker.connections)
        assert 600 == len(broker.got)
        assert list(map(str, range(300))) == [p.payload.decode() for p in broker.got if p.topic == "other"]


@pytest.mark.parametrize("size", [10, 3_000_000], ids=["short", "longer than the buffers of a socket"])
async def test_qos_0_is_written_when_the_socket_has_taken_it(size: int) -> None:
    async with Broker() as broker, publishing(broker, qos=0) as (node, _):
        broker.verdict = lambda published, connection: None
        assert [] == await write_all(node, [message("x" * size) for _ in range(3)])
        await until(lambda: len(broker.got) == 3)

    assert [size] * 3 == [len(published.payload) for published in broker.got]


async def test_a_write_can_be_cancelled_and_a_late_answer_does_no_harm() -> None:
    async with Broker() as broker, publishing(broker) as (node, _):
        broker.verdict = lambda published, connection: None
        writing = asyncio.create_task(node.write(numbered(1)))
        await until(lambda: broker.got)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        broker.acknowledge(broker.last, broker.got[0].mid)
        broker.acknowledge(broker.last, 4711)
        broker.verdict = lambda published, connection: 0

        assert [] == await write_all(node, numbered(1))


# What the broker refuses


@pytest.mark.parametrize(
    ("code", "words", "expected"),
    [
        pytest.param(0x87, "", "not authorized (code 135)", id="not authorized"),
        pytest.param(
            0x90, "no\x1bsuch", "the topic is not valid (code 144): no such", id="topic name invalid"
        ),
        pytest.param(0x99, "", "the payload has not the format that it says (code 153)", id="payload format"),
        pytest.param(
            0x80, "x" * 999, "it gives no reason (code 128): " + "x" * 300, id="unspecified, at length"
        ),
        pytest.param(0x83, "", "it cannot take it (code 131)", id="implementation specific"),
        pytest.param(0xFE, "", "it gives no known reason (code 254)", id="unknown"),
    ],
)
async def test_a_refused_message_fails_alone_with_the_words_of_the_broker(
    code: int, words: str, expected: str
) -> None:
    async with Broker() as broker, publishing(broker) as (node, _):
        broker.words = words
        broker.verdict = lambda published, connection: code if published.payload == b"1" else 0
        delivery = await deliver(node, numbered(3))

    assert [1] == delivery.failed
    assert [f"the broker refuses the message: {expected}"] == delivery.reasons
    assert [] == delivery.retries


async def test_nobody_being_subscribed_is_no_failure() -> None:
    async with Broker() as broker, publishing(broker) as (node, _):
        broker.verdict = lambda published, connection: 0x10

        assert [] == await write_all(node, numbered(2))


@pytest.mark.parametrize("code", [0x97, 0x91], ids=["quota exceeded", "packet identifier in use"])
async def test_what_the_broker_may_take_later_is_sent_again(code: int) -> None:
    async with Broker() as broker, publishing(broker) as (node, _):
        first = iter([0, code, 0])
        broker.verdict = lambda published, connection: next(first, 0)
        delivery = await deliver(node, numbered(3))

    assert [] == delivery.failed
    assert [[1]] == [[each.payload for each in later.remaining or ()] for later in delivery.retries]
    assert ["0", "1", "2", "1"] == broker.payloads


async def test_what_is_too_large_for_the_broker_fails_and_the_connection_lives() -> None:
    async with Broker(b"\x27" + (100).to_bytes(4, "big")) as broker, publishing(broker) as (node, flow):
        delivery = await deliver(node, [message("a"), message("x" * 100), message("b")])

        assert 0 == flow.context.reconnects
    assert ["a", "b"] == broker.payloads
    size = 2 + 2 + len("t") + 2 + 1 + 100
    [reason] = delivery.reasons
    assert reason.endswith(f"(code 149): it has {size} bytes as a packet, and the broker takes 100")


async def test_what_the_broker_would_not_retain_fails() -> None:
    async with Broker(b"\x25\x00") as broker, publishing(broker, retain="=payload == 1") as (node, _):
        delivery = await deliver(node, numbered(3))

    assert ["the broker refuses the message: it retains no messages (code 154)"] == delivery.reasons
    assert ["0", "2"] == broker.payloads


async def test_a_broker_without_qos_1_is_for_a_person_to_look_at() -> None:
    async with Broker(b"\x24\x00") as broker, publishing(broker) as (node, flow):
        with pytest.raises(RetryLater, match="QoS 0 only") as later:
            await node.write(numbered(1))

        assert (True, []) == (later.value.operator, broker.got)
        assert [] == await write_all(sink_of(flow, qos=0), numbered(1))


# What is sent again


@VERSIONS
async def test_what_was_not_acknowledged_is_sent_again_in_order_over_the_next_connection(
    protocol: Any,
) -> None:
    async with Broker() as broker, publishing(broker, connection={"protocol": protocol}) as (node, flow):

        def until_the_third(published: Published, connection: PeerConnection) -> int | None:
            if published.payload == b"4" and len(broker.connections) == 1:
                connection.cut()
            return None if int(published.payload) > 2 and len(broker.connections) == 1 else 0

        broker.verdict = until_the_third
        delivery = await deliver(node, numbered(6))

        assert 1 == flow.context.reconnects
    assert 1 == len(delivery.retries)
    assert list("345") == broker.payloads[-3:]
    assert set("012345") == set(broker.payloads)


async def test_without_a_connection_messages_wait_and_go_out_with_the_first_one() -> None:
    port = free_port()
    async with running({"url": f"mqtt://127.0.0.1:{port}"}, {}, up=False) as flow:
        node = sink_of(flow)
        writing = asyncio.create_task(write_all(node, numbered(2)))
        await until(lambda: node.context.status == "degraded")
        assert f"cannot reach 127.0.0.1:{port}" in (node.context.reason or "")
        broker = Broker()
        broker.port = port
        broker._tasks = set()
        broker._server = await asyncio.start_server(broker._accept, "127.0.0.1", port)
        try:
            assert [] == await writing
        finally:
            await broker.__aexit__()
    assert ["0", "1"] == broker.payloads


async def test_a_refused_login_is_told_as_a_failure() -> None:
    async with (
        Peer(connack=0x86) as broker,
        running({"url": f"mqtt://127.0.0.1:{broker.port}"}, {}, up=False) as flow,
    ):
        node = sink_of(flow)
        writing = asyncio.create_task(node.write(numbered(1)))
        await until(lambda: node.context.status == "failed")
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    assert "the user name or password is wrong" in (node.context.reason or "")


async def test_a_broker_that_acknowledges_nothing_costs_the_connection_and_no_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_mqtt_publishing, "PATIENCE", 0.1)
    async with Broker() as broker, publishing(broker) as (node, flow):
        broker.verdict = lambda published, connection: None if len(broker.connections) < 8 else 0
        delivery = await deliver(node, numbered(2))

        assert 7 == flow.context.reconnects
    assert [] == delivery.failed
    assert {"the broker has acknowledged nothing for 0 s"} == {later.reason for later in delivery.retries}


async def test_a_malformed_acknowledgement_costs_the_connection_and_no_message() -> None:
    async with Broker() as broker, publishing(broker) as (node, _):

        def nonsense(published: Published, connection: PeerConnection) -> int | None:
            if len(broker.connections) > 1:
                return 0
            connection.send(packet(PUBACK, b"\x01"))
            return None

        broker.verdict = nonsense
        delivery = await deliver(node, numbered(1))

    assert ["the broker sent an acknowledgement that ends too early"] == [
        later.reason for later in delivery.retries
    ]


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(None, id="without a word"),
        pytest.param(0x99, id="payload format invalid"),
    ],
)
async def test_a_message_for_which_the_broker_ends_each_connection_fails_and_the_others_arrive(
    ending: int | None,
) -> None:
    async with Broker() as broker, publishing(broker) as (node, _):
        broker.verdict = lambda published, connection: ends(published, connection, b"3", ending)
        delivery = await deliver(node, numbered(8))

    assert [3] == delivery.failed
    assert "the broker ended 5 connections over this message: the broker " in delivery.reasons[0]
    assert 5 == len(delivery.retries)
    assert set("01234567") == set(broker.payloads)


def ends(published: Published, connection: PeerConnection, culprit: bytes, code: int | None) -> int | None:
    """End the connection at a message."""
    if published.payload != culprit:
        return None if connection.closed else 0
    if code is not None:
        connection.send(packet(DISCONNECT, bytes([code, 0])))
    connection.cut()
    return None


async def test_a_take_over_blames_no_message() -> None:
    async with Broker() as broker, publishing(broker) as (node, _):
        broker.verdict = lambda published, connection: (
            ends(published, connection, b"0", 142) if len(broker.connections) < 8 else 0
        )
        delivery = await deliver(node, numbered(1))

    assert ([], 7) == (delivery.failed, len(delivery.retries))


async def test_a_suspected_message_that_is_taken_later_is_suspected_no_more() -> None:
    async with Broker() as broker, publishing(broker) as (node, _):
        broker.verdict = lambda published, connection: (
            ends(published, connection, b"0", None) if len(broker.connections) < 4 else 0
        )
        delivery = await deliver(node, numbered(3))

        assert ([], 3, False) == (delivery.failed, len(delivery.retries), node._suspicion.active)


async def test_an_acknowledgement_is_read_although_the_journal_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_mqtt_inbox, "HIGH_MESSAGES", 4)
    monkeypatch.setattr(_mqtt_hub, "_ANSWER_PAUSE", 0.05)
    async with (
        Broker() as broker,
        running({"url": f"mqtt://127.0.0.1:{broker.port}"}, {"in": {"topics": ["a"], "qos": 0}}) as flow,
    ):
        node = sink_of(flow, topic="b")
        flow["in"].full = True
        broker.last.send(*(publish_packet("a", b"1", properties=b"") for _ in range(9)))
        await until(lambda: flow.reading.paused)

        async with asyncio.timeout(5):
            assert [] == await write_all(node, numbered(3))
        flow["in"].full = False


async def test_a_pause_that_begins_while_a_message_waits_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mqtt_inbox, "HIGH_MESSAGES", 4)
    monkeypatch.setattr(_mqtt_hub, "_ANSWER_PAUSE", 0.05)
    async with (
        Broker() as broker,
        running({"url": f"mqtt://127.0.0.1:{broker.port}"}, {"in": {"topics": ["a"], "qos": 0}}) as flow,
    ):
        node = sink_of(flow, topic="b")
        flow["in"].full = True
        broker.verdict = lambda published, connection: None
        writing = asyncio.create_task(write_all(node, numbered(1)))
        await until(lambda: broker.got)
        broker.last.send(*(publish_packet("a", b"1", properties=b"") for _ in range(9)))
        await until(lambda: flow.reading.paused)
        broker.acknowledge(broker.last, broker.got[0].mid)

        async with asyncio.timeout(5):
            assert [] == await writing
        flow["in"].full = False


# What cannot be published


@pytest.mark.parametrize(
    ("given", "payload", "reason"),
    [
        pytest.param({}, "", "nothing can be published to '': it is empty", id="no topic"),
        pytest.param({}, "a/+", "`+` is for subscriptions only", id="a wildcard"),
        pytest.param({}, "a/#", "`#` is for subscriptions only", id="another wildcard"),
        pytest.param({}, "a\0b", "it holds the character U+0000", id="NUL"),
        pytest.param({}, "a\ufffe", "it holds the character U+FFFE", id="no character"),
        pytest.param({}, "x" * 65_536, "it is longer than 65535 bytes", id="too long"),
        pytest.param({"topic": "=payload.x"}, "a", "`topic`: ", id="topic cannot be evaluated"),
        pytest.param({"topic": "=1"}, "a", "`topic` must be a text, got a number", id="topic is no text"),
        pytest.param({"payload": "=payload.x"}, "a", "`payload`: ", id="payload cannot be evaluated"),
        pytest.param(
            {"retain": "=payload"}, "a", "`retain` must be true or false, got a string", id="retain"
        ),
        pytest.param(
            {"user_properties": {"k": "=null"}},
            "a",
            "`user_properties.k` must be a text or a number",
            id="null",
        ),
        pytest.param(
            {"user_properties": {"k": "=payload + '\\n'"}},
            "a",
            "`user_properties.k` cannot be sent",
            id="line",
        ),
        pytest.param({"topic": "t", "payload": "\ud800"}, "a", "not valid Unicode", id="a lone surrogate"),
    ],
)
async def test_a_message_that_cannot_be_published_fails_alone(
    given: dict[str, Any], payload: str, reason: str
) -> None:
    async with Broker() as broker, publishing(broker, **{"topic": "=payload", **given}) as (node, _):
        [told] = await write_all(node, [message(payload)])

        assert reason in told
        assert [] == broker.got


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        pytest.param({"topic": "a/#"}, "FR025", "for subscriptions only", id="topic with a wildcard"),
        pytest.param({"topic": ""}, "FR025", "it is empty", id="empty topic"),
        pytest.param({"topic": 7}, "FR025", "it is no text", id="topic that is a number"),
        pytest.param({"topic": "t", "qos": 2}, "FR033", "qos: 1", id="QoS 2"),
        pytest.param({"topic": "t", "qos": 3}, "literal_error", "", id="QoS 3"),
        pytest.param({"topic": "t", "retain": "yes"}, "FR022", "true, false or CEL", id="retain"),
        pytest.param({"topic": "t", "expiry": "200y"}, "FR030", "", id="expiry"),
        pytest.param({"topic": "t", "content_type": "a\nb"}, "FR025", "U+000A", id="content type"),
        pytest.param(
            {"topic": "t", "user_properties": {"a\0": "b"}}, "FR025", "U+0000", id="name of a property"
        ),
    ],
)
def test_a_wrong_option_is_refused_with_the_reason(given: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        options(MqttOut, connection="broker", **given)

    [error] = refused.value.errors()
    assert code == error["type"]
    assert words in f"{error['msg']} {error.get('ctx', {}).get('help')}"


async def test_what_needs_mqtt_5_is_refused_on_another_connection() -> None:
    flow = Flow({"url": "mqtt://127.0.0.1", "protocol": "3.1.1"}, {})

    with pytest.raises(NodeFailed, match="protocol: 5"):
        await sink_of(flow, expiry="1h").open()
    await sink_of(flow).open()


def test_a_connection_of_another_type_is_refused() -> None:
    config = InfluxdbOptions.model_validate({"url": "http://h", "org": "o"})
    other = InfluxdbConnection(config, ConnectionContext("flow", "c", SetClock(), RecordingLog()))
    context = Context("flow", "out", log=RecordingLog(), clock=SetClock(), connection=other)

    with pytest.raises(NodeFailed, match="not a connection of type `mqtt`"):
        MqttOut(options(MqttOut, connection="c", topic="t"), context)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, 'a/b {"x":1}', id="plain"),
        pytest.param({"retain": True, "payload": "on"}, "a/b on (retained)", id="retained"),
    ],
)
def test_a_message_is_shown_with_its_topic(given: dict[str, Any], expected: str) -> None:
    flow = Flow({"url": "mqtt://127.0.0.1"}, {})
    assert isinstance(flow.connection, MqttConnection)

    assert expected == sink_of(flow, **given).show(message({"x": 1}, topic="a/b"))
