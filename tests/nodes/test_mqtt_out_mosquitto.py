"""``mqtt_out`` and real Mosquittos: restarts, rights, limits, a second client, a network that fails."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from flowrunner import Context, Message
from flowrunner_nodes import _mqtt_hub
from flowrunner_nodes.mqtt_out import MqttOut
from tests.nodes.harness import RecordingLog, SetClock, message, options
from tests.nodes.influx_harness import Delivery, deliver
from tests.nodes.mqtt_harness import Flow, running, until
from tests.servers.cut_proxy import CutProxy
from tests.servers.mosquitto import Mosquitto

VERSIONS = pytest.mark.parametrize("protocol", [pytest.param(5, id="5"), pytest.param("3.1.1", id="3.1.1")])
SEVERAL = [f"t/{number % 3}" for number in range(300)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mqtt_hub, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(_mqtt_hub, "LONGEST_PAUSE", 0.1)


def sink_of(flow: Flow, **given: Any) -> MqttOut:
    context = Context("flow", "out", log=RecordingLog(), clock=SetClock(), connection=flow.connection)
    return MqttOut(options(MqttOut, **{"connection": "broker", "topic": "=topic", **given}), context)


@asynccontextmanager
async def publisher(port: int, **connection: Any) -> AsyncIterator[Flow]:
    address = {"url": f"mqtt://127.0.0.1:{port}", "client_id": "publisher", **connection}
    async with running(address, {}) as flow:
        yield flow


@asynccontextmanager
async def subscriber(port: int, **connection: Any) -> AsyncIterator[Flow]:
    address = {"url": f"mqtt://127.0.0.1:{port}", "client_id": "subscriber", **connection}
    async with running(address, {"in": {"topics": ["#"]}}) as flow:
        yield flow


def readings(count: int = 300) -> list[Message]:
    return [message(number, topic=f"t/{number % 3}") for number in range(count)]


async def deliver_in_batches(node: MqttOut, messages: Sequence[Message], size: int = 20) -> list[Delivery]:
    """Write as a flow does that always has something to write."""
    return [
        await deliver(node, messages[start : start + size], attempts=1_000)
        for start in range(0, len(messages), size)
    ]


def first_by_topic(flow: Flow) -> dict[str, list[int]]:
    """Return what came to each topic, every payload once, at its first coming."""
    found: dict[str, list[int]] = {}
    for topic, payload in zip(flow["in"].topics, flow["in"].payloads, strict=True):
        if payload not in found.setdefault(topic, []):
            found[topic].append(payload)
    return found


def expected(count: int = 300) -> dict[str, list[int]]:
    return {f"t/{topic}": list(range(topic, count, 3)) for topic in range(3)}


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1])
async def test_everything_arrives_in_its_order(tmp_path: Path, protocol: Any, qos: int) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        subscriber(broker.port) as there,
        publisher(broker.port, protocol=protocol) as here,
    ):
        delivery = await deliver(sink_of(here, qos=qos), readings())
        await until(lambda: len(there["in"].saved) == 300)

    assert ([], [], expected()) == (delivery.failed, delivery.retries, first_by_topic(there))


async def test_a_retained_message_is_there_for_whoever_comes_later_until_it_is_removed(
    tmp_path: Path,
) -> None:
    async with Mosquitto(tmp_path) as broker, publisher(broker.port) as here:
        node = sink_of(here, retain=True)
        await deliver(node, [message("on", topic="kept"), message("off", topic="removed")])
        await deliver(node, [message("", topic="removed")])
        async with subscriber(broker.port) as there:
            await until(lambda: there["in"].saved)
            await asyncio.sleep(0.05)

    assert [("kept", b"on")] == [(record.topic, record.data) for record in there["in"].saved]


async def test_properties_reach_the_subscriber(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        subscriber(broker.port) as there,
        publisher(broker.port) as here,
    ):
        given = {"content_type": "text/plain", "user_properties": {"unit": "=meta.unit"}, "expiry": "1h"}
        await deliver(sink_of(here, **given), [message("1", topic="a", unit="°C")])
        await until(lambda: there["in"].saved)

    [record] = there["in"].saved
    assert {"content_type": "text/plain", "user_unit": "°C"}.items() <= record.meta.items()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
async def test_a_restart_of_the_broker_loses_nothing_that_it_kept(tmp_path: Path, number: int) -> None:
    async with Mosquitto(tmp_path, persistence=True) as broker:
        async with subscriber(broker.port) as there, publisher(broker.port) as here:
            await asyncio.sleep(1.2)  # the autosave that makes the subscription survive a SIGKILL
            node = sink_of(here, retain=True, topic="='t/' + string(payload)")
            writing = asyncio.create_task(deliver_in_batches(node, readings()))
            await until(lambda: len(there["in"].saved) > 60)
            await broker.restart(number)
            deliveries = await writing
            retried = sum(len(each.retries) for each in deliveries)
            if number == signal.SIGTERM:  # one that is killed forgets what it took since its last autosave
                await until(lambda: set(range(300)) == set(there["in"].payloads))
            else:
                await until(lambda: 299 in there["in"].payloads)

        assert [] == [failed for each in deliveries for failed in each.failed]
        assert 1 <= here.context.reconnects
        assert retried <= here.context.reconnects
        if (
            number == signal.SIGTERM
        ):  # a killed Mosquitto forgets what it acknowledged since its last autosave
            assert set(range(300)) == set(there["in"].payloads)


async def test_a_restart_without_persistence_is_survived(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path, persistence=False) as broker, publisher(broker.port) as here:
        node = sink_of(here)
        await deliver(node, readings(30))
        await broker.restart(signal.SIGKILL)
        async with subscriber(broker.port) as there:
            delivery = await deliver(node, readings(), attempts=1_000)
            await until(lambda: len(there["in"].saved) >= 300)

    assert ([], expected()) == (delivery.failed, first_by_topic(there))


async def test_what_the_acl_denies_fails_and_the_rest_arrives(tmp_path: Path) -> None:
    acl = "topic read #\ntopic write t/1\ntopic write t/2\n"
    async with (
        # With 0, as our Mosquittos have it, 2.0.11 closes the connection after each refusal.
        Mosquitto(tmp_path, acl=acl, options="max_queued_messages 1000") as broker,
        subscriber(broker.port) as there,
        publisher(broker.port) as here,
    ):
        delivery = await deliver(sink_of(here), readings(30))
        await until(lambda: len(there["in"].saved) == 20)

    assert expected(30)["t/0"] == delivery.failed
    assert {"the broker refuses the message: not authorized (code 135)"} == set(delivery.reasons)
    assert [] == delivery.retries


@VERSIONS
async def test_what_is_longer_than_a_packet_may_be_fails_and_the_rest_arrives(
    tmp_path: Path, protocol: Any
) -> None:
    async with (
        Mosquitto(tmp_path, options="max_packet_size 2000") as broker,
        subscriber(broker.port) as there,
        publisher(broker.port, protocol=protocol) as here,
    ):
        messages = [message("a", topic="t"), message("x" * 100_000, topic="t"), message("b", topic="t")]
        delivery = await deliver(sink_of(here), messages)
        await until(lambda: {b"a", b"b"} <= {record.data for record in there["in"].saved})

    assert ["x" * 100_000] == delivery.failed
    [reason] = delivery.reasons
    if protocol == 5:  # the broker said so when it accepted the connection
        assert "the broker takes 2000" in reason
        assert 0 == here.context.reconnects
    else:
        assert reason.startswith("the broker ended 5 connections over this message")


async def test_a_take_over_by_another_client_is_survived(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        subscriber(broker.port) as there,
        publisher(broker.port) as here,
    ):
        writing = asyncio.create_task(deliver_in_batches(sink_of(here), readings(), size=5))
        await until(lambda: len(there["in"].saved) > 20)
        async with publisher(broker.port):
            await until(lambda: here.context.reconnects)
        deliveries = await writing
        await until(lambda: len({record.data for record in there["in"].saved}) == 300)

    assert [] == [failed for each in deliveries for failed in each.failed]
    assert expected() == first_by_topic(there)
    assert 1 <= here.context.reconnects


@pytest.mark.parametrize("freezes", [False, True], ids=["cut", "silent, then cut"])
async def test_through_a_network_that_fails_everything_arrives_at_least_once_and_in_order(
    tmp_path: Path, freezes: bool
) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        CutProxy(broker.port) as proxy,
        subscriber(broker.port) as there,
        publisher(proxy.port) as here,
    ):
        count = 1_500
        writing = asyncio.create_task(deliver_in_batches(sink_of(here), readings(count), size=50))
        for step in range(1, 6):
            await until(lambda step=step: writing.done() or len(there["in"].saved) > step * 200)  # type: ignore[misc]
            if freezes:
                proxy.freeze()
                await asyncio.sleep(0.02)
            await proxy.cut()
            proxy._frozen = False
            await proxy.mend()
        deliveries = await writing
        await until(lambda: len({record.data for record in there["in"].saved}) == count)

    assert [] == [failed for each in deliveries for failed in each.failed]
    assert expected(count) == first_by_topic(there)
    assert 3 <= here.context.reconnects


async def test_a_flow_may_write_to_the_broker_that_it_reads_from(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        running({"url": f"mqtt://127.0.0.1:{broker.port}"}, {"in": {"topics": ["t/#"]}}) as flow,
    ):
        await deliver(sink_of(flow), readings(100))
        await until(lambda: len(flow["in"].saved) == 100)

    assert 0 == flow.context.reconnects
