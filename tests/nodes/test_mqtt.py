"""The MQTT connection when the broker, the network or the operator does what it should not."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from flowrunner_nodes import _mqtt_client, _mqtt_hub, _mqtt_subscribing
from flowrunner_nodes._mqtt_settings import LinkError
from tests.nodes.mqtt_harness import Flow, inbox_of, running, until
from tests.servers.mosquitto import Certificates, Mosquitto, free_port
from tests.servers.mqtt_peer import (
    CONNACK,
    CONNECT,
    DISCONNECT,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    SUBACK,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Peer,
    packet,
    publish,
    publish_packet,
    text,
    varint,
)

VERSIONS = pytest.mark.parametrize("protocol", [pytest.param(5, id="5"), pytest.param("3.1.1", id="3.1.1")])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mqtt_hub, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(_mqtt_hub, "LONGEST_PAUSE", 0.1)


def options(server: Any, **more: Any) -> dict[str, Any]:
    return {"url": f"mqtt://127.0.0.1:{server.port}", **more}


def message(
    flow_or_peer: Any, topic: str | bytes, payload: bytes = b"1", *, mid: int = 0, qos: int = 1
) -> bytes:
    five = flow_or_peer.last.version5
    return publish_packet(topic, payload, qos=qos, mid=mid, properties=b"" if five else None)


def mids(bodies: list[bytes]) -> list[int]:
    return [int.from_bytes(body[:2], "big") for body in bodies]


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@VERSIONS
async def test_acknowledgements_go_out_in_the_order_of_the_messages(protocol: Any) -> None:
    async with Peer() as peer:
        nodes = {"a": {"topics": ["a"]}, "b": {"topics": ["b"]}}
        async with running(options(peer, protocol=protocol), nodes, hold=True) as flow:
            topics = ["a", "b", "a", "b", "a"]
            peer.last.send(*(message(peer, topic, mid=number) for number, topic in enumerate(topics, 11)))
            await until(lambda: flow["a"].held and flow["b"].held)
            flow["b"].commit()
            await asyncio.sleep(0.05)
            assert [] == peer.last.of(PUBACK)
            flow["a"].commit()
            await until(lambda: len(peer.last.of(PUBACK)) == 5)

            assert [11, 12, 13, 14, 15] == mids(peer.last.of(PUBACK))


async def test_an_acknowledgement_never_reaches_another_connection() -> None:
    async with Peer() as peer, running(options(peer), {"a": {"topics": ["a"]}}, hold=True) as flow:
        peer.last.send(message(peer, "a", b"1", mid=7))
        await until(lambda: flow["a"].held)
        peer.last.cut()
        await until(lambda: len(peer.connections) == 2 and flow.up())
        peer.last.send(message(peer, "a", b"2", mid=7))
        await until(lambda: len(inbox_of(flow, "a")) == 2)
        flow["a"].commit()
        await until(lambda: flow["a"].saved and flow["a"].held)
        await asyncio.sleep(0.05)

        assert [] == peer.last.of(PUBACK)
        assert 1 == flow.counts["stale_acks"]
        flow["a"].commit()
        await until(lambda: peer.last.of(PUBACK))


@VERSIONS
async def test_a_topic_that_is_not_utf_8_is_acknowledged_counted_and_harmless(protocol: Any) -> None:
    async with Peer() as peer, running(options(peer, protocol=protocol), {"a": {"topics": ["#"]}}) as flow:
        peer.last.send(message(peer, b"\xff\xfe\xfd", mid=1), message(peer, "good", mid=2))
        await until(lambda: len(peer.last.of(PUBACK)) == 2)

        assert [1, 2] == mids(peer.last.of(PUBACK))
        assert ["good"] == flow["a"].topics
        assert 1 == flow.counts["malformed"]
        assert 1 == len(peer.connections)
        assert any("not valid MQTT" in event for _, event, _ in flow.log.lines)


@pytest.mark.parametrize(
    "properties",
    [
        pytest.param(b"\x23\x00\x01", id="a topic alias that was not agreed on"),
        pytest.param(b"\x7f", id="an unknown property"),
        pytest.param(b"\x03\x00\x09abc", id="a text that ends too early"),
        pytest.param(b"\x26\x00\x01a\x00", id="half a user property"),
        pytest.param(b"\x0b\x80", id="half a subscription identifier"),
        pytest.param(b"\x02\x00", id="half a message expiry"),
    ],
)
async def test_properties_that_cannot_be_are_acknowledged_and_counted(properties: bytes) -> None:
    async with Peer() as peer, running(options(peer), {"a": {"topics": ["#"]}}) as flow:
        topic = "" if properties[0] == 0x23 else "t"
        peer.last.send(
            publish_packet(topic, b"1", qos=1, mid=1, properties=properties), message(peer, "t", mid=2)
        )
        await until(lambda: len(peer.last.of(PUBACK)) == 2)

        assert 1 == flow.counts["malformed"]
        assert 1 == len(flow["a"].saved)


async def test_a_message_of_qos_2_is_received_when_it_is_safe() -> None:
    async with Peer() as peer, running(options(peer), {"a": {"topics": ["a"]}}, hold=True) as flow:
        peer.last.send(message(peer, "a", mid=9, qos=2))
        await until(lambda: flow["a"].held)
        assert [] == peer.last.of(PUBREC)
        flow["a"].commit()
        await until(lambda: peer.last.of(PUBREC))
        peer.last.send(packet(PUBREL | 2, b"\x00\x09"), packet(PUBREL | 2, b"\x00\x0a"))
        await until(lambda: len(peer.last.of(PUBCOMP)) == 2)

        assert [9] == mids(peer.last.of(PUBREC))
        assert [9, 10] == mids(peer.last.of(PUBCOMP))


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"\x30\xff\xff\xff\xff\x01", id="a length of five bytes"),
        pytest.param(b"\x36\x05\x00\x01a\x00\x01", id="QoS 3"),
        pytest.param(b"\x32\x02\x00\x09", id="a topic longer than its packet"),
        pytest.param(b"\x00\x00", id="a packet of no kind"),
        pytest.param(b"\x90\x00", id="an empty SUBACK"),
        pytest.param(packet(SUBACK, bytes(2**21)), id="a SUBACK of 2 MiB"),
        pytest.param(b"\xd0\x01\x00", id="a PINGRESP with a body"),
        pytest.param(b"\x31\x04\x00\x01a\xff", id="properties longer than their packet"),
    ],
)
async def test_bytes_that_are_not_mqtt_end_the_connection_and_another_is_made(garbage: bytes) -> None:
    async with Peer() as peer, running(options(peer), {"a": {"topics": ["a"]}}) as flow:
        peer.last.send(garbage)
        await until(lambda: len(peer.connections) == 2 and flow.up())

        reasons = [facts["reason"] for _, event, facts in flow.log.lines if event == "connection is degraded"]
        assert "the broker sent" in reasons[0]
        assert 1 == flow.context.reconnects


@VERSIONS
async def test_a_refused_subscription_fails_the_node_with_filter_and_code(protocol: Any) -> None:
    async with Peer() as peer:
        peer.denied = {"secret/#"}
        nodes = {
            "a": {"topics": ["secret/#"]},
            "b": {"topics": ["secret/#", "open/#"]},
            "c": {"topics": ["open/#"]},
        }
        async with running(options(peer, protocol=protocol), nodes, up=False) as flow:
            await until(lambda: flow["c"].status == "running")

            reason = "the broker refuses the subscription to `secret/#` (code 135)"
            assert ("failed", reason) == (flow["a"].status, flow["a"].reason)
            assert ("degraded", reason) == (flow["b"].status, flow["b"].reason)
            assert flow.context.up


async def test_a_refused_subscription_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mqtt_subscribing, "ASK_AGAIN", 0.05)
    async with Peer() as peer:
        peer.denied = {"a"}
        async with running(options(peer), {"a": {"topics": ["a"]}}, up=False) as flow:
            await until(lambda: flow["a"].status == "failed")
            peer.denied = set()
            await until(flow.up)

        assert 1 == len(peer.connections)


async def test_a_lower_qos_than_asked_for_is_said() -> None:
    async with Peer(suback=0) as peer, running(options(peer), {"a": {"topics": ["a"]}}, up=False) as flow:
        await until(lambda: flow["a"].status == "degraded")

        assert "the broker grants only QoS 0 for `a`" in (flow["a"].reason or "")


@pytest.mark.parametrize(
    "peer",
    [
        pytest.param(lambda: Peer(connack=None), id="it accepts and says nothing"),
        pytest.param(lambda: Peer(connack=136), id="it refuses"),
        pytest.param(lambda: Peer(suback=None), id="it does not answer SUBSCRIBE"),
    ],
)
async def test_a_hundred_failed_attempts_leave_nothing_behind(
    peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_mqtt_client, "TIMEOUT", 0.01)
    monkeypatch.setattr(_mqtt_hub, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(_mqtt_hub, "LONGEST_PAUSE", 0.001)
    async with peer() as server, running(options(server), {"a": {"topics": ["a"]}}, up=False) as flow:
        await until(lambda: flow.context.reconnects >= 5)
        files, tasks = open_files(), len(asyncio.all_tasks())
        await until(lambda: flow.context.reconnects >= 105)

        # The server's ends of the last connections may not be closed yet.
        await until(lambda: open_files() <= files + 4 and len(asyncio.all_tasks()) <= tasks + 3)
        assert "degraded" == flow.context.status


async def test_a_server_that_does_not_speak_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mqtt_client, "TIMEOUT", 0.05)
    async with Peer(connack=None) as peer, running(options(peer), {"a": {"topics": ["a"]}}, up=False) as flow:
        await until(lambda: flow.context.status == "degraded")

        assert f"127.0.0.1:{peer.port} does not answer within 0 s" == flow.context.reason


async def test_a_port_that_nobody_listens_on_is_named() -> None:
    port = free_port()
    async with running({"url": f"mqtt://127.0.0.1:{port}"}, {"a": {"topics": ["a"]}}, up=False) as flow:
        await until(lambda: flow["a"].status == "degraded")

        assert f"cannot reach 127.0.0.1:{port}: Connect call failed" in (flow["a"].reason or "")


async def test_a_name_that_does_not_exist_is_named() -> None:
    async with running({"url": "mqtt://no-such-host.invalid"}, {"a": {"topics": ["a"]}}, up=False) as flow:
        await until(lambda: flow["a"].status == "degraded")

        assert "cannot reach no-such-host.invalid:1883: " in (flow["a"].reason or "")


async def test_a_connection_that_ends_before_it_began_is_tried_again() -> None:
    async with Peer(connack=None) as peer, running(options(peer), {"a": {"topics": ["a"]}}, up=False) as flow:
        await until(lambda: peer.connections and peer.last.received)
        peer.connack = 0
        peer.last.cut()
        await until(flow.up)

        assert 2 == len(peer.connections)


@pytest.mark.parametrize(
    ("protocol", "code", "reason"),
    [
        pytest.param(5, 134, "the user name or password is wrong", id="5: password"),
        pytest.param(5, 135, "not authorized", id="5: not authorized"),
        pytest.param(5, 132, "it does not speak MQTT 5; set `protocol: 3.1.1`", id="5: version"),
        pytest.param("3.1.1", 1, "it does not speak MQTT 3.1.1", id="3.1.1: version"),
        pytest.param("3.1.1", 2, "it does not accept the client id", id="3.1.1: client id"),
        pytest.param("3.1.1", 4, "the user name or password is wrong", id="3.1.1: password"),
        pytest.param("3.1.1", 5, "not authorized", id="3.1.1: not authorized"),
    ],
)
async def test_a_refusal_that_a_person_must_see_to_fails_the_connection(
    protocol: Any, code: int, reason: str
) -> None:
    async with (
        Peer(connack=code) as peer,
        running(options(peer, protocol=protocol), {"a": {"topics": ["a"]}}, up=False) as flow,
    ):
        await until(lambda: flow["a"].status == "failed")

        assert f"the broker refuses the connection: {reason} (code {code})" == flow.context.reason
        peer.connack = 0
        await until(flow.up)


async def test_a_refusal_with_an_unknown_code_is_tried_again() -> None:
    async with Peer(connack=200) as peer, running(options(peer), {"a": {"topics": ["a"]}}, up=False) as flow:
        await until(lambda: flow.context.status == "degraded")

        assert "the broker refuses the connection: it gives no known reason (code 200)" == flow.context.reason


async def test_a_broker_without_identifiers_is_routed_by_topic() -> None:
    async with Peer() as peer:
        peer.connack = None
        async with running(
            options(peer), {"a": {"topics": ["a/#", "a/+"]}, "b": {"topics": ["b"]}}, up=False
        ) as flow:
            await until(lambda: peer.connections and peer.last.received)
            peer.last.send(packet(CONNACK, b"\x00\x00\x02\x29\x00"))  # Subscription Identifier Available: 0
            await until(flow.up)
            peer.last.send(message(peer, "a/x", mid=1), message(peer, "b", mid=2))
            await until(lambda: flow["a"].saved and flow["b"].saved)

            assert ["a/x"] == flow["a"].topics
            assert [b"\x00"] * 3 == [body[2:3] for body in peer.last.of(SUBSCRIBE)]


async def test_one_copy_with_several_identifiers_reaches_each_node_once() -> None:
    async with (
        Peer() as peer,
        running(options(peer), {"a": {"topics": ["t/#", "t/+"]}, "b": {"topics": ["t/+"]}}) as flow,
    ):
        numbers = list(flow.connection._hub._router._filters)
        properties = b"".join(b"\x0b" + varint(number) for number in numbers)
        peer.last.send(publish_packet("t/x", b"1", qos=1, mid=1, properties=properties))
        await until(lambda: peer.last.of(PUBACK))

        assert [["t/x"], ["t/x"]] == [flow["a"].topics, flow["b"].topics]


async def test_the_identifiers_of_a_former_configuration_are_not_trusted() -> None:
    async with (
        Peer() as peer,
        running(options(peer), {"a": {"topics": ["t/#"]}, "b": {"topics": ["u"]}}) as flow,
    ):
        peer.last.send(publish_packet("t/x", b"1", qos=1, mid=1, properties=b"\x0b\x01"))
        await until(lambda: peer.last.of(PUBACK))

        assert ["t/x"] == flow["a"].topics


@pytest.mark.parametrize("reason", ["", "going home"])
async def test_the_brokers_goodbye_is_told(reason: str) -> None:
    async with Peer() as peer, running(options(peer), {"a": {"topics": ["a"]}}) as flow:
        properties = b"\x1f" + text(reason) if reason else b""
        peer.last.send(packet(DISCONNECT, b"\x8b" + bytes([len(properties)]) + properties))
        await until(lambda: flow.context.reconnects == 1 and flow.up())

        told = [facts["reason"] for _, event, facts in flow.log.lines if event == "connection is degraded"]
        assert [f"the broker ended the connection: {reason or 'server shutting down'}"] == told


async def test_a_broker_that_answers_no_ping_is_given_up() -> None:
    async with Peer() as peer, running(options(peer, keepalive="1s"), {"a": {"topics": ["a"]}}) as flow:
        peer.pings = False
        await until(lambda: len(peer.connections) == 2)

        assert "the connection broke: keep alive timeout" in str(flow.log.lines)


async def test_a_broker_that_answers_pings_is_kept() -> None:
    async with Peer() as peer, running(options(peer, keepalive="1s"), {"a": {"topics": ["a"]}}) as flow:
        await asyncio.sleep(2.5)

        assert 0 == flow.context.reconnects
        assert peer.last.of(0xC0)


@pytest.mark.server
@VERSIONS
async def test_two_clients_with_one_id_back_off_and_say_so(
    tmp_path: Path, protocol: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_mqtt_hub, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(_mqtt_hub, "LONGEST_PAUSE", 60)
    nodes = {"a": {"topics": ["t"]}}
    async with Mosquitto(tmp_path / "b") as broker:
        settings = options(broker, protocol=protocol, client_id="twin")
        async with running(settings, nodes) as one, running(settings, nodes, up=False) as two:
            await until(lambda: one.counts.get("takeovers") or two.counts.get("takeovers"))
            await asyncio.sleep(1)

            told = str(one.log.lines + two.log.lines)
            assert "is there another client with the client id `twin`?" in told
            assert one.context.reconnects + two.context.reconnects < 20


@pytest.mark.parametrize(
    ("error", "lived", "pauses", "takeovers"),
    [
        pytest.param(LinkError("silent"), 12.0, [1.0] * 4, 0, id="a network that breaks now and then"),
        pytest.param(
            LinkError("closed", by_broker=True), 12.0, [1.0] * 4, 0, id="a broker that ends now and then"
        ),
        pytest.param(LinkError("silent"), 1.0, [1.0, 2.0, 4.0, 8.0], 0, id="a network that never holds"),
        pytest.param(
            LinkError("closed", by_broker=True),
            1.0,
            [1.0, 2.0, 4.0, 8.0],
            2,
            id="a broker that soon ends each",
        ),
        pytest.param(
            LinkError("taken over", code=142),
            12.0,
            [4.0, 8.0, 16.0, 32.0],
            4,
            id="another client that says so",
        ),
    ],
)
def test_another_client_is_suspected_only_where_there_can_be_one(
    error: LinkError, lived: float, pauses: list[float], takeovers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_mqtt_hub, "FIRST_PAUSE", 0.5)
    monkeypatch.setattr(_mqtt_hub, "LONGEST_PAUSE", 60.0)
    monkeypatch.setattr(random, "uniform", lambda _least, most: most)
    hub = Flow({"url": "mqtt://127.0.0.1:1"}, {}).connection._hub

    assert pauses == [hub._judge(error, lived) for _ in range(4)]
    assert takeovers == hub.counts["takeovers"]


@pytest.mark.server
@VERSIONS
async def test_a_wrong_password_fails_the_connection_and_is_never_shown(
    tmp_path: Path, protocol: Any
) -> None:
    async with Mosquitto(tmp_path / "b", users={"flow": "right"}) as broker:
        settings = options(broker, protocol=protocol, username="flow", password="canary-wrong")
        async with running(settings, {"a": {"topics": ["t"]}}, up=False) as flow:
            await until(lambda: flow["a"].status == "failed")

            assert "the broker refuses the connection: not authorized" in (flow.context.reason or "")
            assert "canary" not in repr((flow.log.lines, flow.connection, flow.connection.config))
        async with running({**settings, "password": "right"}, {"a": {"topics": ["t"]}}) as flow:
            await publish(broker.port, [("t", b"1")], username="flow", password="right")
            await until(lambda: flow["a"].saved)


@pytest.mark.server
async def test_a_topic_that_the_acl_hides_does_not_hold_up_the_others(tmp_path: Path) -> None:
    users = {"flow": "secret", "all": "secret"}
    acl = "user flow\ntopic read open/#\nuser all\ntopic readwrite #\n"
    async with Mosquitto(tmp_path / "b", users=users, acl=acl) as broker:
        settings = options(broker, username="flow", password="secret")
        async with running(settings, {"a": {"topics": ["hidden/#", "open/#"]}}) as flow:
            await publish(
                broker.port, [("hidden/x", b"1"), ("open/x", b"2")], username="all", password="secret"
            )
            await until(lambda: flow["a"].saved)

            assert ["open/x"] == flow["a"].topics


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("ca"))


class TestTls:
    pytestmark = pytest.mark.server

    @VERSIONS
    async def test_a_certificate_of_our_ca_is_trusted(
        self, tmp_path: Path, certificates: Certificates, protocol: Any
    ) -> None:
        server = certificates.issue("server", "IP:127.0.0.1")
        async with Mosquitto(tmp_path / "b", server=server) as broker:
            settings = tls(broker, protocol=protocol, ca=certificates.ca)
            async with (
                running(settings, {"a": {"topics": ["t"]}}) as one,
                running({**settings, "client_id": "two"}, {"a": {"topics": ["t"]}}),
            ):
                await flood(broker, settings)
                await until(lambda: len(one["a"].saved) == 2000)

    async def test_our_own_certificate_is_shown(self, tmp_path: Path, certificates: Certificates) -> None:
        server = certificates.issue("server", "IP:127.0.0.1")
        certificate, key = certificates.issue("client", "DNS:client")
        require = f"cafile {certificates.ca}\nrequire_certificate true"
        async with Mosquitto(tmp_path / "b", server=server, options=require) as broker:
            async with running(
                tls(broker, ca=certificates.ca, cert=certificate, key=key), {"a": {"topics": ["t"]}}
            ):
                pass
            async with running(tls(broker, ca=certificates.ca), {"a": {"topics": ["t"]}}, up=False) as flow:
                await until(lambda: flow.context.status in {"degraded", "failed"})

    @pytest.mark.parametrize(
        ("name", "trusted", "reason"),
        [
            pytest.param("IP:127.0.0.1", False, "unable to get local issuer certificate", id="another CA"),
            pytest.param("DNS:elsewhere", True, "IP address mismatch", id="another host"),
        ],
    )
    async def test_a_certificate_that_is_not_trusted_is_explained_and_not_used(
        self, tmp_path: Path, certificates: Certificates, name: str, trusted: bool, reason: str
    ) -> None:
        other = Certificates(tmp_path / "other")
        ca = certificates.ca if trusted else other.ca
        async with Mosquitto(tmp_path / "b", server=certificates.issue("server", name)) as broker:
            async with running(tls(broker, ca=ca), {"a": {"topics": ["t"]}}, up=False) as flow:
                await until(lambda: flow["a"].status == "failed")

                assert f"the certificate of 127.0.0.1:{broker.port} is not trusted: " in (
                    flow["a"].reason or ""
                )
                assert reason in (flow["a"].reason or "")
            async with running(tls(broker, insecure=True), {"a": {"topics": ["t"]}}):
                pass

    async def test_a_ca_file_that_appears_later_is_used(
        self, tmp_path: Path, certificates: Certificates
    ) -> None:
        ca = tmp_path / "ca.crt"
        async with (
            Mosquitto(tmp_path / "b", server=certificates.issue("server", "IP:127.0.0.1")) as broker,
            running(tls(broker, ca=ca), {"a": {"topics": ["t"]}}, up=False) as flow,
        ):
            await until(lambda: flow["a"].status == "failed")
            assert f"cannot use the TLS files {ca}: No such file or directory" == flow["a"].reason
            ca.write_bytes(certificates.ca.read_bytes())
            await until(flow.up)

    async def test_a_port_without_tls_is_told_apart(self, tmp_path: Path) -> None:
        async with (
            Mosquitto(tmp_path / "b") as broker,
            running(tls(broker), {"a": {"topics": ["t"]}}, up=False) as flow,
        ):
            await until(lambda: flow.context.status != "starting")

            assert f"no TLS with 127.0.0.1:{broker.port}: " in (flow.context.reason or "")

    async def test_a_server_that_is_silent_in_the_handshake_leaves_nothing_behind(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_mqtt_client, "TIMEOUT", 0.1)
        async with Peer(connack=None) as peer, running(tls(peer), {"a": {"topics": ["t"]}}, up=False) as flow:
            await until(lambda: flow.context.reconnects >= 2)
            files = open_files()
            await until(lambda: flow.context.reconnects >= 6)

            await until(lambda: open_files() <= files + 4)


def tls(broker: Any, *, protocol: Any = 5, **files: Any) -> dict[str, Any]:
    given = {name: file if isinstance(file, bool) else str(file) for name, file in files.items()}
    return {"url": f"mqtts://127.0.0.1:{broker.port}", "protocol": protocol, "tls": given}


async def flood(broker: Mosquitto, settings: dict[str, Any]) -> None:
    import ssl

    from tests.servers.mqtt_peer import connect_packet, read_packet

    context = ssl.create_default_context(cafile=settings["tls"]["ca"])
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port, ssl=context)
    writer.write(connect_packet("tls-publisher"))
    await read_packet(reader)
    writer.writelines(publish_packet("t", b"%d" % number + bytes(100)) for number in range(2000))
    await writer.drain()
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("after", [0.0, 0.001, 0.005, 0.02])
@pytest.mark.parametrize("secure", [False, True])
async def test_a_connection_can_be_cancelled_at_any_moment(after: float, secure: bool) -> None:
    async with Peer(connack=None) as peer:
        files = open_files()
        for _ in range(5):
            flow = Flow(tls(peer) if secure else options(peer), {"a": {"topics": ["a"]}})
            task = asyncio.create_task(flow.connection.run())
            await asyncio.sleep(after)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        # A thread may still be reading the CA's certificates.
        await until(
            lambda: all(connection.closed for connection in peer.connections) and open_files() <= files
        )


async def test_a_goodbye_is_said_at_the_end() -> None:
    async with Peer() as peer:
        async with running(options(peer), {"a": {"topics": ["a"]}}) as flow:
            pass
        await until(lambda: peer.last.closed)

    assert [b""] == peer.last.of(DISCONNECT)
    assert "stopped" == flow.context.status


@pytest.mark.parametrize(
    ("settings", "flags", "expiry"),
    [
        pytest.param({}, 0, 86_400, id="5"),
        pytest.param({"session_expiry": "0s"}, 2, 0, id="5 without a session"),
        pytest.param({"protocol": "3.1.1"}, 0, None, id="3.1.1"),
        pytest.param({"protocol": "3.1.1", "session_expiry": "0s"}, 2, None, id="3.1.1 without a session"),
    ],
)
async def test_the_session_is_asked_for_in_connect(
    settings: dict[str, Any], flags: int, expiry: int | None
) -> None:
    async with Peer() as peer, running(options(peer, **settings), {"a": {"topics": ["a"]}}):
        body = peer.last.of(CONNECT)[0]

        assert flags == body[7]
        assert body.endswith(text("test-flow-broker"))
        if expiry is not None:
            assert b"\x11" + expiry.to_bytes(4, "big") in body
            assert b"\x27" + (2**20).to_bytes(4, "big") in body
            assert b"\x21" + (1000).to_bytes(2, "big") in body


async def test_what_one_copy_for_each_subscription_brings_twice_is_delivered_once() -> None:
    async with Peer() as peer, running(options(peer), {"a": {"topics": ["t/#", "t/+"]}}) as flow:
        for mid, number in enumerate(flow.connection._hub._router._filters, 1):
            peer.last.send(publish_packet("t/x", b"1", qos=1, mid=mid, properties=b"\x0b" + varint(number)))
        await until(lambda: len(peer.last.of(PUBACK)) == 2)

        assert ["t/x"] == flow["a"].topics
        assert 1 == flow.counts["copies"]


async def test_a_stray_is_unsubscribed_from_by_all_names_it_can_have_and_only_once() -> None:
    async with Peer() as peer, running(options(peer), {"a": {"topics": ["+/wanted"]}}) as flow:
        peer.last.send(message(peer, "old/x", mid=1))
        await until(lambda: peer.last.of(UNSUBSCRIBE))
        peer.last.send(message(peer, "old/x", mid=2))
        await until(lambda: len(peer.last.of(PUBACK)) == 2)
        await asyncio.sleep(0.05)

        assert 1 == len(peer.last.of(UNSUBSCRIBE))
        asked = {"old/x", "old/+", "+/x", "+/+", "old/#", "+/#", "#", "old/x/#", "old/+/#", "+/x/#", "+/+/#"}
        assert asked == filters(peer.last.of(UNSUBSCRIBE)[0][3:])
        assert 2 == flow.counts["unrouted"]


def filters(body: bytes) -> set[str]:
    found = set()
    while body:
        length = int.from_bytes(body[:2], "big")
        found.add(body[2 : 2 + length].decode())
        body = body[2 + length :]
    return found


async def test_messages_that_come_with_connack_are_not_lost() -> None:
    async with Peer(session_present=True) as peer:
        peer.greeting = [
            publish_packet("a", b"%d" % number, qos=1, mid=number, properties=b"") for number in range(1, 4)
        ]
        async with running(options(peer), {"a": {"topics": ["a"]}}) as flow:
            await until(lambda: len(flow["a"].saved) == 3)

            assert [1, 2, 3] == flow["a"].payloads
            assert {} == flow.counts


async def test_a_storm_is_read_at_a_rhythm_and_calm_again_on_arrival() -> None:
    async with Peer() as peer, running(options(peer), {"a": {"topics": ["a"]}}) as flow:
        reading = flow.reading
        peer.last.send(*(message(peer, "a", qos=0) for _ in range(200)))
        await until(lambda: not reading._listening)
        peer.last.send(*(message(peer, "a", qos=0) for _ in range(200)))
        await until(lambda: reading._listening)
        peer.last.send(message(peer, "a", qos=0))
        await until(lambda: len(flow["a"].saved) == 401)


async def test_a_message_in_many_pieces_is_put_together() -> None:
    async with Peer() as peer, running(options(peer, max_packet="8MiB"), {"a": {"topics": ["a"]}}) as flow:
        whole = message(peer, "a", bytes(range(256)) * 8192, mid=1) + message(peer, "a", b"end", mid=2)
        for start in range(0, len(whole), 100_003):
            peer.last.send(whole[start : start + 100_003])
            await asyncio.sleep(0)
        await until(lambda: len(flow["a"].saved) == 2)

        assert [bytes(range(256)) * 8192, b"end"] == [record.data for record in flow["a"].saved]


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        pytest.param("mqtt://broker.invalid", True, id="in clear text"),
        pytest.param("mqtts://broker.invalid", False, id="with TLS"),
        pytest.param("mqtt://127.0.0.1:1", False, id="on this machine"),
    ],
)
async def test_a_password_in_clear_text_is_warned_of(url: str, warned: bool) -> None:
    settings = {"url": url, "username": "me", "password": "canary"}
    async with running(settings, {"a": {"topics": ["a"]}}, up=False) as flow:
        await until(lambda: flow.context.status == "degraded")

        assert warned == any("in clear text" in event for _, event, _ in flow.log.lines)
        assert "canary" not in repr(flow.log.lines)
