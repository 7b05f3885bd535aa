"""``http_in``: what a request becomes, who may send it, and that 202 means journaled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from pydantic import ValidationError

from flowrunner import JournalFull
from flowrunner.admin import webhooks
from flowrunner.cli.test import run_tests
from flowrunner.graph.build import Graph
from flowrunner_nodes import http_in
from flowrunner_nodes.http_in import Config, HttpIn
from tests.admin.harness import Admin, admin
from tests.runtime.flows import FlowBuilder

JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


def graph(delivery: Literal["journal", "memory"] = "memory", **given: Any) -> Graph:
    builder = FlowBuilder("door", delivery).node("hook", HttpIn, **given).source("other")
    return builder.sink("b", "hook", "other").graph()


class Hook:
    """A running webhook and a sender."""

    def __init__(self, process: Admin, how: dict[str, Any]) -> None:
        self.process = process
        self._how = how

    async def send(
        self, body: Any = b"1", path: str = "", *, method: str = "POST", **request: Any
    ) -> httpx.Response:
        request.setdefault("headers", JSON)
        async with self.process.client(**self._how) as client:
            return await client.request(method, f"/in/door/hook{path}", content=body, **request)

    @property
    def runner(self) -> Any:
        return self.process.flow("door").runner

    @property
    def counters(self) -> Any:
        return self.runner.assembly.contexts["hook"].counters

    async def messages(self, count: int) -> list[Any]:
        async with asyncio.timeout(5):
            while len(self.process.sink("door").kept) < count:
                await asyncio.sleep(0.01)
        return self.process.sink("door").kept


@asynccontextmanager
async def hook(folder: Path, given: dict[str, Any] | None = None, **how: Any) -> AsyncIterator[Hook]:
    async with admin(folder, graph(**(given or {}))) as process:
        yield Hook(process, how)


@pytest.mark.parametrize(
    ("format", "headers", "body", "payload"),
    [
        ("auto", JSON, b'{"a": [1, null]}', {"a": [1, None]}),
        ("auto", {"content-type": "application/vnd.x+json"}, b"1.5", 1.5),
        ("auto", {"content-type": "application/json; charset=utf-8"}, '"ü"'.encode(), "ü"),
        ("auto", {"content-type": "text/plain"}, b"123", "123"),
        ("auto", {"content-type": "text/plain; charset=iso-8859-1"}, b"\xfc", "ü"),
        ("auto", FORM, b"a=1&b=x+y&a=2&c=&a=3", {"a": ["1", "2", "3"], "b": "x y", "c": ""}),
        ("auto", FORM, b'{"from": "curl -d"}', {"from": "curl -d"}),
        ("auto", FORM, b"[a=1", {"[a": "1"}),
        ("auto", FORM, b"", {}),
        ("auto", {"content-type": "image/png"}, b"\x89PNG", "iVBORw=="),
        ("auto", {}, b"[1]", [1]),
        ("auto", {}, b"[1", "[1"),
        ("auto", {}, b"\xff", "/w=="),
        ("auto", {}, b"", ""),
        ("json", FORM, b'{"a": 1}', {"a": 1}),
        ("text", JSON, b'{"a": 1}', '{"a": 1}'),
        ("bytes", JSON, b"1", "MQ=="),
    ],
)
async def test_a_body_is_read_as_it_says(
    format: str, headers: dict[str, str], body: bytes, payload: Any, tmp_path: Path
) -> None:
    async with hook(tmp_path, {"format": format}) as door:
        assert 202 == (await door.send(body, headers=headers)).status_code

        assert [payload] == [message.payload for message in await door.messages(1)]


async def test_a_message_knows_where_it_came_from(tmp_path: Path) -> None:
    async with hook(tmp_path, {"topic": "bell", "headers": ["X-Device", "User-Agent", "X-None"]}) as door:
        headers = {**JSON, "x-device": "esp", "user-agent": "test"}
        for path in ("", "/", "/front/door%20%C3%BC", "/a/"):
            answer = await door.send(b"1", path, method="PUT", headers=headers)
            assert 202 == answer.status_code, path

        messages = await door.messages(4)
        assert ["bell", "bell", "front/door ü", "a/"] == [message.topic for message in messages]
        assert {
            "method": "PUT",
            "remote": "127.0.0.1",
            "content_type": "application/json",
            "header_x_device": "esp",
            "header_user_agent": "test",
        } == messages[0].meta


@pytest.mark.parametrize(
    ("headers", "body", "status", "reason", "counted"),
    [
        (JSON, b"{", 400, "the body is not JSON: Input data was truncated", "not_readable"),
        (JSON, b"", 400, "the body is empty", "not_readable"),
        (JSON, b"NaN", 400, "the body is not JSON", "not_readable"),
        (JSON, b"[" * 100_000, 400, "the body is not JSON", "not_readable"),
        (JSON, b"\xff\xfe1\x00", 400, "the body is not JSON", "not_readable"),
        ({"content-type": "text/plain"}, b"a\xff", 400, "not text in utf-8: invalid start byte at byte 1", "not_readable"),
        (FORM, b"nothing", 400, "the body is not a form", "not_readable"),
        (FORM, b"a=%ff", 400, "the body is not a form", "not_readable"),
        (FORM, b"a=1&" * 1001, 400, "the body is not a form", "not_readable"),
        (JSON, b"1" * 101, 413, "the body has more than 100 bytes", "too_large"),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--x", 415, "`multipart/form-data` is not taken", "not_supported"),
        ({"content-type": "text/plain; charset=rot13"}, b"a", 415, "character set", "not_supported"),
        ({**JSON, "content-encoding": "gzip"}, b"\x1f\x8b", 415, "compressed", "not_supported"),
    ],
)  # fmt: skip
async def test_what_cannot_be_read_is_refused_with_the_reason_and_counted(
    headers: dict[str, str], body: bytes, status: int, reason: str, counted: str, tmp_path: Path
) -> None:
    limit = "100B" if status == 413 else "1MiB"
    async with hook(tmp_path, {"max_bytes": limit}) as door:
        answer = await door.send(body, headers=headers)

        assert (status, True) == (answer.status_code, reason in answer.json()["detail"]), answer.text
        assert {counted: 1} == door.counters.dropped
        assert 0 == door.runner.journal.last
        assert 0 == door.runner.ledger.balance


async def test_a_body_in_chunks_is_taken_up_to_the_limit(tmp_path: Path) -> None:
    async def chunks(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"1" * 10

    async with hook(tmp_path, {"max_bytes": "100B"}) as door:
        assert 202 == (await door.send(chunks(10))).status_code
        assert 413 == (await door.send(chunks(11))).status_code
        assert {"too_large": 1} == door.counters.dropped


async def test_a_request_that_does_not_say_how_long_it_is_is_refused(tmp_path: Path) -> None:
    async with hook(tmp_path) as door, door.process.client() as client:
        request = client.build_request("POST", "/in/door/hook", headers=JSON)
        del request.headers["content-length"]

        assert 411 == (await client.send(request)).status_code
        request.headers["content-length"] = "9" * 5000
        assert 411 == (await client.send(request)).status_code


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/in/door/hook", "GET", 405),
        ("/in/door/hook/a/b", "DELETE", 405),
        ("/in/door/other", "POST", 404),
        ("/in/door/b", "POST", 404),
        ("/in/door/none", "POST", 404),
        ("/in/none/hook", "POST", 404),
        ("/in/door", "POST", 404),
    ],
)
async def test_only_webhooks_take_requests(path: str, method: str, status: int, tmp_path: Path) -> None:
    async with hook(tmp_path) as door, door.process.client() as client:
        answer = await client.request(method, path)

        assert status == answer.status_code
        assert ({"POST", "PUT"} if status == 405 else {""}) == set(
            answer.headers.get("allow", "").split(", ")
        )


@pytest.mark.parametrize(
    ("given", "how", "headers", "status"),
    [
        ({}, {}, {}, 202),
        ({}, {"host": "evil.example"}, {}, 403),
        ({}, {}, {"origin": "https://evil.example"}, 403),
        ({}, {}, {"origin": "null"}, 403),
        ({}, {}, {"origin": "http://[bad"}, 403),
        ({}, {}, {"origin": "http://localhost:8080"}, 202),
        ({}, {"local": False, "host": "10.0.0.1"}, {}, 403),
        ({}, {"local": False, "host": "10.0.0.1", "token": "api"}, {}, 401),
        ({}, {"local": False, "host": "10.0.0.1", "token": "api", "bearer": "Bearer api"}, {}, 202),
        ({"token": "s3cret"}, {}, {}, 401),
        ({"token": "s3cret"}, {"bearer": "Bearer s3cre"}, {}, 401),
        ({"token": "s3cret"}, {"bearer": "Basic s3cret"}, {}, 401),
        ({"token": "s3cret"}, {"bearer": "Bearer s3cret"}, {}, 202),
        ({"token": "s3cret"}, {"bearer": "bearer s3cret", "local": False, "host": "x.example"}, {}, 202),
        ({"token": "s3cret"}, {"local": False, "token": "api", "bearer": "Bearer api"}, {}, 401),
    ],
)
async def test_who_may_send(
    given: dict[str, Any], how: dict[str, Any], headers: dict[str, str], status: int, tmp_path: Path
) -> None:
    async with hook(tmp_path, given, **how) as door:
        answer = await door.send(b"1", headers={**JSON, **headers})

        assert status == answer.status_code
        assert (status == 401) == (answer.headers.get("www-authenticate") == "Bearer")
        assert (status == 202) == (door.runner.journal.last == 1)
        assert "s3cret" not in answer.text


@pytest.mark.parametrize("error", [JournalFull("the journal has reached its cap"), OSError("disk I/O error")])
async def test_a_journal_that_does_not_take_it_is_said_and_forgotten(
    error: Exception, tmp_path: Path
) -> None:
    async with hook(tmp_path) as door:
        context = door.runner.assembly.contexts["hook"]
        post = context.post

        def refuse(*_: Any) -> None:
            raise error

        context.post = refuse
        answer = await door.send()
        assert (503, "5") == (answer.status_code, answer.headers["retry-after"])
        assert str(error) in answer.json()["detail"]
        assert ("degraded", str(error)) == (context.status, context.reason)

        context.post = post
        assert 202 == (await door.send()).status_code
        assert ("running", None) == (context.status, context.reason)
        assert 0 == door.runner.ledger.balance


async def test_a_journal_that_hangs_does_not_hang_the_sender(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_in, "_COMMIT_SECONDS", 0.05)
    async with hook(tmp_path) as door:
        door.runner.assembly.contexts["hook"].post = lambda *_: asyncio.get_running_loop().create_future()

        answer = await door.send()
        assert (503, "0") == (answer.status_code, answer.headers["retry-after"])


async def test_a_body_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"1"
        await asyncio.sleep(5)

    monkeypatch.setattr(webhooks, "BODY_SECONDS", 0.05)
    async with hook(tmp_path) as door:
        assert 408 == (await door.send(stalled())).status_code


async def test_bodies_take_a_bounded_memory_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MOST_BYTES", 250)
    started, go = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        started.set()
        await go.wait()
        yield b"1"

    async with hook(tmp_path, {"max_bytes": "200B"}) as door, door.process.client() as client:
        first = asyncio.create_task(client.post("/in/door/hook", content=slow(), headers=JSON))
        await started.wait()
        await asyncio.sleep(0.05)
        answer = await client.post("/in/door/hook", content=b"1" * 60, headers=JSON)
        assert (503, "1") == (answer.status_code, answer.headers["retry-after"])
        assert 202 == (await client.post("/in/door/hook", content=b"1" * 40, headers=JSON)).status_code
        go.set()
        assert 202 == (await first).status_code
        assert 202 == (await client.post("/in/door/hook", content=b"1" * 200, headers=JSON)).status_code


async def test_while_it_stops_requests_are_put_off(tmp_path: Path) -> None:
    async with hook(tmp_path) as door:
        door.process.process.stopping = True
        answer = await door.send()
        assert (503, "1") == (answer.status_code, answer.headers["retry-after"])
        door.process.process.stopping = False

        await door.runner.assembly.sources["hook"].give_up()
        answer = await door.send()
        assert (503, "1") == (answer.status_code, answer.headers["retry-after"])


@pytest.mark.parametrize("topic", ["", "other"], ids=["kept", "changed"])
async def test_a_reload_loses_no_request(topic: str, tmp_path: Path) -> None:
    answers: list[int] = []

    async def send(door: Hook) -> None:
        for number in range(40):
            answer = await door.send(b"%d" % number)
            answers.append(answer.status_code)

    async with hook(tmp_path) as door:
        sending = asyncio.create_task(send(door))
        await door.messages(5)
        await door.process.flow("door").replace(graph(topic=topic))
        await sending
        assert 202 == answers[-1]
        assert {202, 503} >= set(answers)
        count = answers.count(202)
        assert count == len(await door.messages(count))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"headers": ["Authorization"]}, "must not hold `Authorization`: it is a secret"),
        ({"headers": ["a b"]}, "pattern"),
        ({"max_bytes": "17MiB"}, "less than or equal to 16777216"),
        ({"token": ""}, "at least 1"),
    ],
)
def test_options_that_cannot_be(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Config.model_validate({"type": "http_in", **given})


TESTED = """\
version: 1
flow: door
nodes:
  hook: { type: http_in, token: "${HOOK_TOKEN}" }
  pressed: { type: filter, from: hook, where: payload.pressed }
  show: { type: debug, from: pressed }
"""
TEST = """\
flow: door.yaml
tests:
  - name: a press is shown
    start: 2026-03-01T10:00:00Z
    input:
      - { at: 0s, node: hook, topic: front, payload: { pressed: true } }
      - { at: 1s, node: hook, topic: back, payload: { pressed: false } }
    expect:
      - { node: show, at: 0s, topic: front, payload: { pressed: true } }
"""


def test_flow_tests_can_feed_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "door.yaml").write_text(TESTED)
    (tmp_path / "door.test.yaml").write_text(TEST)

    assert 0 == run_tests([tmp_path], name="", rewrite=False, format="text"), capsys.readouterr().out
