"""The connection type ``home_assistant``: the way there, the token, what goes wrong, and commands."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Response

from flowrunner_nodes import _ha_hub, _ha_login, _ha_socket
from flowrunner_nodes._ha_link import Link, Lost, NotConnected, Refused
from flowrunner_nodes.home_assistant import HomeAssistantOptions
from tests.nodes.ha_harness import Flow, running, until
from tests.servers.cut_proxy import CutProxy
from tests.servers.fake_home_assistant import TOKEN, FakeHomeAssistant
from tests.servers.mosquitto import Certificates
from tests.servers.programs import free_port

AUTH_REQUIRED = '{"type": "auth_required"}'


@pytest.fixture
async def home() -> AsyncIterator[FakeHomeAssistant]:
    async with FakeHomeAssistant() as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ha_hub, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(_ha_hub, "_refused", {})


async def why(flow: Flow, status: str) -> str:
    """Return the reason once the connection has a status."""
    await until(lambda: flow.context.status == status)
    return flow.context.reason or ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"url": "homeassistant:8123"}, "must begin with http", id="no scheme"),
        pytest.param({"url": "http://[::1"}, "must begin with http", id="no address"),
        pytest.param({"url": "ws://h:1"}, "must begin with http", id="another scheme"),
        pytest.param({"url": "http://u:p@h"}, "a user or a password", id="a password"),
        pytest.param({"url": "http://h?x=1"}, "must end before", id="a query"),
        pytest.param({"url": "http://h/api/websocket"}, "before the `/api`", id="the whole path"),
        pytest.param({"url": "http://h/home/api/"}, "before the `/api`", id="the path of the REST API"),
        pytest.param({"token": "a b"}, "characters that no token has", id="a space in the token"),
        pytest.param({"proxy": "socks5://h"}, "must begin with http://", id="another proxy"),
        pytest.param(
            {"tls": {"insecure": True}}, "needs a `url` that begins with https", id="tls without https"
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as refused:
        HomeAssistantOptions(**{"url": "http://h", "token": "t", **options})

    assert "a b" not in str(refused.value)


def test_a_host_may_be_called_api() -> None:
    assert "http://api" == HomeAssistantOptions(url="http://api/", token="t").url


async def test_the_path_of_a_reverse_proxy_is_kept(home: FakeHomeAssistant) -> None:
    home.path = "/home/api/websocket"
    async with running(home, {"a": {}}, url=f"http://127.0.0.1:{home.port}/home/") as flow:
        assert flow.up()


@pytest.mark.parametrize("compression", ["none", "deflate"])
async def test_compressed_or_not_the_messages_are_the_same(home: FakeHomeAssistant, compression: str) -> None:
    async with running(home, {"a": {}}, compression=compression) as flow:
        for number in range(100):
            home.set("sensor.a", str(number), {"filler": "x" * number * 100})
        await until(lambda: len(flow["a"].saved) == 100)

    assert [str(number) for number in range(100)] == flow["a"].states


@pytest.mark.parametrize("compression", ["none", "deflate"])
async def test_a_message_that_is_too_long_names_the_option(home: FakeHomeAssistant, compression: str) -> None:
    home.set("sensor.a", "1", {"blob": "x" * 100_000})
    async with running(home, {"a": {}}, up=False, compression=compression, max_size="64KiB") as flow:
        assert "longer than `max_size`" in await why(flow, "failed")


async def test_a_refused_token_is_tried_again_only_after_a_quarter_of_an_hour(
    home: FakeHomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.token = "another"
    async with running(home, {"a": {}}, up=False) as flow:
        assert "refuses the token: Invalid access token" in await why(flow, "failed")
        await asyncio.sleep(0.1)
    async with running(home, {"a": {}}, up=False) as reloaded:
        assert "has refused this token; the next attempt is in 15 min" in await why(reloaded, "failed")
        await asyncio.sleep(0.1)

    assert 1 == home.auths
    assert all(TOKEN not in text for text in (flow.logged(), reloaded.logged()))


async def test_a_token_that_is_good_again_is_taken_at_the_next_attempt(
    home: FakeHomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ha_hub, "AUTH_PAUSES", (0.05, 0.3))
    home.token = "another"
    async with running(home, {"a": {}}, up=False) as flow:
        await until(lambda: home.auths == 2)
        assert "failed" == flow.context.status
        home.token = TOKEN
        await until(flow.up)

    assert 3 == home.auths
    assert {} == _ha_hub._refused


async def test_a_redirect_is_not_followed_and_its_target_receives_nothing(home: FakeHomeAssistant) -> None:
    async with FakeHomeAssistant() as capture:
        home.redirect = f"http://127.0.0.1:{capture.port}/api/websocket"
        async with running(home, {"a": {}}, up=False) as flow:
            assert f"redirects to http://127.0.0.1:{capture.port}/api/websocket" in await why(flow, "failed")

        assert 0 == capture.connects


async def test_a_proxy_of_the_environment_is_not_used(
    home: FakeHomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with running(home, {"a": {}}) as flow:
        assert flow.up()


async def test_a_proxy_of_the_options_is_used(home: FakeHomeAssistant) -> None:
    asked: list[bytes] = []

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(tunnel, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        async with running(home, {"a": {}}, up=False, proxy=f"http://127.0.0.1:{port}") as flow:
            assert "cannot connect" in await why(flow, "degraded")

    assert asked[0].startswith(f"CONNECT 127.0.0.1:{home.port} ".encode())
    assert TOKEN.encode() not in b"".join(asked)


@pytest.mark.parametrize(
    ("status", "health", "reason"),
    [
        pytest.param(403, "failed", "ip_bans.yaml", id="banned"),
        pytest.param(404, "failed", "is `url` the address", id="another server"),
        pytest.param(502, "degraded", "status 502", id="the reverse proxy is up, Home Assistant is not"),
        pytest.param(503, "degraded", "status 503", id="starting"),
    ],
)
async def test_an_answer_that_is_no_websocket_is_explained(
    home: FakeHomeAssistant, status: int, health: str, reason: str
) -> None:
    home.status = status
    async with running(home, {"a": {}}, up=False) as flow:
        assert reason in await why(flow, health)
        if health == "degraded":
            home.status = None
            await until(flow.up)


async def test_a_port_where_nobody_listens_is_tried_until_somebody_does(home: FakeHomeAssistant) -> None:
    await home.stop()
    async with running(home, {"a": {}}, up=False) as flow:
        assert "cannot connect to 127.0.0.1" in await why(flow, "degraded")
        await home.start()
        await until(flow.up)

        assert flow.context.reconnects >= 1


async def test_a_server_that_says_nothing_is_given_up(
    home: FakeHomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ha_login, "_TIMEOUT", 0.05)
    home.silent = True
    async with running(home, {"a": {}}, up=False) as flow:
        assert "says nothing" in await why(flow, "degraded")


async def test_a_server_that_speaks_another_language_is_told(home: FakeHomeAssistant) -> None:
    home.greeting = "auth_hello"
    async with running(home, {"a": {}}, up=False) as flow:
        assert "not what Home Assistant says first: 'auth_hello'" in await why(flow, "failed")


@asynccontextmanager
async def speaking(texts: list[str], *, date: str = "", close: int = 0) -> AsyncIterator[str]:
    """Say the texts to whoever connects, then close with a code or else answer commands; yield the address."""

    async def speak(socket: ServerConnection) -> None:
        for text in texts:
            await socket.send(text)
        if close:
            await socket.close(close, "restarting")
        async for command in socket:
            await socket.send(json.dumps({"type": "result", "id": json.loads(command).get("id", 0)}))

    def tell(_socket: ServerConnection, _request: Any, response: Response) -> None:
        del response.headers["Date"]
        if date:
            response.headers["Date"] = date

    async with serve(speak, "127.0.0.1", 0, process_response=tell) as server:
        yield f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@pytest.mark.parametrize(
    "texts", [pytest.param([], id="before a word"), pytest.param([AUTH_REQUIRED], id="before the token")]
)
async def test_a_server_that_ends_the_connection_at_once_is_tried_again(texts: list[str]) -> None:
    async with (
        speaking(texts, close=1012) as url,
        running(None, {"a": {}}, up=False, url=url, token="t") as flow,
    ):
        assert "the connection was closed (1012 restarting)" == await why(flow, "degraded")
        await until(lambda: flow.context.reconnects >= 1)


async def test_what_is_no_message_is_counted_and_passed_over() -> None:
    garbage = ["{", '{"type": 5}', "nonsense", '["x", 5]', "[" * 20_000]
    texts = [*garbage, '{"type": "pong"}', '{"type": "auth_ok", "ha_version": "2026.11.1"}']
    async with (
        speaking(texts) as url,
        running(None, {"a": {}}, up=False, url=url, token="t") as flow,
    ):
        await until(lambda: flow.context.up)
        assert "2026.11.1" == (await flow.connection.session()).version
        assert len(garbage) + 1 == flow.connection.counts["malformed"]


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        pytest.param("Sun, 01 Mar 2026 10:00:00 GMT", 1_772_359_200_000_000, id="a date"),
        pytest.param("yesterday", None, id="no date"),
        pytest.param("", None, id="none"),
    ],
)
async def test_the_clock_of_home_assistant_is_known_if_it_tells_it(date: str, expected: int | None) -> None:
    async with (
        speaking(['{"type": "auth_ok"}'], date=date) as url,
        running(None, {"a": {}}, up=False, url=url, token="t") as flow,
    ):
        time = (await flow.connection.session()).server_time()

    assert time is None if expected is None else time is not None and 0 <= time - expected < 5_000_000


async def test_a_client_that_is_thrown_out_comes_back(home: FakeHomeAssistant) -> None:
    home.kicks = True
    async with running(home, {"a": {}}, up=False) as flow:
        await until(lambda: home.auths == 3)
        assert "closed" in await why(flow, "degraded")
        home.kicks = False
        await until(flow.up)


async def test_a_handshake_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ha_socket, "OPEN_TIMEOUT", 0.05)

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(half, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with running(None, {"a": {}}, up=False, url=url, token="t") as flow:
            assert "does not answer within" in await why(flow, "degraded")


async def test_https_needs_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    certificate, key = certificates.issue("server", "IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with FakeHomeAssistant(tls=context) as home:
        async with running(home, {"a": {}}, up=False) as stranger:
            assert "is not trusted" in await why(stranger, "failed")
        async with running(home, {"a": {}}, tls={"ca": str(certificates.ca)}) as trusting:
            assert trusting.up()
        async with running(home, {"a": {}}, tls={"insecure": True}) as careless:
            assert careless.up()
        async with running(home, {"a": {}}, up=False, tls={"ca": "/no/such/file"}) as mistaken:
            assert "tls.ca" in await why(mistaken, "failed")


async def test_messages_in_any_pieces_are_put_together(home: FakeHomeAssistant) -> None:
    """Fragments, pings between them, and TCP segments of any size."""
    async with running(home, {"a": {}}) as flow:
        client = home.clients[0]
        number = next(iter(client.entities))
        text = json.dumps(
            {
                "id": number,
                "type": "event",
                "event": {"a": {"sensor.a": {"s": "x" * 70_000, "a": {}, "lc": 5.0}}},
            }
        )
        transport: Any = client.socket.transport
        await client.socket.send(iter([text[:10], text[10:40_000], text[40_000:]]))
        await (await client.socket.ping())
        frame = bytearray()
        for payload in (
            text.replace('"lc": 5.0', '"lc": 6.0').encode(),
            b"{}",
            text.replace("5.0", "7.0").encode(),
        ):
            small = len(payload) < 126
            frame += b"\x81" + (bytes([len(payload)]) if small else b"\x7f" + len(payload).to_bytes(8, "big"))
            frame += payload
        for cut in (1, 3, 11, 70_000, len(frame)):
            transport.write(bytes(frame[:cut]))
            del frame[:cut]
            await asyncio.sleep(0.01)
        await until(lambda: len(flow["a"].saved) == 3)

    assert [5, 6, 7] == [(record.time or 0) // 10**9 for record in flow["a"].saved]


async def test_a_command_is_answered_refused_or_lost(home: FakeHomeAssistant) -> None:
    home.deaf = {"deaf"}
    async with running(home, {"a": {}}) as flow:
        call = flow.connection.call
        assert {"x": [1]} == await call("echo", value={"x": [1]})
        with pytest.raises(Refused, match=r"Unknown command. \(unknown_command\)"):
            await call("nonsense")
        with pytest.raises(Lost, match="no answer to deaf within 0 s"):
            await call("deaf", timeout=0.02)
        waiting = asyncio.create_task(call("deaf"))
        await until(lambda: len(home.commands("deaf")) == 2)
        await home.stop()
        with pytest.raises(Lost, match="closed"):
            await waiting
        with pytest.raises((NotConnected, Lost)):
            await call("echo", value=1)
        await until(lambda: not flow.context.up)
        with pytest.raises(NotConnected, match="connect"):
            await call("echo", value=1)

    ids = [command["id"] for command in home.received]
    assert sorted(set(ids)) == ids


async def test_a_second_answer_to_a_command_changes_nothing(home: FakeHomeAssistant) -> None:
    home.deaf = {"deaf"}
    async with running(home, {"a": {}}) as flow:
        waiting = asyncio.create_task(flow.connection.call("deaf"))
        await until(lambda: home.commands("deaf"))
        number = home.commands("deaf")[0]["id"]
        for answer in ("first", "second"):
            home.clients[0].send({"id": number, "type": "result", "success": True, "result": answer})
        assert "first" == await waiting
        assert 1 == await flow.connection.call("echo", value=1)


async def test_a_session_that_is_lost_answers_at_once_and_ends_a_subscription_once(
    home: FakeHomeAssistant,
) -> None:
    async with running(home, {"a": {}}) as flow:
        session = await flow.connection.session()
        number = await session.subscribe(lambda _: None, "subscribe_events", event_type="x")
        await session.unsubscribe(number)
        await session.unsubscribe(number)
        home.cut()
        await session.wait_lost()
        with pytest.raises(Lost, match="the connection was closed"):
            await session.call("echo", value=1)

    ended = home.commands("unsubscribe_events")
    assert [number] == [command["subscription"] for command in ended if command["subscription"] == number]
    assert [] == home.commands("echo")


async def test_two_hundred_commands_at_once_have_numbers_that_grow(home: FakeHomeAssistant) -> None:
    async with running(home, {"a": {}}) as flow:
        answers = await asyncio.gather(*(flow.connection.call("echo", value=n) for n in range(200)))

    assert list(range(200)) == answers


async def test_a_connection_that_does_not_answer_pings_is_given_up(
    home: FakeHomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ha_socket, "PING_INTERVAL", 0.05)
    async with CutProxy(home.port) as network:
        url = f"http://127.0.0.1:{network.port}"
        async with running(home, {"a": {}}, url=url) as flow:
            network.freeze()
            await until(lambda: flow.context.reconnects >= 1)


async def test_the_token_is_shown_nowhere(home: FakeHomeAssistant) -> None:
    async with running(home, {"a": {}}) as flow:
        home.cut()
        await until(lambda: flow.context.reconnects == 1)
        texts = [
            flow.logged(),
            repr(flow.connection.config),
            repr(Link("ws://h", TOKEN)),
            str(flow.context.reason),
        ]

    assert [] == [text for text in texts if TOKEN in text]
