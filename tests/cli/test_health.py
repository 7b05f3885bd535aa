"""``flowrunner health`` against servers that are well, ill, slow and absent."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.process import Flowrunner
from tests.servers.mosquitto import free_port

FLOW = """\
version: 1
delivery: memory
nodes:
  tick: { type: inject, every: 100ms }
  show: { type: debug, from: tick }
"""


@contextmanager
def server(status: int, body: bytes, *, silent: bool = False) -> Iterator[int]:
    """Answer every GET alike, or not at all; gives the port."""
    release = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if silent:
                release.wait(10)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield http.server_port
        finally:
            release.set()
            http.shutdown()
            thread.join()


def ask(port: int | str, *options: str, host: str = "") -> tuple[int, str]:
    """Run the command as a container does, with its settings in the environment."""
    done = subprocess.run(
        [sys.executable, "-m", "flowrunner", "health", *options],
        env={"FLOWRUNNER_HTTP_PORT": str(port), "FLOWRUNNER_HTTP_HOST": host, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "" == done.stdout
    return done.returncode, done.stderr


@pytest.mark.parametrize("host", ["", "127.0.0.1", "0.0.0.0", "localhost"])
def test_one_that_answers_is_well(host: str) -> None:
    with server(200, b"ok\n") as port:
        assert (0, "") == ask(port, host=host)


def test_one_that_is_not_ready_says_why() -> None:
    body = b'{"ready": false, "trouble": [{"flow": "a", "reason": "journal: disk full"}, {"reason": "stopping"}]}'
    with server(503, body) as port:
        code, said = ask(port, "--ready")

    assert 1 == code
    assert (
        '/readyz answers 503\n  {"flow": "a", "reason": "journal: disk full"}\n  {"reason": "stopping"}\n'
    ) == said


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<h1>Bad gateway</h1>", id="no JSON"),
        pytest.param(b"[1]", id="another JSON"),
        pytest.param(b"{}", id="no trouble"),
        pytest.param(b'{"trouble": null}', id="trouble of another type"),
    ],
)
def test_an_answer_of_another_program_is_not_well(body: bytes) -> None:
    with server(502, body) as port:
        assert (1, "/livez answers 502\n") == ask(port)


def test_nobody_there_is_not_well() -> None:
    port = free_port()

    code, said = ask(port)

    assert 1 == code
    assert f"nobody answers on 127.0.0.1, port {port}: [Errno 111] Connection refused\n" == said


def test_one_that_does_not_answer_is_not_well() -> None:
    with server(200, b"", silent=True) as port:
        assert (1, f"nobody answers on 127.0.0.1, port {port}: timed out\n") == ask(port, "--timeout", "0.3")


@pytest.mark.parametrize("port", ["x", "70000", "0"])
def test_a_port_that_cannot_be_is_wrong_use(port: str) -> None:
    code, said = ask(port)

    assert 2 == code
    assert "FLOWRUNNER_HTTP_PORT" in said or "--http-port" in said


async def test_a_running_process_is_well_and_then_ready(tmp_path: Path) -> None:
    async with Flowrunner(tmp_path) as process:
        process.write("ticks.yaml", FLOW)
        await process.start()

        assert [(0, ""), (0, "")] == [ask(process.port), ask(process.port, "--ready")]


def test_it_loads_nothing_heavy() -> None:
    code = (
        "import sys; import flowrunner.cli.main, flowrunner.cli.health; "
        "print({'pydantic', 'fastapi', 'asyncio', 'msgspec', 'yaml'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "set()\n" == done.stdout
