"""``flowrunner doctor``: what it finds on the machine, in the state directory, in flows and at real servers."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from flowrunner.checks import connections as connection_checks
from flowrunner.checks import machine, state
from flowrunner.checks.connections import check_connections
from flowrunner.cli.doctor import doctor
from flowrunner.cli.validate import validate
from flowrunner.clock import SystemClock
from flowrunner.context import Connection, ConnectionContext, Finding
from flowrunner.graph.load import load_flows
from flowrunner.options import Options
from flowrunner.runtime.database import SET_ASIDE
from tests.e2e.process import Flowrunner
from tests.nodes.harness import RecordingLog
from tests.servers.fake_http import FakeHttp, Received
from tests.servers.fake_influx import FakeInflux, Hang, Reply
from tests.servers.influxd import Influxd
from tests.servers.mosquitto import Mosquitto, free_port

TOKEN = "a-token-that-nobody-may-see"
FLOW = """\
version: 1
flow: climate
connections:
{connection}
nodes:
{node}
  show: {{ type: debug, from: node }}
"""
STORE = """\
version: 1
flow: climate
connections:
  tsdb: {connection}
nodes:
  beat: {{ type: inject, every: 1s }}
  store: {{ type: influxdb_out, from: beat, connection: tsdb, bucket: {bucket}, measurement: m }}
"""


async def found(text: str, folder: Path, seconds: float = 15.0) -> list[tuple[str, str, str]]:
    """Return what the only connection of a flow finds: level, what, text."""
    (folder / "climate.yaml").write_text(text)
    loaded = load_flows([folder / "climate.yaml"])
    assert [] == [each for each in loaded.diagnostics if each.severity == "error"]
    (findings,) = (await check_connections(loaded.graphs, "flowrunner", seconds)).values()
    assert TOKEN not in str(findings)
    return [(each.level, each.what, each.text) for each in findings]


def mqtt(port: int, password: str = TOKEN, topics: str = "[home/#]") -> str:
    connection = (
        f'  broker: {{ type: mqtt, url: "mqtt://127.0.0.1:{port}", username: u, password: "{password}" }}'
    )
    return FLOW.format(
        connection=connection, node=f"  node: {{ type: mqtt_in, connection: broker, topics: {topics} }}"
    )


@pytest.mark.server
async def test_a_broker_tells_whether_login_and_topics_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: Any) -> int:  # Mosquitto grants any subscription, and then keeps the messages back
        return 135

    acl = "user u\ntopic read home/#\n"
    async with Mosquitto(tmp_path / "b", users={"u": TOKEN}, acl=acl) as broker:
        good = await found(mqtt(broker.port), tmp_path)
        bad = await found(mqtt(broker.port, "wrong-password"), tmp_path)
        monkeypatch.setattr("flowrunner_nodes._mqtt_check.MqttClient.add", refused)
        topics = await found(mqtt(broker.port, topics="[garden/#, $share/g/home/#]"), tmp_path)

    assert [
        ("ok", "broker", "MQTT 5, login accepted"),
        ("ok", "topic home/#", "the broker grants the subscription"),
    ] == good
    assert [("error", "broker", "the broker refuses the connection: not authorized (code 135)")] == bad
    assert [
        ("ok", "broker", "MQTT 5, login accepted"),
        ("error", "topic garden/#", "the broker refuses the subscription (code 135)"),
    ] == topics


async def test_a_broker_that_is_not_there_is_named(tmp_path: Path) -> None:
    port = free_port()
    ((level, what, text),) = await found(mqtt(port), tmp_path)

    assert ("error", "broker") == (level, what)
    assert f"cannot reach 127.0.0.1:{port}" in text


@pytest.mark.server
async def test_a_real_influxdb_tells_its_version_and_which_database_is_there(tmp_path: Path) -> None:
    async with Influxd(tmp_path) as server:
        await server.create("home")
        connection = f'{{ type: influxdb, url: "{server.v1_url}", version: 1 }}'
        good = await found(STORE.format(connection=connection, bucket="home"), tmp_path)
        missing = await found(STORE.format(connection=connection, bucket="garden"), tmp_path)
        assert [] == await server.read("home", "m")

    assert [
        ("ok", "server", "InfluxDB 1.6.7~rc0"),
        ("ok", "clock", "the same as here, to 2 s"),
        ("ok", "bucket home", "exists, and may be written to"),
    ] == good
    assert ("error", "bucket garden", 'InfluxDB answered 404: database not found: "garden"') == missing[-1]


@pytest.mark.parametrize(
    ("token", "bucket", "expected"),
    [
        pytest.param(TOKEN, "home", ("ok", "exists, and may be written to"), id="may write"),
        pytest.param(
            "another", "home", ("error", "InfluxDB answered 401: unauthorized access"), id="wrong token"
        ),
        pytest.param(TOKEN, "x", ("error", 'InfluxDB answered 404: bucket "x" not found'), id="no bucket"),
    ],
)
async def test_a_bucket_is_tried_without_writing_a_point(
    tmp_path: Path, token: str, bucket: str, expected: tuple[str, str]
) -> None:
    async with FakeInflux(token=TOKEN) as server:
        connection = f'{{ type: influxdb, url: "{server.url}", org: home, token: {token} }}'
        findings = await found(STORE.format(connection=connection, bucket=bucket), tmp_path)

    assert (expected[0], f"bucket {bucket}", expected[1]) == findings[-1]
    assert [] == server.stored


def home_assistant(url: str) -> str:
    return FLOW.format(
        connection=f'  home: {{ type: home_assistant, url: "{url}", token: "{TOKEN}" }}',
        node='  node: { type: ha_in, connection: home, entities: ["sensor.*"] }',
    )


def home(request: Received) -> Reply:
    """Answer as Home Assistant does, half a minute ahead."""
    authorized = (
        request.headers.get("authorization", request.headers.get("Authorization")) == f"Bearer {TOKEN}"
    )
    ahead = SystemClock().now() / 1e9 + 30
    return Reply(
        200 if authorized else 401, '{"version": "2026.11.1"}', {"Date": formatdate(ahead, usegmt=True)}
    )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(
            home,
            [("ok", "login", "Home Assistant 2026.11.1, token accepted"), ("warning", "clock")],
            id="with another time",
        ),
        pytest.param(
            lambda _: Reply(401, "401: Unauthorized"),
            [("error", "login", "Home Assistant refuses the token (401)")],
            id="wrong token",
        ),
        pytest.param(
            lambda _: Reply(200, "<html>"),
            [("error", "server", "what answers is not Home Assistant")],
            id="something else",
        ),
        pytest.param(
            lambda _: Reply(404, ""),
            [("error", "server", "answers 404 where Home Assistant has its API")],
            id="nothing there",
        ),
    ],
)
async def test_home_assistant_tells_its_version_and_its_time(
    tmp_path: Path, answer: Any, expected: list[tuple[str, ...]]
) -> None:
    async with FakeHttp() as server:
        server.judge = answer
        findings = await found(home_assistant(server.url), tmp_path)

    assert expected == [finding[: len(wanted)] for finding, wanted in zip(findings, expected, strict=True)]
    assert ["/api/config"] == [request.target for request in server.requests]
    if answer is home:
        assert "s ahead of this machine" in findings[1][2]


async def test_a_server_that_never_answers_takes_a_bounded_time(tmp_path: Path) -> None:
    async with FakeInflux() as server:
        server.always = Hang()
        connection = f'{{ type: influxdb, url: "{server.url}", org: home, token: {TOKEN} }}'
        findings = await found(STORE.format(connection=connection, bucket="home"), tmp_path, seconds=0.3)

    assert [("error", "server", "nothing was learnt within 0 s")] == findings


async def test_a_check_that_fails_is_a_finding_without_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowrunner_nodes.home_assistant import HomeAssistantConnection

    async def check(self: Any, users: Any) -> list[Finding]:
        raise RuntimeError(f"no {self.config.token.get_secret_value()}")

    monkeypatch.setattr(HomeAssistantConnection, "check", check)

    assert [("error", "check", "RuntimeError: no **********")] == await found(
        home_assistant("http://x:1"), tmp_path
    )


async def test_a_connection_without_a_check_finds_nothing() -> None:
    log = RecordingLog()
    context = ConnectionContext("flow", "line", SystemClock(), log)

    assert () == await Connection(Options(), context).check([])


def test_the_state_directory_is_looked_at(tmp_path: Path) -> None:
    found = {each.what: each for each in state.check_state(tmp_path / "new", 2**20)}

    assert {"directory", "space", "file system", "lock", "damage", "databases"} == found.keys()
    assert {"ok"} >= {each.level for name, each in found.items() if name != "file system"}
    assert [] == list((tmp_path / "new").iterdir())


@pytest.mark.parametrize(
    ("kind", "level"),
    [("ext4", "ok"), ("nfs4", "error"), ("tmpfs", "warning"), ("", "ok")],
    ids=["a disk", "over a network", "in memory", "unknown"],
)
def test_the_file_system_matters(tmp_path: Path, kind: str, level: str) -> None:
    mounts = tmp_path / "mounts"
    if kind:
        mounts.write_text(
            f"root / xfs rw 0 0\nvolume {tmp_path} {kind} rw 0 0\nother {tmp_path}/x zfs rw 0 0\n"
        )
    (finding,) = [each for each in state.check_state(tmp_path, 1, mounts) if each.what == "file system"]

    assert level == finding.level
    assert (kind or "unknown") in finding.text


def test_too_little_room_and_a_place_that_is_no_directory_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    free = shutil.disk_usage(tmp_path).free

    (space,) = [each for each in state.check_state(tmp_path, free * 2) if each.what == "space"]
    (nowhere,) = state.check_state(tmp_path / "file", 1)
    assert ("warning", "error") == (space.level, nowhere.level)
    assert "cannot be written: File exists" in nowhere.text


@pytest.mark.timeout(90)
async def test_damage_is_found_when_nobody_runs_and_left_alone_while_somebody_does(tmp_path: Path) -> None:
    async with Flowrunner(tmp_path) as process:
        process.write(
            "a.yaml",
            STORE.format(connection='{ type: influxdb, url: "http://127.0.0.1:1", version: 1 }', bucket="b"),
        )
        process.launch()
        await process.until(lambda: process.ledger("climate").get("received", 0) > 1)
        running = {each.what: each.text for each in state.check_state(process.state, 1)}
        process.kill()
    whole = {each.what: each for each in state.check_state(process.state, 1)}
    (journal,) = (process.state / "flows" / "climate" / "journal").glob("*.db")
    data = bytearray(journal.read_bytes())
    data[100:4096] = b"\xff" * 3996
    journal.write_bytes(data)
    (journal.parent / f"journal-1.db{SET_ASIDE}").write_text("")
    broken = {each.what: each for each in state.check_state(process.state, 1)}

    assert "a flowrunner runs on it" == running["lock"]
    assert "databases" not in running
    assert "ok" == whole["databases"].level
    assert "free: no flowrunner runs on it" == whole["lock"].text
    assert f"file {journal.relative_to(process.state)}" in broken
    assert "warning" == broken["damage"].level


def test_limits_of_the_machine_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {each.what: each.level for each in machine.check_machine(tmp_path)}
    (tmp_path / "max_user_watches").write_text("10\n")
    (tmp_path / "max_user_instances").write_text("10\n")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    monkeypatch.setattr(
        machine, "requires", lambda _: ["pydantic>=99", "no-such-package", 'x; extra == "demo"']
    )
    poor = {each.what: (each.level, each.text) for each in machine.check_machine(tmp_path)}

    assert "ok" == few["versions"] == few["packages"]
    assert "warning" == few["inotify"]
    assert ("warning", "10 watches, 10 instances") == poor["inotify"]
    assert ("warning", "256") == poor["open files"]
    assert ("error", "none where  is needed") == poor["package no-such-package"]
    assert "error" == poor["package pydantic"][0]


@pytest.fixture
def flows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a flow with a variable that is not set, in a directory in which the command runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "climate.yaml").write_text(
        STORE.format(
            connection='{ type: influxdb, url: "http://127.0.0.1:1", org: o, token: "${SECRET_TOKEN}" }',
            bucket="b",
        )
    )
    return tmp_path


def test_what_is_wrong_is_printed_with_what_to_do(
    flows: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 1 == doctor([flows], {}, format="text")
    unset = capsys.readouterr().out
    monkeypatch.setenv("SECRET_TOKEN", TOKEN)
    assert 1 == doctor([flows], {}, format="json")
    told = json.loads(capsys.readouterr().out)

    assert "✗ flows: " in unset
    assert "SECRET_TOKEN" in unset
    assert "    = help: " in unset
    (server,) = [each for each in told if each["area"] == "tsdb"]
    assert ("error", "server") == (server["level"], server["what"])
    assert TOKEN not in json.dumps(told)
    assert {"area", "level", "what", "text", "help"} == server.keys()


def test_all_is_well_without_flows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = doctor([], {"state_dir": tmp_path / "state"}, format="text")

    assert (0, True) == (code, " 0 wrong, " in capsys.readouterr().out)


def test_a_setting_that_cannot_be_read_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWRUNNER_CHECKPOINT_EVERY", "10")

    assert 1 == doctor([], {"state_dir": tmp_path}, format="text")
    assert "FLOWRUNNER_CHECKPOINT_EVERY" in capsys.readouterr().out


def test_validate_connects_when_told_to(
    flows: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", TOKEN)

    assert 0 == validate([flows])
    assert 78 == validate([flows], connect=True)
    assert "✗ tsdb: server" in capsys.readouterr().err


def test_validate_is_content_with_servers_that_are_well(
    flows: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def well(*_: Any) -> dict[str, list[Finding]]:
        await asyncio.sleep(0)
        return {"tsdb": [Finding("ok", "server", "InfluxDB 2.7")]}

    monkeypatch.setenv("SECRET_TOKEN", TOKEN)
    monkeypatch.setattr("flowrunner.cli.doctor.check_connections", well)

    assert 0 == validate([flows], connect=True)
    assert "1 checks, 0 wrong" in capsys.readouterr().err
    assert connection_checks.SECONDS < 60
