"""The connection type `influxdb`: its options, its health, its session."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flowrunner_nodes import influxdb
from flowrunner_nodes._http_answer import Unreachable
from flowrunner_nodes._influx_answer import Target
from flowrunner_nodes.influxdb import InfluxdbOptions
from tests.nodes.influx_harness import connected
from tests.servers.fake_influx import TOKEN, FakeInflux, Hang, Reply
from tests.servers.mosquitto import Certificates
from tests.servers.programs import free_port

HOME = Target("home", "ns")
GOOD = {"url": "http://influxdb:8086/", "org": "home", "token": TOKEN}


def test_the_defaults_are_version_2_gzip_and_ten_seconds() -> None:
    options = InfluxdbOptions.model_validate(GOOD)

    assert options.url == "http://influxdb:8086"
    assert (options.version, options.compression, options.timeout) == (2, "gzip", 10_000_000_000)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param({"url": "influxdb:8086"}, "must begin with http:// or https://", id="no scheme"),
        pytest.param({"url": "http://"}, "must begin with http:// or https://", id="no host"),
        pytest.param(
            {"tls": {"insecure": True}},
            "`tls` needs a `url` that begins with https://",
            id="tls without https",
        ),
        pytest.param(
            {"url": "http://influxdb:port"}, "must begin with http:// or https://", id="a word as port"
        ),
        pytest.param(
            {"url": "http://[influxdb"}, "must begin with http:// or https://", id="half an address"
        ),
        pytest.param(
            {"url": f"http://me:{TOKEN}@influxdb"}, "must not contain a user", id="password in the URL"
        ),
        pytest.param({"url": "http://influxdb/?org=a"}, "must end before the", id="query"),
        pytest.param({"org": None}, "`org` is missing", id="no org"),
        pytest.param({"token": f"{TOKEN}\n"}, "characters that no token has", id="line break in the token"),
        pytest.param({"token": f'"{TOKEN} "'}, "characters that no token has", id="space in the token"),
        pytest.param({"username": "me"}, "go together", id="user without password"),
        pytest.param({"username": "me", "password": TOKEN}, "are for version 1", id="user in version 2"),
        pytest.param(
            {"username": "me", "password": TOKEN, "version": 1}, "without a `token`", id="user and token"
        ),
        pytest.param({"timeout": "0s"}, "must be more than zero", id="no time"),
        pytest.param({"version": 4}, "version", id="unknown version"),
    ],
)
def test_mistakes_are_told_without_the_secret(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as error:
        InfluxdbOptions.model_validate(GOOD | given)

    assert TOKEN not in str(error.value)


def test_the_client_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, flowrunner_nodes.influxdb_out; print('aiohttp' in sys.modules, 'influxdb_client' in sys.modules)"

    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert shown == "False False\n"


async def test_the_connection_is_up_once_the_server_has_answered_anything() -> None:
    async with FakeInflux() as server, connected(server.url) as connection:
        running = asyncio.create_task(connection.run())
        await server.arrived.wait()
        async with asyncio.timeout(2):
            while not connection.context.up:
                await asyncio.sleep(0.005)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert [request.path for request in server.requests] == ["/ping"]
    assert (connection.context.status, connection.context.reconnects) == ("running", 0)
    assert connection._session is None


async def test_the_connection_waits_for_a_server_that_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(influxdb, "_FIRST_WAIT", 0.01)
    port = free_port()
    async with connected(f"http://127.0.0.1:{port}") as connection:
        running = asyncio.create_task(connection.run())
        async with asyncio.timeout(2):
            while connection.context.status != "degraded":
                await asyncio.sleep(0.005)
        async with FakeInflux(port=port) as server, asyncio.timeout(2):
            await server.arrived.wait()
            while not connection.context.up:
                await asyncio.sleep(0.005)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert connection.context.reconnects == 1


async def test_the_session_is_kept_between_requests_and_opened_anew_after_a_close() -> None:
    async with FakeInflux() as server, connected(server.url) as connection:
        await connection.post(HOME, b"m a=1 1")
        first = connection._session
        await connection.post(HOME, b"m a=1 1")
        assert connection._session is first
        await connection.close()
        await connection.post(HOME, b"m a=1 1")

    assert server.connections == 2


async def test_first_requests_at_the_same_time_share_one_session() -> None:
    async with FakeInflux() as server, connected(server.url) as connection, asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(connection.post(HOME, b"m a=1 1"))

    assert len(server.stored) == 2


async def test_a_server_that_fell_silent_is_reported_until_it_answers() -> None:
    async with FakeInflux() as server, connected(server.url, timeout="100ms") as connection:
        server.script += [Hang(), Reply(503)]
        with pytest.raises(Unreachable):
            await connection.post(HOME, b"m a=1 1")
        silent = connection.context.status
        await connection.post(HOME, b"m a=1 1")

    assert (silent, connection.context.status, connection.context.reconnects) == ("degraded", "running", 1)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def tls(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.issue("server", "IP:127.0.0.1"))
    return context


async def test_the_certificate_is_checked_against_the_given_authority(
    certificates: Certificates, tls: ssl.SSLContext
) -> None:
    async with (
        FakeInflux(tls=tls) as server,
        connected(server.url, tls={"ca": str(certificates.ca)}) as connection,
    ):
        answer = await connection.post(HOME, b"m a=1 1")

    assert answer.accepted
    assert server.stored == ["m a=1 1"]


async def test_a_certificate_of_somebody_else_is_refused_and_no_token_sent(tls: ssl.SSLContext) -> None:
    async with FakeInflux(tls=tls) as server, connected(server.url) as connection:
        with pytest.raises(Unreachable, match="certificate verify failed"):
            await connection.post(HOME, b"m a=1 1")

    assert server.requests == []


async def test_insecure_accepts_any_certificate(tls: ssl.SSLContext) -> None:
    async with FakeInflux(tls=tls) as server, connected(server.url, tls={"insecure": True}) as connection:
        assert (await connection.post(HOME, b"m a=1 1")).accepted


async def test_an_authority_that_is_not_there_is_told() -> None:
    async with connected("https://127.0.0.1:1", tls={"ca": "/nowhere/ca.pem"}) as connection:
        with pytest.raises(Unreachable, match=r"the file of `tls\.ca` cannot be used: .*No such file"):
            await connection.post(HOME, b"m a=1 1")


async def test_an_authority_that_is_no_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    async with connected("https://127.0.0.1:1", tls={"ca": str(tmp_path / "ca.pem")}) as connection:
        with pytest.raises(Unreachable, match=r"the file of `tls\.ca` cannot be used"):
            await connection.post(HOME, b"m a=1 1")
