"""``http_out`` and a server that misbehaves: what is sent, what is repeated, what fails, what is never reached."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from yarl import URL

from flowrunner import Context, Message, NodeFailed, RetryLater
from flowrunner_nodes import _http_client
from flowrunner_nodes._http_addresses import is_forbidden
from flowrunner_nodes._http_checks import origin_of
from flowrunner_nodes.http_out import HttpOut
from tests.nodes.harness import RecordingLog, SetClock, message, options, write_all
from tests.nodes.influx_harness import deliver
from tests.nodes.mqtt_harness import until
from tests.servers.fake_http import Drop, FakeHttp, Fault, Raw, Received
from tests.servers.fake_influx import Hang, Reply, Reset
from tests.servers.mosquitto import Certificates, free_port

TOKEN = "canary-5f1d-never-show-this"


@pytest.fixture
async def server() -> AsyncIterator[FakeHttp]:
    async with FakeHttp() as running:
        yield running


def sink_of(**given: Any) -> HttpOut:
    context = Context("flow", "tell", log=RecordingLog(), clock=SetClock())
    return HttpOut(options(HttpOut, **given), context)


@asynccontextmanager
async def opened(server: FakeHttp | str, path: str = "/in", **given: Any) -> AsyncIterator[HttpOut]:
    """Return an open sink that writes to a server."""
    url = server if isinstance(server, str) else server.url + path
    node = sink_of(**{"url": url, "timeout": "2s", **given})
    await node.open()
    try:
        yield node
    finally:
        await node.close()


def numbered(count: int) -> list[Message]:
    return [message({"n": number}, time=1_000 + number) for number in range(count)]


def numbers(requests: list[Received]) -> list[Any]:
    """Return the numbers that came, of a batch as a list."""
    return [
        [each["n"] for each in request.json] if isinstance(request.json, list) else request.json["n"]
        for request in requests
    ]


async def put_off(node: HttpOut, messages: list[Message]) -> RetryLater:
    with pytest.raises(RetryLater) as later:
        await deliver(node, messages, attempts=1)
    return later.value


# What is sent


@pytest.mark.parametrize(
    ("given", "payload", "expected"),
    [
        pytest.param({}, {"a": "ä"}, b'{"a":"\xc3\xa4"}', id="the payload as JSON"),
        pytest.param({}, "on", b'"on"', id="a text as JSON"),
        pytest.param({}, None, b"null", id="null"),
        pytest.param({"body": {"v": "=payload.x", "k": 1}}, {"x": 2}, b'{"v":2,"k":1}', id="a body"),
        pytest.param({"body": "='n ' + string(payload)", "format": "text"}, 7, b"n 7", id="a text"),
    ],
)
async def test_payloads_become_bodies(
    server: FakeHttp, given: dict[str, Any], payload: Any, expected: bytes
) -> None:
    async with opened(server, **given) as node:
        assert [] == await write_all(node, [message(payload)])

    [request] = server.accepted
    kind = "text/plain; charset=utf-8" if given.get("format") else "application/json"
    assert ("POST", "/in", expected, kind) == (
        request.method,
        request.target,
        request.body,
        request.headers["content-type"],
    )


async def test_method_headers_and_token_are_those_of_the_options(server: FakeHttp) -> None:
    given = {
        "method": "PUT",
        "token": TOKEN,
        "headers": {"X-Room": "=payload.room", "X-N": 1, "content-type": "application/ld+json"},
    }
    async with opened(server, "/a%20b?x=1", **given) as node:
        assert [] == await write_all(node, [message({"room": "hall"})])

    [request] = server.accepted
    assert ("PUT", "/a%20b?x=1") == (request.method, request.target)
    assert {
        "x-room": "hall",
        "x-n": "1",
        "content-type": "application/ld+json",
        "authorization": f"Bearer {TOKEN}",
        "user-agent": "flowrunner",
        "accept-encoding": "identity",
    }.items() <= request.headers.items()


async def test_an_address_may_be_made_of_the_message(server: FakeHttp) -> None:
    given: dict[str, Any] = {
        "url": f"='{server.url}/rooms/' + payload.room",
        "allow_hosts": [f"127.0.0.1:{server.port}"],
    }
    async with opened(server, **given) as node:
        assert [] == await write_all(node, [message({"room": "living room"}), message({"room": "ä?x=1"})])

    assert ["/rooms/living%20room", "/rooms/%C3%A4?x=1"] == [request.target for request in server.accepted]


async def test_messages_are_sent_one_after_the_other_over_one_connection(server: FakeHttp) -> None:
    server.judge = lambda request: Reply(200, '{"ok": true}')
    async with opened(server) as node:
        assert [] == await write_all(node, numbered(50))

    assert list(range(50)) == numbers(server.accepted)
    assert (1, 1) == (server.connections, server.at_once)


async def test_several_are_sent_at_a_time_where_that_is_wanted(server: FakeHttp) -> None:
    server.seconds = 0.02
    async with opened(server, concurrency=4) as node:
        assert 4 == node.limits().max_messages
        assert [] == await write_all(node, numbered(20))

    assert set(range(20)) == set(numbers(server.accepted))
    assert 4 == server.at_once


async def test_a_message_has_the_same_key_whenever_it_is_sent_and_no_other_has_it(server: FakeHttp) -> None:
    server.script.extend([Reset(after_commit=True), Hang()])
    async with opened(server, idempotency_key=True, timeout="200ms") as node:
        delivery = await deliver(node, [*numbered(2), message({"n": 1}, topic="other", time=1_001)])

    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert 2 == len(delivery.retries)
    assert 1 == len(set(keys[:3]))
    assert 3 == len(set(keys))
    assert keys[0].startswith("flow-tell-1000-1-")


# What is repeated


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Reply(503, "later"), id="503"),
        pytest.param(Reply(500), id="500"),
        pytest.param(Reply(429), id="429"),
        pytest.param(Reply(408), id="408"),
        pytest.param(Reply(425), id="425"),
        pytest.param(Hang(), id="black hole"),
        pytest.param(Reset(), id="reset before it is done"),
        pytest.param(Reset(after_commit=True), id="reset after it is done"),
        pytest.param(Raw(b""), id="end without an answer"),
        pytest.param(Raw(b"nonsense\r\n\r\n"), id="not HTTP"),
        pytest.param(
            Raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"), id="a header without end"
        ),
        pytest.param(Reply(503, "x" * 500, seconds_a_byte=1.0), id="503, a byte a second"),
    ],
)
async def test_what_may_be_accepted_later_is_sent_again_until_it_is(server: FakeHttp, fault: Fault) -> None:
    server.script.extend([None, fault, fault, None])
    async with opened(server, timeout="300ms") as node:
        delivery = await deliver(node, numbered(3))

    assert ([], 2) == (delivery.failed, len(delivery.retries))
    assert [0, 1, 2] == list(dict.fromkeys(numbers(server.accepted)))
    assert [[1, 2], [1, 2]] == [[m.payload["n"] for m in later.remaining or ()] for later in delivery.retries]
    assert {False} == {later.operator for later in delivery.retries}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("999999", 600.0, id="at most ten minutes"),
        pytest.param("Sun, 01 Mar 2026 10:00:30 GMT", 30.0, id="a date"),
        pytest.param("soon", None, id="nonsense"),
    ],
)
async def test_the_pause_that_the_server_asks_for_is_passed_on(
    server: FakeHttp, header: str, expected: float | None
) -> None:
    server.script.append(Reply(503, "busy", {"Retry-After": header}))
    async with opened(server) as node:
        later = await put_off(node, numbered(1))

    assert (f"{server.url} answered 503: busy", expected) == (later.reason, later.after)


async def test_of_several_at_a_time_those_that_were_not_accepted_are_left_in_their_order(
    server: FakeHttp,
) -> None:
    server.judge = lambda request: {
        1: Reply(503, "", {"Retry-After": "3"}),
        3: Reply(401),
        2: Reply(404),
    }.get(request.json["n"])
    async with opened(server, concurrency=4) as node:
        with pytest.raises(RetryLater) as later:
            await node.write(numbered(6))

    assert [1, 3, 4, 5] == [each.payload["n"] for each in later.value.remaining or ()]
    assert (3.0, True) == (later.value.after, later.value.operator)
    assert [2] == [failed.payload["n"] for failed, _ in node.context.failures]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        pytest.param(Reply(401, "who?"), "answered 401: who?; check the `token` or the headers", id="401"),
        pytest.param(Reply(407), "answered 407; there is a proxy in between", id="407"),
        pytest.param(Reply(304), "answered 304; redirects are not followed: correct `url`", id="304"),
    ],
)
async def test_what_a_person_must_mend_keeps_the_messages(server: FakeHttp, reply: Reply, words: str) -> None:
    server.script.append(reply)
    async with opened(server) as node:
        later = await put_off(node, numbered(1))

    assert words in later.reason
    assert later.operator


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(server: FakeHttp, status: int) -> None:
    async with FakeHttp() as elsewhere:
        server.script.append(Reply(status, "", {"Location": f"{elsewhere.url}/x"}))
        async with opened(server, token=TOKEN) as node:
            later = await put_off(node, numbered(1))

        assert f"it points to {elsewhere.url}/x" in later.reason
        assert later.operator
        assert [] == elsewhere.requests


async def test_a_server_that_is_not_there_is_a_reason_to_come_again() -> None:
    async with opened(f"http://127.0.0.1:{free_port()}/secret-path-of-mine") as node:
        later = await put_off(node, numbered(1))

    assert "Cannot connect" in later.reason
    assert "secret-path" not in later.reason


async def test_a_connection_that_the_server_has_ended_meanwhile_costs_nothing(server: FakeHttp) -> None:
    server.judge = lambda request: Drop()
    async with opened(server) as node:
        for each in numbered(5):
            assert [] == await write_all(node, [each])
            await asyncio.sleep(0.02)

    assert list(range(5)) == numbers(server.accepted)
    assert 5 == server.connections


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(200, "x" * 500, seconds_a_byte=1.0), id="a byte a second"),
        pytest.param(Reply(200, "x" * 1_000_000), id="a megabyte"),
        pytest.param(Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab"), id="cut off"),
    ],
)
async def test_the_body_of_a_success_does_not_matter(server: FakeHttp, reply: Fault) -> None:
    server.script.append(reply)
    async with opened(server, timeout="10s") as node:
        started = time.monotonic()
        assert [] == await write_all(node, numbered(2))

    assert time.monotonic() - started < 3
    assert 2 == len(server.requests)


async def test_a_write_that_hangs_can_be_cancelled(server: FakeHttp) -> None:
    server.script.append(Hang())
    async with opened(server) as node:
        writing = asyncio.create_task(node.write(numbered(1)))
        await until(lambda: server.requests)
        writing.cancel()

        with pytest.raises(asyncio.CancelledError):
            await writing


# What fails


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 410, 413, 422])
async def test_a_refused_message_fails_alone_with_the_words_of_the_server(
    server: FakeHttp, status: int
) -> None:
    server.judge = lambda request: Reply(status, "not\nthis one") if request.json["n"] == 1 else None
    async with opened(server) as node:
        delivery = await deliver(node, numbered(3))

    assert [{"n": 1}] == delivery.failed
    assert [f"{server.url} answered {status}: not this one"] == delivery.reasons
    assert ([0, 2], []) == (numbers(server.accepted), delivery.retries)


async def test_the_words_of_a_slow_refusal_are_not_waited_for(server: FakeHttp) -> None:
    server.script.append(Reply(400, "no" * 500, seconds_a_byte=0.7))
    async with opened(server, timeout="10s") as node:
        [reason] = await write_all(node, numbered(1))

    assert f"{server.url} answered 400: no" == reason


async def test_long_words_are_cut(server: FakeHttp) -> None:
    server.script.append(Reply(400, "x" * 100_000))
    async with opened(server) as node:
        [reason] = await write_all(node, numbered(1))

    assert f"{server.url} answered 400: {'x' * 300}…" == reason


async def test_no_secret_is_in_what_a_server_repeats(server: FakeHttp) -> None:
    key, hook = "key-7b1c-canary", "hook-91aa-canary"

    def repeat(request: Received) -> Fault:
        return Reply(400, f"{request.target} {request.headers['authorization']} {request.headers['x-key']}")

    server.judge = repeat
    async with opened(server, f"/api/{hook}?x={hook}", token=TOKEN, headers={"X-Key": f"Key {key}"}) as node:
        [reason] = await write_all(node, numbered(1))

    assert f"{server.url} answered 400: /api/***?x=*** Bearer *** ***" == reason


@pytest.mark.parametrize(
    ("given", "payload", "reason"),
    [
        pytest.param(
            {"url": "=payload"}, "http://evil/x", "'evil', which is not in `allow_hosts`", id="host"
        ),
        pytest.param({"url": "=payload"}, "http://good:81/", "'good:81', which is not", id="port"),
        pytest.param({"url": "=payload"}, "http://good@evil/", "not an address", id="credentials"),
        pytest.param({"url": "=payload"}, "http://good\\@evil/", "not an address", id="backslash"),
        pytest.param({"url": "=payload"}, "ftp://good/", "not an address", id="scheme"),
        pytest.param({"url": "=payload"}, "http://good/\n", "not an address", id="line break"),
        pytest.param({"url": "=payload"}, "http://good:x/", "not an address", id="bad port"),
        pytest.param({"url": "=payload"}, f"http://{'a' * 64}.b/", "not an address", id="long label"),
        pytest.param({"url": "=payload"}, "http://good/a/../admin", "`.` or `..` in its path", id="dots"),
        pytest.param({"url": "=payload"}, "http://good/a/%2e%2e/admin", "`.` or `..`", id="coded dots"),
        pytest.param({"url": "=1"}, "", "`url` must be a text, got a number", id="no text"),
        pytest.param({"url": "=payload.x"}, "", "`url`: ", id="url cannot be evaluated"),
        pytest.param({"body": "=payload.x"}, "", "`body`: ", id="body cannot be evaluated"),
        pytest.param({"format": "text", "body": "=1"}, "", "must be a text, got a number", id="text"),
        pytest.param({}, "\ud800", "not valid Unicode", id="lone surrogate"),
        pytest.param(
            {"headers": {"X-A": "=payload"}}, "a\r\nX-B: c", "characters that no header", id="injection"
        ),
        pytest.param({"headers": {"X-A": "=[1]"}}, "", "`headers.X-A` must be a text or a number", id="list"),
    ],
)
async def test_a_message_that_cannot_be_sent_fails_alone(
    server: FakeHttp, given: dict[str, Any], payload: str, reason: str
) -> None:
    async with opened(server, **{"allow_hosts": ["good"], **given}) as node:
        [told] = await write_all(node, [message(payload)])

    assert reason in told
    assert [] == server.requests


async def test_an_address_that_two_would_read_in_two_ways_is_not_used(
    server: FakeHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(server) as node:
        for other in ("http://elsewhere/", "http://[::1/"):
            monkeypatch.setattr(_http_client, "URL", lambda url, other=other: URL(other))
            [reason] = await write_all(node, numbered(1))
            assert "`url` can" in reason
    assert [] == server.requests


# Batches


async def test_a_batch_is_one_json_array(server: FakeHttp) -> None:
    async with opened(server, batch={"max_messages": 10, "max_age": "2s"}) as node:
        assert (10, 2.0) == (node.limits().max_messages, node.limits().max_age)
        assert [] == await write_all(node, numbered(4))
        assert [] == await write_all(node, numbered(1))

    assert [[0, 1, 2, 3], [0]] == numbers(server.accepted)


async def test_messages_for_other_addresses_or_with_other_headers_are_other_requests(
    server: FakeHttp,
) -> None:
    async with opened(server, batch={}, headers={"X-N": "=payload.n / 2"}) as node:
        assert [] == await write_all(node, numbered(4))

    assert [[0, 1], [2, 3]] == numbers(server.accepted)


@pytest.mark.parametrize("status", [400, 422])
async def test_the_messages_at_fault_are_found_and_the_others_are_written(
    server: FakeHttp, status: int
) -> None:
    bad = {3, 40, 41}
    server.judge = lambda request: (
        Reply(status, "bad") if bad & {each["n"] for each in request.json} else None
    )
    async with opened(server, batch={}) as node:
        delivery = await deliver(node, numbered(64))

    assert [{"n": number} for number in sorted(bad)] == delivery.failed
    assert sorted(set(range(64)) - bad) == [n for part in numbers(server.accepted) for n in part]
    assert len(server.requests) <= 2 * 3 * 6 + 1


async def test_a_batch_that_is_too_large_is_sent_in_pieces(server: FakeHttp) -> None:
    server.judge = lambda request: Reply(413) if len(request.json) > 10 else None
    async with opened(server, batch={}) as node:
        assert [] == await write_all(node, numbered(64))

    assert list(range(64)) == [n for part in numbers(server.accepted) for n in part]


async def test_a_batch_is_not_halved_for_what_is_about_no_message(server: FakeHttp) -> None:
    server.judge = lambda request: Reply(404, "nothing here")
    async with opened(server, batch={}) as node:
        delivery = await deliver(node, numbered(8))

    assert (8, 1) == (len(delivery.failed), len(server.requests))


async def test_after_an_outage_amid_a_divided_batch_only_what_is_left_is_sent(server: FakeHttp) -> None:
    server.script.extend([Reply(413), None, Reply(413), Reply(503)])
    async with opened(server, batch={}, headers={"X-N": "=payload.n / 8"}) as node:
        delivery = await deliver(node, numbered(16))

    assert [12] == [len(later.remaining or ()) for later in delivery.retries]
    assert list(range(16)) == [n for part in numbers(server.accepted) for n in part]


# What is never reached


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
    ],
)
def test_addresses_of_metadata_and_of_the_link_are_forbidden(address: str) -> None:
    assert is_forbidden(address)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.2", "fd12::1", "1.1.1.1", "nas"]
)
def test_the_own_machine_private_networks_and_the_world_are_not(address: str) -> None:
    assert not is_forbidden(address)


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Return what names stand for; each look takes the next address."""
    names: dict[str, list[str]] = {}
    theirs = socket.getaddrinfo

    def ours(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        known = names.get(host)
        return theirs(known.pop(0) if known else host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", ours)
    return names


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254"])
async def test_a_name_that_leads_to_a_forbidden_address_is_not_connected_to(
    resolve: dict[str, list[str]], address: str
) -> None:
    resolve["metadata.test"] = [address]
    async with opened("http://metadata.test/latest") as node:
        later = await put_off(node, numbered(1))

    assert "is an address that flows must not reach" in later.reason
    assert later.operator


async def test_a_name_that_changes_its_address_is_looked_at_each_time(
    resolve: dict[str, list[str]], server: FakeHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve["rebinding.test"] = ["127.0.0.1", "169.254.169.254"]
    server.judge = lambda request: Drop()
    async with opened(f"http://rebinding.test:{server.port}/") as node:
        assert [] == await write_all(node, numbered(1))
        assert node._client is not None
        connector: Any = node._client._session.connector
        connector.clear_dns_cache()
        await asyncio.sleep(0.02)
        later = await put_off(node, numbered(1))

    assert "must not reach" in later.reason
    assert 1 == len(server.requests)


async def test_the_proxies_of_the_environment_are_not_used(
    server: FakeHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeHttp() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with opened(server) as node:
            assert [] == await write_all(node, numbered(1))

        assert (1, []) == (len(server.accepted), proxy.requests)


async def test_cookies_are_not_kept(server: FakeHttp) -> None:
    server.judge = lambda request: Reply(200, "", {"Set-Cookie": "a=b"})
    async with opened(server) as node:
        assert [] == await write_all(node, numbered(2))

    assert "cookie" not in server.accepted[1].headers


# TLS


async def test_the_certificate_of_the_server_is_checked(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.issue("server", "IP:127.0.0.1"))
    async with FakeHttp(tls=context) as server:
        async with opened(server, tls={"ca": str(certificates.ca)}) as node:
            assert [] == await write_all(node, numbered(1))
        async with opened(server, tls={"insecure": True}) as node:
            assert [] == await write_all(node, numbered(1))
        async with opened(server) as node:
            later = await put_off(node, numbered(1))

    assert "certificate verify failed" in later.reason
    assert 2 == len(server.accepted)


async def test_a_file_of_certificates_that_is_not_there_is_for_a_person_to_mend() -> None:
    with pytest.raises(NodeFailed, match=r"tls\.ca"):
        await sink_of(url="https://nas/", tls={"ca": "/no/such/file"}).open()


# Options


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        pytest.param({"url": "nas/x"}, "FR025", "begin with http://", id="no scheme"),
        pytest.param({"url": "http://u:canary@nas/"}, "FR025", "no user or password", id="password"),
        pytest.param({"url": 7}, "FR025", "begin with http://", id="a number"),
        pytest.param({"url": "http://169.254.169.254/latest"}, "FR025", "must not reach", id="metadata"),
        pytest.param({"url": "http://[fe80::1]/"}, "FR025", "must not reach", id="link-local"),
        pytest.param({"url": "='http://nas/' + topic"}, "FR021", "allow_hosts", id="CEL without hosts"),
        pytest.param({"allow_hosts": ["http://nas"]}, "FR025", "is not a host", id="address for a host"),
        pytest.param({"allow_hosts": ["nas/x"]}, "FR025", "is not a host", id="path behind a host"),
        pytest.param({"method": "GET"}, "literal_error", "", id="method"),
        pytest.param({"headers": {"a b": "c"}}, "FR025", "not the name of a header", id="header name"),
        pytest.param({"headers": {"Host": "c"}}, "FR025", "set by flowrunner", id="our header"),
        pytest.param({"headers": {"X-A": "a\nb"}}, "FR025", "no header has", id="header value"),
        pytest.param({"headers": {"X-A": True}}, "FR022", "a text or a number", id="header bool"),
        pytest.param({"token": "a b"}, "FR025", "no token has", id="token"),
        pytest.param({"token": "a", "headers": {"authorization": "b"}}, "FR025", "exclude", id="two tokens"),
        pytest.param(
            {"batch": {}, "idempotency_key": True}, "FR025", "`batch` goes with", id="batch and key"
        ),
        pytest.param({"batch": {}, "concurrency": 2}, "FR025", "`batch` goes with", id="batch and more"),
        pytest.param({"batch": {}, "format": "text"}, "FR025", "`batch` goes with", id="batch and text"),
        pytest.param({"tls": {"insecure": True}}, "FR025", "https://", id="TLS without TLS"),
    ],
)
def test_a_wrong_option_is_refused_with_the_reason(given: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        options(HttpOut, **{"url": "http://nas/", **given})

    [error] = refused.value.errors()
    assert code == error["type"]
    assert words in error["msg"]
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://NAS/x", "http://nas"),
        ("http://nas:80/", "http://nas"),
        ("https://nas:80", "https://nas:80"),
        ("https://[::1]:8443/x", "https://[::1]:8443"),
    ],
)
def test_a_place_is_scheme_host_and_port(url: str, expected: str) -> None:
    assert expected == str(origin_of(url))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"url": "http://nas/hooks/secret"}, 'POST http://nas {"x":1}', id="literal"),
        pytest.param(
            {"url": "='http://nas/' + topic", "allow_hosts": ["nas"], "method": "PUT"},
            'PUT http://nas/t {"x":1}',
            id="CEL",
        ),
    ],
)
def test_a_message_is_shown_without_what_may_be_secret(given: dict[str, Any], expected: str) -> None:
    assert expected == sink_of(**given).show(message({"x": 1}))
