"""Beyond localhost nothing but health and metrics answers without the token, whatever is asked and however."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.routing import Route

from flowrunner.admin import gate
from flowrunner.admin.app import create_app
from flowrunner.admin.gate import OPEN
from tests.admin.harness import admin, graph

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "x"]
ODD = [
    "//",
    "/.",
    "/livez/",
    "//livez",
    "/livez/../api/v1/flows",
    "/livez/%2e%2e/api/v1/flows",
    "/livez%2f..%2fapi/v1/flows",
    "/livez;/api/v1/flows",
    "/LIVEZ",
    "/metrics/",
    "/metrics%00",
    "/metrics/../",
    "/readyz%2f",
    "/api/v1/flows/",
    "//api/v1/flows",
    "/api//v1/flows",
    "/%61pi/v1/flows",
    "/api%2fv1%2fflows",
    "/api/v1/flows%3f",
    "/api/v1/nothing",
    "/static/../app.py",
    "/static/%2e%2e/app.py",
    "/static/..%2fapp.py",
    "/docs",
    "/redoc",
    "/openapi.json/",
    "/in",
    "/.env",
    "/.git/config",
    "/%ff",
    "/\N{CYRILLIC SMALL LETTER A}pi/v1/flows",
    "/" + "a" * 8000,
]


def _routes(process: object) -> list[str]:
    app = create_app(process, None, local=False)  # type: ignore[arg-type]
    paths = [route.path for route in app.routes if isinstance(route, Route)]
    included = [path for path in app.openapi()["paths"] if path not in paths]
    named = [
        path.format(name="house", flow="house", node="b", number=1, path="x") for path in paths + included
    ]
    return [path for path in named if path not in OPEN and not path.startswith("/in/")]


@pytest.mark.parametrize(("token", "status"), [(None, 403), ("right", 401)], ids=["no token set", "wrong"])
async def test_no_route_answers_without_the_token(token: str | None, status: int, tmp_path: Path) -> None:
    async with (
        admin(tmp_path, graph()) as process,
        process.client(token=token, local=False, host="flowrunner.example", bearer="Bearer wrong") as client,
    ):
        paths = [*_routes(process.process), *ODD]
        answered = {
            (method, path): (await client.request(method, path)).status_code
            for path in paths
            for method in METHODS
        }

        assert len(paths) > 12 + len(ODD)
        assert {} == {asked: found for asked, found in answered.items() if found != status}


@pytest.mark.parametrize("method", METHODS[2:])
@pytest.mark.parametrize("path", sorted(OPEN))
async def test_what_is_open_can_only_be_read(path: str, method: str, tmp_path: Path) -> None:
    async with (
        admin(tmp_path, graph()) as process,
        process.client(local=False, host="flowrunner.example") as client,
    ):
        assert 405 == (await client.request(method, path)).status_code


async def test_a_webhook_that_is_not_there_tells_nothing_else(tmp_path: Path) -> None:
    async with (
        admin(tmp_path, graph()) as process,
        process.client(local=False, host="flowrunner.example") as client,
    ):
        for path in ("/in/house/b", "/in/x/y", "/in/../api/v1/flows", "/in/x/../../api/v1/flows", "/in/"):
            answer = await client.post(path, content=b"{}")
            assert answer.status_code in (403, 404)
            assert "ledger" not in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:8080"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "file://"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Origin": "https://evil"}, 403),
        ({"Host": "rebound.evil.example"}, 403),
        ({"Host": "127.0.0.1.nip.io"}, 403),
    ],
)
async def test_a_page_of_another_site_gets_nothing_from_localhost(
    headers: dict[str, str], status: int, tmp_path: Path
) -> None:
    async with admin(tmp_path, graph()) as process, process.client() as client:
        for method, path in (("GET", "/api/v1/flows"), ("POST", "/api/v1/reload")):
            assert status == (await client.request(method, path, headers=headers)).status_code


async def test_no_answer_lets_another_site_read_or_frame_it(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process, process.client() as client:
        for path in ("/", "/livez", "/api/v1/flows", "/nothing", "/static/page.js"):
            headers = (await client.get(path, headers={"Origin": "http://localhost:1"})).headers
            assert "nosniff" == headers["x-content-type-options"]
            assert "same-origin" == headers["cross-origin-resource-policy"]
            assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("path", ["/api/v1/dead-letters/replay", "/livez", "/api/v1/flows", "/nothing"])
async def test_a_body_is_bounded_before_anybody_reads_it(path: str, tmp_path: Path) -> None:
    async def endless() -> object:
        for _ in range(1000):
            yield b" " * 4096
            asked.append(1)

    async with admin(tmp_path, graph()) as process, process.client() as client:
        asked: list[int] = []
        answer = await client.request("POST", path, content=endless())  # type: ignore[arg-type]

        assert 413 == answer.status_code
        assert len(asked) <= gate.MOST_BYTES // 4096 + 1


async def test_who_may_not_pass_has_no_body_read(tmp_path: Path) -> None:
    async def body() -> object:
        asked.append(1)
        yield b"{}"

    async with (
        admin(tmp_path, graph()) as process,
        process.client(token="right", local=False, host="x.example") as client,
    ):
        asked: list[int] = []
        answer = await client.post("/api/v1/dead-letters/purge", content=body())  # type: ignore[arg-type]

        assert (401, []) == (answer.status_code, asked)


async def test_a_body_that_is_as_long_as_may_be_arrives_whole(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process, process.client() as client:
        content = b'{"flow": "house"}'.ljust(gate.MOST_BYTES)
        headers = {"Content-Type": "application/json"}
        answer = await client.post("/api/v1/dead-letters/purge", content=content, headers=headers)

        assert (200, {"purged": 0}) == (answer.status_code, answer.json())


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"9" * 60_000,
        b'{"limit": 1e999}',
        b'{"\\ud800": 1}',
        b'{"flow": "\\ud800"}',
        b"\xff",
        b"",
    ],
)
async def test_a_body_that_is_no_answer_to_anything_is_refused(content: bytes, tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process, process.client() as client:
        headers = {"Content-Type": "application/json"}
        answer = await client.post("/api/v1/dead-letters/purge", content=content, headers=headers)

        assert answer.status_code in (400, 422)
        assert "Traceback" not in answer.text
