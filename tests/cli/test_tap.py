"""``flowrunner tap`` against a real server: what it prints, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flowrunner.admin.app import create_app
from flowrunner.admin.server import listen, serve
from flowrunner.cli import show_message
from flowrunner.cli.main import app
from tests.admin.harness import admin, graph

TOKEN = "t0ken-t0ken"


@contextmanager
def server(folder: Path, *, token: str | None = None, local: bool = True) -> Iterator[str]:
    """Run a flow `house` that is fed all the time, and its API, in a thread; yield the address."""
    listening = listen("127.0.0.1", 0)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        async with admin(folder, graph()) as process, asyncio.TaskGroup() as group:
            group.create_task(serve(create_app(process.process, token, local=local), listening, stop))
            number = 0
            while not stop.is_set():
                await process.feed("house", {"n": number, "text": "\x1b[31m"}, number)
                number += 2
                await asyncio.sleep(0.01)
            process.process.stopping = True

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
        listening.close()


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_messages_are_printed_until_the_limit(tmp_path: Path) -> None:
    with server(tmp_path) as url:
        done = call("tap", "house.a", "--where", "payload.n >= 0", "--limit", "2", "--url", url)
        lines = done.stdout.splitlines()

        assert (0, 2) == (done.exit_code, len(lines))
        assert 'a.out t  {"n": ' in lines[0]
        assert "\x1b" not in done.stdout
        assert f"# listening to house.a at {url}; end with Ctrl-C" in done.stderr


def test_json_is_one_object_a_line(tmp_path: Path) -> None:
    with server(tmp_path) as url:
        done = call("tap", "house.n.out", "--limit", "3", "--sample", "2", "--format", "json", "--url", url)

        assert [("n", "out")] * 3 == [
            (json.loads(line)["node"], json.loads(line)["port"]) for line in done.stdout.splitlines()
        ]


def test_a_condition_that_fails_is_told(tmp_path: Path) -> None:
    with server(tmp_path) as url:
        done = call("tap", "house.a", "--where", "payload.n >= 0", "--limit", "50", "--url", url)

        assert "# --where failed for " in done.stderr
        assert "`payload` is not an object" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        pytest.param(
            ["house.nn"],
            1,
            "error: flow `house` has no node `nn`\n  = help: did you mean `house.n`?\n",
            id="node",
        ),
        pytest.param(
            ["house.a", "--where", "pyload.t > 1"],
            2,
            "error: --where: there is no name `pyload`\n   |\n   | pyload.t > 1\n   | ^\n"
            "  = help: did you mean `payload`?\n",
            id="condition",
        ),
    ],
)
def test_a_mistake_is_told_in_words(arguments: list[str], code: int, expected: str, tmp_path: Path) -> None:
    with server(tmp_path) as url:
        done = call("tap", *arguments, "--url", url)

        assert (code, expected, "") == (done.exit_code, done.stderr, done.stdout)


def test_a_remote_process_wants_the_right_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(tmp_path, token=TOKEN, local=False) as url:
        without = call("tap", "house.a", "--url", url)
        wrong = call("tap", "house.a", "--url", url, "--token", "another")
        monkeypatch.setenv("FLOWRUNNER_API_TOKEN", TOKEN)
        monkeypatch.setenv("FLOWRUNNER_URL", url + "/")
        right = call("tap", "house.a", "--limit", "1")

        assert (1, 1, 0) == (without.exit_code, wrong.exit_code, right.exit_code)
        assert f"error: {url} wants a token\n" in without.stderr
        assert f"error: {url} refuses this token\n" in wrong.stderr


def test_the_end_of_the_process_ends_it(tmp_path: Path) -> None:
    results: list[Result] = []
    with server(tmp_path) as url:
        thread = threading.Thread(
            target=lambda: results.append(call("tap", "house.a", "--where", "false", "--url", url))
        )
        thread.start()
        threading.Event().wait(0.5)
    thread.join()

    assert (1, True) == (results[0].exit_code, "error: " in results[0].stderr)


@contextmanager
def foreign(status: int, body: bytes, *, length: int | None = None) -> Iterator[str]:
    """Run a server that is no flowrunner."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(404, b"<html>", "answers 404 and is not a flowrunner", id="another-server"),
        pytest.param(503, b'{"detail": "too many"}', "answers 503: too many", id="busy"),
        pytest.param(200, b'{"kind":"end","reason":"gone"}\n', "error: gone", id="end"),
        pytest.param(200, b"\n", "has ended the stream", id="silent-end"),
    ],
)
def test_other_answers_are_told(status: int, body: bytes, expected: str) -> None:
    with foreign(status, body) as url:
        done = call("tap", "house.a", "--url", url)

        assert (1, True) == (done.exit_code, expected in done.stderr), done.stderr


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("http://127.0.0.1:1", "no flowrunner answers at http://127.0.0.1:1: ", id="nobody"),
        pytest.param("ftp://here", "`ftp://here` is not the address of a flowrunner", id="scheme"),
        pytest.param("http://here:port", "`http://here:port` is not the address of a flowrunner", id="port"),
        pytest.param("https://127.0.0.1:1", "no flowrunner answers at https://127.0.0.1:1: ", id="tls"),
    ],
)
def test_an_address_where_nobody_answers_is_told(url: str, expected: str) -> None:
    done = call("tap", "house.a", "--url", url)

    assert (1, True) == (done.exit_code, f"error: {expected}" in done.stderr), done.stderr


def test_what_was_missed_is_told() -> None:
    with foreign(200, b'{"kind":"missed","count":7}\n{"kind":"end","reason":"gone"}\n') as url:
        done = call("tap", "house.a", "--url", url)

        assert "# 7 more passed and are not shown; choose with --where or --sample\n" in done.stderr


def test_a_long_payload_stands_below_its_line() -> None:
    event = {"time": "now", "node": "a", "port": "out", "topic": "t", "payload": {"x": "y" * 120}}

    assert "now a.out t\n  {\n    " in show_message.Printer().text(event)


def test_why_tells_the_way_of_a_message(tmp_path: Path) -> None:
    with server(tmp_path) as url:
        done = call("tap", "house.a", "--why", "--where", "payload % 4 == 0", "--limit", "1", "--url", url)

        assert 0 == done.exit_code
        assert "  n " in done.stdout
        assert "written" in done.stdout
        assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("station", "expected"),
    [
        pytest.param({"outcome": "filtered"}, "filtered it out", id="filtered"),
        pytest.param({"outcome": "held", "until": "12:00"}, "holds it until 12:00", id="held"),
        pytest.param({"outcome": "failed", "reason": "no field"}, "failed: no field", id="failed"),
        pytest.param(
            {"outcome": "passed", "after": [{"port": "late", "wired": False}]},
            "passed it on → late (not wired: it ends here)",
            id="unwired",
        ),
    ],
)
def test_what_a_node_did_is_told_in_words(station: dict[str, Any], expected: str) -> None:
    empty: dict[str, Any] = {"until": None, "reason": None, "after": []}

    assert expected == show_message.outcome({**empty, **station})


def test_a_way_has_values_and_changes() -> None:
    sent = {"port": "out", "wired": True, "changes": [{"field": "payload.n", "before": 1, "after": None}]}
    told = {"option": "where", "expression": "payload.n > 0", "value": True, "operands": {"payload.n": 1}}
    failed = {"option": "key", "expression": "topic", "error": "no", "operands": {"topic": "t"}}
    first = {"node": "a", "topic": "t", "seq": 3, "payload": 1}
    station = {
        "node": "n", "type": "map", "outcome": "changed", "until": None, "reason": None,
        "after": [sent], "expressions": [told, failed],
    }  # fmt: skip
    text = show_message.Printer().path({"done": False, "stations": [first, station]})

    assert [
        "a t #3  1",
        "  n map: changed it → out",
        "      where: payload.n > 0  is true",
        "        payload.n = 1",
        "      key: topic  is no",
        "      payload.n: 1 → null",
        "  …",
        "",
    ] == text.splitlines()
