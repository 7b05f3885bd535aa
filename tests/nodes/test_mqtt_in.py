"""``mqtt_in`` against a real Mosquitto: what is delivered, when it is acknowledged, what comes again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from flowrunner import MessageError, Record
from flowrunner_nodes import _mqtt_hub, _mqtt_inbox, _mqtt_subscribing
from tests.nodes.mqtt_harness import inbox_of, run_node, running, until
from tests.servers.mosquitto import Mosquitto
from tests.servers.mqtt_peer import publish

pytestmark = pytest.mark.server

VERSIONS = pytest.mark.parametrize("protocol", [pytest.param(5, id="5"), pytest.param("3.1.1", id="3.1.1")])


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mqtt_hub, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(_mqtt_hub, "LONGEST_PAUSE", 0.2)


def numbers(topic: str, start: int, stop: int) -> list[tuple[str, bytes]]:
    return [(topic, b"%d" % number) for number in range(start, stop)]


def options(broker: Any, **more: Any) -> dict[str, Any]:
    return {"url": f"mqtt://127.0.0.1:{broker.port}", **more}


@VERSIONS
async def test_messages_arrive_in_order_with_topic_and_meta(broker: Mosquitto, protocol: Any) -> None:
    async with running(options(broker, protocol=protocol), {"a": {"topics": ["t/+"]}}) as flow:
        await publish(broker.port, numbers("t/x", 0, 500), qos=1)
        await publish(broker.port, [("t/y", b"hello")], qos=0)
        await until(lambda: len(flow["a"].saved) == 501)

    assert list(range(500)) == [int(record.data) for record in flow["a"].saved[:500]]
    assert Record(b"0", "t/x", None, {"qos": 1, "retain": False}) == flow["a"].saved[0]
    assert Record(b"hello", "t/y", None, {"qos": 0, "retain": False}) == flow["a"].saved[500]


@VERSIONS
async def test_what_is_not_journaled_is_not_acknowledged_and_comes_again(
    broker: Mosquitto, protocol: Any
) -> None:
    settings = options(broker, protocol=protocol)
    async with running(settings, {"a": {"topics": ["t"]}}, hold=True) as before:
        await publish(broker.port, numbers("t", 0, 10))
        await until(lambda: before["a"].held)
        before["a"].commit()
        await until(lambda: len(before["a"].saved) > 0)
        done = len(before["a"].saved)
        await publish(broker.port, numbers("t", 10, 15))
        await until(lambda: before["a"].held)
    async with running(settings, {"a": {"topics": ["t"]}}) as after:
        await until(lambda: len(after["a"].saved) == 15 - done)
        await asyncio.sleep(0.05)

    assert list(range(15)) == before["a"].payloads + after["a"].payloads


@VERSIONS
async def test_what_is_published_while_away_is_kept_by_the_broker(broker: Mosquitto, protocol: Any) -> None:
    settings = options(broker, protocol=protocol)
    async with running(settings, {"a": {"topics": ["t"]}}):
        pass
    await publish(broker.port, numbers("t", 0, 100))
    async with running(settings, {"a": {"topics": ["t"]}}) as flow:
        await until(lambda: len(flow["a"].saved) == 100)

    assert list(range(100)) == flow["a"].payloads


async def test_a_session_that_is_not_wanted_is_not_kept(broker: Mosquitto) -> None:
    settings = options(broker, session_expiry="0s")
    async with running(settings, {"a": {"topics": ["t"]}}):
        pass
    await publish(broker.port, numbers("t", 0, 5))
    async with running(settings, {"a": {"topics": ["t"]}}) as flow:
        await publish(broker.port, [("t", b"5")])
        await until(lambda: flow["a"].saved)

    assert [5] == flow["a"].payloads


@VERSIONS
async def test_nothing_is_lost_when_the_connection_is_cut_over_and_over(
    broker: Mosquitto, protocol: Any
) -> None:
    count = 3000
    async with running(options(broker, protocol=protocol), {"a": {"topics": ["t"]}}) as flow:
        flow["a"].delay = 0.003
        publishing = asyncio.create_task(publish(broker.port, numbers("t", 0, count), window=20))
        for cuts in range(1, 7):
            await asyncio.sleep(0.05)
            flow.cut()
            await flow.reconnected(cuts)
        await publishing
        await until(lambda: set(flow["a"].payloads) == set(range(count)))

    assert 6 == flow.context.reconnects


async def test_a_broker_that_keeps_its_state_loses_nothing_when_it_is_restarted(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path / "b", persistence=True) as broker,
        running(options(broker), {"a": {"topics": ["t"]}}, hold=True) as flow,
    ):
        await publish(broker.port, numbers("t", 0, 5))
        await until(lambda: flow["a"].held)
        await broker.restart()
        await until(lambda: flow.context.reconnects and flow.up())
        flow["a"].hold = False
        flow["a"].commit()
        await publish(broker.port, numbers("t", 5, 10))
        await until(lambda: set(flow["a"].payloads) == set(range(10)))

    assert "session_lost" not in flow.counts


async def test_a_lost_session_is_counted_logged_and_subscribed_again(broker: Mosquitto) -> None:
    async with running(options(broker), {"a": {"topics": ["t"]}}, hold=True) as flow:
        await publish(broker.port, numbers("t", 0, 5))
        await until(lambda: flow["a"].held)
        await broker.restart(9)
        await until(lambda: flow.context.reconnects and flow.up())
        flow["a"].hold = False
        flow["a"].commit()
        await publish(broker.port, numbers("t", 5, 10))
        await until(lambda: len(flow["a"].saved) == 10)

    assert list(range(10)) == flow["a"].payloads
    assert flow.counts["session_lost"] == 1
    assert flow.counts["stale_acks"] == 5
    assert any("lost the session" in event for _, event, _ in flow.log.lines)


@VERSIONS
async def test_each_node_gets_each_message_once_however_filters_overlap(
    broker: Mosquitto, protocol: Any
) -> None:
    nodes = {
        "all": {"topics": ["home/#"]},
        "some": {"topics": ["home/+/t", "home/kitchen/#", "home/kitchen/t"]},
        "other": {"topics": ["garden/#"]},
    }
    async with running(options(broker, protocol=protocol), nodes) as flow:
        await publish(broker.port, numbers("home/kitchen/t", 0, 200))
        await publish(broker.port, [("home/hall/t", b"200"), ("home/hall/x", b"201"), ("garden/t", b"202")])
        await until(lambda: len(flow["other"].saved) == 1)
        await asyncio.sleep(0.05)

    assert list(range(202)) == flow["all"].payloads
    assert list(range(201)) == flow["some"].payloads
    assert [202] == flow["other"].payloads
    assert "unrouted" not in flow.counts


@VERSIONS
async def test_a_message_is_acknowledged_when_the_last_of_its_nodes_has_it(
    broker: Mosquitto, protocol: Any
) -> None:
    nodes = {"a": {"topics": ["t/#"]}, "b": {"topics": ["t/+"]}}
    settings = options(broker, protocol=protocol)
    async with running(settings, nodes) as flow:
        flow["b"].hold = True
        await publish(broker.port, numbers("t/x", 0, 3))
        await until(lambda: len(flow["a"].saved) == 3 and flow["b"].held)
    async with running(settings, nodes) as flow:
        await until(lambda: len(flow["b"].saved) == 3)

    assert [0, 1, 2] == flow["b"].payloads


@VERSIONS
async def test_subscriptions_that_are_no_longer_configured_are_removed(
    broker: Mosquitto, protocol: Any
) -> None:
    settings = options(broker, protocol=protocol)
    async with running(settings, {"a": {"topics": ["old/#", "deep/+/+/x", "new/#"]}}):
        pass
    async with running(settings, {"a": {"topics": ["new/#"]}}) as flow:
        await publish(broker.port, [("old/a", b"1"), ("deep/1/2/x", b"2")])
        await until(lambda: flow.counts.get("unrouted") == 2)
        await asyncio.sleep(0.05)
        await publish(broker.port, [("old/b", b"3"), ("deep/3/4/x", b"4"), ("new/a", b"5")])
        await until(lambda: flow["a"].saved)

    assert [5] == flow["a"].payloads
    assert 2 == flow.counts["unrouted"]


async def test_a_node_that_is_replaced_takes_over_what_has_arrived(broker: Mosquitto) -> None:
    async with running(options(broker), {"a": {"topics": ["t/#"]}}) as flow:
        flow["a"].full = True
        await publish(broker.port, numbers("t/x", 0, 5))
        await until(lambda: flow["a"].status == "degraded")
        new = flow.add("a", {"topics": ["u/#"]})
        await flow.nodes["a"].close()
        flow["a"].full = False
        task = asyncio.create_task(run_node(new))
        await publish(broker.port, numbers("t/x", 5, 10))
        await until(lambda: len(flow["a"].saved) >= 5)
        await publish(broker.port, numbers("u/x", 10, 11))
        await until(lambda: 10 in flow["a"].payloads)
        task.cancel()

    assert list(range(5)) == flow["a"].payloads[:5]
    assert "u/x" == flow["a"].topics[-1]


async def test_a_node_that_goes_for_good_is_unsubscribed(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_mqtt_subscribing, "LINGER", 0.1)
    async with running(options(broker), {"a": {"topics": ["t"]}, "b": {"topics": ["u"]}}) as flow:
        flow["a"].full = True
        await publish(broker.port, numbers("t", 0, 3))
        await until(lambda: flow["a"].status == "degraded")
        await flow.nodes["a"].close()
        await until(lambda: flow.counts.get("unrouted") == 3)
        await asyncio.sleep(0.05)
        await publish(broker.port, [("t", b"3"), ("u", b"4")])
        await until(lambda: flow["b"].saved)

        assert 3 == flow.counts["unrouted"]


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1])
async def test_a_flood_on_a_slow_journal_stays_bounded(
    broker: Mosquitto, protocol: Any, qos: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_mqtt_inbox, "HIGH_MESSAGES", 500)
    count = 20_000 if qos == 0 else 3000
    async with running(options(broker, protocol=protocol), {"a": {"topics": ["t"], "qos": qos}}) as flow:
        flow["a"].delay = 0.02
        inbox = inbox_of(flow, "a")
        highest = 0

        def arrived() -> bool:
            nonlocal highest
            highest = max(highest, len(inbox))
            return len(flow["a"].saved) >= count

        publishing = asyncio.create_task(publish(broker.port, numbers("t", 0, count), qos=qos))
        await until(
            lambda: arrived() or (publishing.done() and len(flow["a"].saved) > count // 2 and not len(inbox)),
            20,
        )
        await publishing
        if qos:
            await until(arrived)

    assert highest < 500 + 2**18 // 8
    assert flow["a"].payloads == sorted(flow["a"].payloads)
    if qos:
        assert list(range(count)) == flow["a"].payloads


async def test_a_journal_that_is_full_stops_reading_and_everything_comes_when_it_has_space(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_mqtt_inbox, "HIGH_MESSAGES", 50)
    async with running(options(broker), {"a": {"topics": ["t"]}}) as flow:
        flow["a"].full = True
        await publish(broker.port, numbers("t", 0, 400))
        await until(lambda: flow.reading.paused)
        assert ("degraded", "the journal is full") == (flow["a"].status, flow["a"].reason)
        assert [] == flow["a"].saved
        flow["a"].full = False
        await until(lambda: len(flow["a"].saved) == 400)

        assert list(range(400)) == flow["a"].payloads
        assert "running" == flow["a"].status


async def test_a_long_pause_drops_qos_0_counted_and_keeps_the_connection(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_mqtt_inbox, "HIGH_MESSAGES", 50)
    nodes = {"a": {"topics": ["t"], "qos": 0}}
    async with running(options(broker, keepalive="1s"), nodes) as flow:
        flow["a"].full = True
        await publish(broker.port, numbers("t", 0, 1000), qos=0)
        await publish(broker.port, numbers("t", 1000, 2000), qos=0)
        await asyncio.sleep(1)
        await publish(broker.port, numbers("t", 2001, 3001), qos=0)
        await until(lambda: flow["a"].counters.dropped.get("buffer_full"))
        await asyncio.sleep(2.5)
        flow["a"].full = False
        await until(lambda: flow["a"].saved and not len(inbox_of(flow, "a")))
        await publish(broker.port, [("t", b"2000")], qos=0)
        await until(lambda: 2000 in flow["a"].payloads)

    assert 0 == flow.context.reconnects
    assert 3001 == len(flow["a"].saved) + flow["a"].counters.dropped["buffer_full"]
    assert 3001 == flow["a"].counters.received


@VERSIONS
async def test_a_long_pause_leaves_qos_1_to_the_broker_and_fetches_it_again(
    broker: Mosquitto, protocol: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_mqtt_inbox, "HIGH_MESSAGES", 5)
    async with running(options(broker, keepalive="1s", protocol=protocol), {"a": {"topics": ["t"]}}) as flow:
        flow["a"].full = True
        publishing = asyncio.create_task(publish(broker.port, numbers("t", 0, 600)))
        await until(lambda: flow.connection._hub._router.refused)
        flow["a"].full = False
        await publishing
        await until(lambda: set(flow["a"].payloads) >= set(range(600)))

    assert flow.context.reconnects
    assert "buffer_full" not in flow["a"].counters.dropped


async def test_a_journal_that_breaks_acknowledges_nothing_until_it_is_mended(broker: Mosquitto) -> None:
    async with running(options(broker), {"b": {"topics": ["other"]}}) as flow:
        node = flow.add("a", {"topics": ["t"]})
        flow["a"].broken = True
        task = asyncio.create_task(run_node(node))
        await until(flow.up)
        await publish(broker.port, numbers("t", 0, 5))
        await asyncio.sleep(0.5)
        assert ([], False) == (flow["a"].saved, task.done())
        flow["a"].broken = False
        await until(lambda: len(flow["a"].saved) >= 5)
        task.cancel()

        assert list(range(5)) == sorted(set(flow["a"].payloads))


@pytest.mark.parametrize(("retained", "expected"), [("use", [b"7"]), ("ignore", [])])
@VERSIONS
async def test_retained_messages_are_used_or_not(
    broker: Mosquitto, protocol: Any, retained: str, expected: list[bytes]
) -> None:
    await publish(broker.port, [("t/a", b"7")], retain=True)
    nodes = {"a": {"topics": ["t/#"], "retained": retained}}
    async with running(options(broker, protocol=protocol), nodes) as flow:
        await publish(broker.port, [("t/b", b"8")])
        await until(lambda: "t/b" in flow["a"].topics)

    found = [record for record in flow["a"].saved if record.meta["retain"]]
    assert expected == [record.data for record in found]
    assert (protocol != 5 and retained == "ignore") == flow["a"].counters.filtered


async def test_a_retained_message_comes_once_however_often_we_reconnect(broker: Mosquitto) -> None:
    await publish(broker.port, [("t", b"7")], retain=True)
    async with running(options(broker), {"a": {"topics": ["t"]}}) as flow:
        for reconnects in range(1, 4):
            flow.cut()
            await flow.reconnected(reconnects)
        await publish(broker.port, [("t", b"8")])
        await until(lambda: 8 in flow["a"].payloads)

    assert [7, 8] == flow["a"].payloads


@VERSIONS
async def test_a_node_that_ignores_retained_messages_does_not_keep_them_from_another(
    broker: Mosquitto, protocol: Any
) -> None:
    await publish(broker.port, [("t", b"7")], retain=True)
    nodes: dict[str, dict[str, Any]] = {"a": {"topics": ["t"], "retained": "ignore"}, "b": {"topics": ["t"]}}
    async with running(options(broker, protocol=protocol), nodes) as flow:
        await until(lambda: flow["b"].saved)

    assert [] == flow["a"].saved
    assert 1 == flow["a"].counters.filtered


@VERSIONS
async def test_a_shared_subscription_divides_the_messages(broker: Mosquitto, protocol: Any) -> None:
    nodes = {"a": {"topics": ["$share/group/t/#"]}}
    first = running(options(broker, protocol=protocol, client_id="one"), nodes)
    second = running(options(broker, protocol=protocol, client_id="two"), nodes)
    async with first as one, second as two:
        await publish(broker.port, numbers("t/x", 0, 100))
        await until(lambda: len(one["a"].saved) + len(two["a"].saved) == 100)

    assert list(range(100)) == sorted(one["a"].payloads + two["a"].payloads)
    assert one["a"].saved
    assert two["a"].saved


@VERSIONS
async def test_a_message_that_is_too_long_is_left_out_and_the_next_ones_come(
    broker: Mosquitto, protocol: Any
) -> None:
    await publish(broker.port, [("t/big", bytes(3 * 2**20))], retain=True)
    settings = options(broker, protocol=protocol, max_packet="64KiB")
    async with running(settings, {"a": {"topics": ["t/#"]}}) as flow:
        await publish(broker.port, [("t/huge", bytes(5 * 2**20)), *numbers("t/x", 0, 5)])
        await until(lambda: len(flow["a"].saved) == 5)

    assert list(range(5)) == flow["a"].payloads
    assert 0 == flow.context.reconnects
    if protocol != 5:  # with MQTT 5 the broker knows the limit and sends none of them
        assert {"too_large": 2} == flow["a"].counters.dropped
        assert 2 == flow.counts["too_large"]


async def test_more_poison_than_the_broker_may_send_ahead_does_not_stop_the_flow(broker: Mosquitto) -> None:
    poison = [("t", bytes([200 + number % 50]) * 9) for number in range(300)]
    async with running(
        options(broker, receive_maximum=20), {"a": {"topics": ["t"], "format": "json"}}
    ) as flow:
        await publish(broker.port, [*poison, ("t", b"1")])
        await until(lambda: len(flow["a"].saved) == 301)

    with pytest.raises(MessageError, match="the payload is not JSON"):
        flow.nodes["a"].decode(flow["a"].saved[0].data)
    assert 1 == flow.nodes["a"].decode(flow["a"].saved[300].data)


async def test_user_properties_and_content_type_come_as_meta(broker: Mosquitto) -> None:
    import subprocess

    from tests.servers.mosquitto import program

    async with running(options(broker), {"a": {"topics": ["t"]}}) as flow:
        arguments = ["-V", "5", "-t", "t", "-m", "x", "-q", "1", "-p", str(broker.port)]
        properties = [
            "user-property unit °C",
            "content-type text/plain",
            "response-topic answer",
            "correlation-data z",
        ]
        for each in properties:
            arguments += ["-D", "publish", *each.split()]
        await asyncio.to_thread(subprocess.run, [program("mosquitto_pub"), *arguments], check=True)
        await until(lambda: flow["a"].saved)

    expected = {
        "qos": 1,
        "retain": False,
        "user_unit": "°C",
        "content_type": "text/plain",
        "response_topic": "answer",
    }
    assert expected == flow["a"].saved[0].meta


async def test_what_publishers_send_with_qos_2_arrives_once(broker: Mosquitto) -> None:
    async with running(options(broker), {"a": {"topics": ["t"]}}) as flow:
        await publish(broker.port, numbers("t", 0, 50), qos=2, window=1)
        await until(lambda: len(flow["a"].saved) == 50)

    assert list(range(50)) == flow["a"].payloads
    assert {1} == {record.meta["qos"] for record in flow["a"].saved}
