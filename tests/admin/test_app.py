"""The HTTP routes: who may use them, and what they answer."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from flowrunner.admin.guard import is_loopback
from flowrunner.admin.page import ASSETS
from flowrunner.diagnostics import Diagnostic
from tests.admin.harness import admin, graph

OPEN = ["/livez", "/readyz", "/metrics"]
GUARDED = [
    "/",
    "/api/v1/flows",
    "/api/v1/flows/house",
    "/openapi.json",
    *[f"/static/{name}" for name in ASSETS],
]


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:8080", "127.8.8.8"])
async def test_on_localhost_everything_is_open(host: str, tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        answers = [await process.get(path, host=host) for path in [*OPEN, *GUARDED]]

        assert {200} == {answer.status_code for answer in answers}


@pytest.mark.parametrize(
    ("token", "bearer", "status"),
    [
        (None, None, 403),
        (None, "Bearer anything", 403),
        ("tök", None, 401),
        ("secret", "Bearer", 401),
        ("secret", "Bearer wrong", 401),
        ("secret", "Bearer secre", 401),
        ("secret", "Basic secret", 401),
        ("secret", "secret", 401),
        ("secret", "Bearer secret", 200),
        ("secret", "bearer  secret ", 200),
    ],
)
async def test_beyond_localhost_a_token_is_needed(
    token: str | None, bearer: str | None, status: int, tmp_path: Path
) -> None:
    async with admin(tmp_path, graph()) as process:
        for path in GUARDED:
            answer = await process.get(path, local=False, token=token, bearer=bearer, host="10.0.0.1")

            assert status == answer.status_code
            assert (status == 401) == (answer.headers.get("WWW-Authenticate") == "Bearer")


@pytest.mark.parametrize("path", OPEN)
async def test_health_and_metrics_are_for_everybody(path: str, tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        assert 200 == (await process.get(path, local=False, host="flowrunner.example")).status_code


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.nip.io",
        "localhost.evil.example",
        "10.0.0.1",
        "[::1",
        "under_score.evil.example",
        "",
        "[fe80::1]",
        "localhost.",
    ],
)
async def test_a_foreign_name_in_host_is_not_localhost(host: str, tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process, process.client() as client:
        answers = [await client.get(path, headers={"Host": host}) for path in ("/", "/api/v1/flows")]
        answers.append(await client.post("/api/v1/reload", headers={"Host": host}))

        assert [403, 403, 403] == [answer.status_code for answer in answers]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("x", False),
    ],
)
def test_which_addresses_are_this_machine_only(host: str, loopback: bool) -> None:
    assert loopback == is_loopback(host)


async def test_what_is_not_there_is_404(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        answer = await process.get("/api/v1/flows/nobody")

        assert (404, {"detail": "no flow `nobody` is running"}) == (answer.status_code, answer.json())
        assert 404 == (await process.get("/static/../app.py")).status_code
        assert 404 == (await process.get("/static/secret.txt")).status_code


async def test_a_flow_tells_its_graph_its_status_and_its_books(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        await process.feed("house", 1, 2, "x")
        await asyncio.sleep(0.05)
        listed = (await process.get("/api/v1/flows")).json()
        flow = (await process.get("/api/v1/flows/house")).json()

        assert ["house"] == [one["flow"] for one in listed]
        assert ("running", 1, "memory", "flow.yaml") == tuple(
            flow[name] for name in ("status", "generation", "delivery", "file")
        )
        books = flow["ledger"]
        assert (3, 1, 1, 1, 1, 0) == tuple(
            books[name]
            for name in ("received", "written", "filtered", "dead_lettered", "held", "unaccounted")
        )
        assert ["a", "out", "n"] in flow["wires"]
        assert ("even", 3, 1) == tuple(flow["nodes"]["n"][name] for name in ("type", "received", "errors"))


async def test_the_schema_of_the_api_is_published(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        schema = (await process.get("/openapi.json")).json()

        assert "1.2.3" == schema["info"]["version"]
        assert {"/livez", "/readyz", "/metrics", "/api/v1/flows", "/api/v1/reload"} <= schema["paths"].keys()
        assert 404 == (await process.get("/docs")).status_code


async def test_a_reload_can_be_asked_for(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process, process.client() as client:
        answer = await client.post("/api/v1/reload")

        results = [one["result"] for one in answer.json()["reloads"]]
        assert (200, False, ["refused", "applied"]) == (answer.status_code, answer.json()["ok"], results)
        assert 405 == (await client.get("/api/v1/reload")).status_code


async def test_the_page_runs_no_script_but_its_own_and_asks_nobody_else(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        answer = await process.get("/")
        policy = answer.headers["Content-Security-Policy"]

        assert "default-src 'none'; script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert ['<script src="static/page.js" type="module"></script>'] == re.findall(
            r"<script.*", answer.text
        )
        assert [] == re.findall(r"\son\w+=", answer.text)
        assert [] == re.findall(r'(?:src|href)="(?:https?:)?//', answer.text)
        assert 'data-flow="house"' in answer.text
        assert 'data-last="b"' in answer.text
        for name in (name for name in ASSETS if name.endswith(".js")):
            script = await process.get(f"/static/{name}")
            assert "innerHTML" not in script.text
            assert "text/javascript; charset=utf-8" == script.headers["Content-Type"]


async def _trouble(process: object, **how: object) -> tuple[int, list[dict[str, str]]]:
    answer = await process.get("/readyz")  # type: ignore[attr-defined]
    return answer.status_code, answer.json()["trouble"]


async def test_ready_says_what_is_not_and_why(tmp_path: Path) -> None:
    async with admin(tmp_path, graph(), graph("garden", connection=True)) as process:
        garden = process.flow("garden")
        line = garden.runner.assembly.connections["line"].context
        assert (503, [{"flow": "garden", "connection": "line", "status": "starting", "reason": ""}]) == (
            await _trouble(process)
        )
        line.report("running")
        assert (200, []) == await _trouble(process)
        line.report("degraded", "connection refused")
        garden.runner.assembly.contexts["b"].report("failed", "wrong token")
        assert (
            503,
            [
                {
                    "flow": "garden",
                    "connection": "line",
                    "status": "degraded",
                    "reason": "connection refused",
                },
                {"flow": "garden", "node": "b", "status": "failed", "reason": "wrong token"},
            ],
        ) == await _trouble(process)
        line.report("running")
        garden.runner.assembly.contexts["b"].report("running")
        garden.runner.checkpointer.error = "disk full"
        process.flow("house").storage.journal.error = "read-only"  # type: ignore[misc]  # as after a failure
        process.supervisor.refused["shed"] = "cannot be built: x"
        assert [
            {"flow": "shed", "reason": "cannot be built: x"},
            {"flow": "house", "reason": "journal: read-only"},
            {"flow": "garden", "reason": "checkpoint: disk full"},
        ] == (await _trouble(process))[1]
        garden.runner.checkpointer.error = None
        process.flow("house").storage.journal.error = None  # type: ignore[misc]
        process.supervisor.refused.clear()
        garden.status, garden.reason = "degraded", "crashed"
        assert [{"flow": "garden", "status": "degraded", "reason": "crashed"}] == (await _trouble(process))[1]


async def test_a_broken_file_is_trouble_unless_its_last_good_version_runs(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        process.reloader.diagnostics = [
            Diagnostic("flow.yaml", 3, 4, 5, "error", "FR031", "`every` needs a unit", None),
            Diagnostic("flow.yaml", 3, 4, 5, "warning", "FR050", "unused", None),
        ]
        mistake = {"file": "flow.yaml:3:4", "code": "FR031", "reason": "`every` needs a unit"}
        assert {"ready": True, "trouble": [], "notices": [mistake]} == (await process.get("/readyz")).json()
        process.reloader.diagnostics = [Diagnostic("x.yaml", 3, 4, 5, "error", "FR031", "no", None)]
        assert (503, [{"file": "x.yaml:3:4", "code": "FR031", "reason": "no"}]) == await _trouble(process)


async def test_a_process_that_stops_or_has_no_flow_is_not_ready(tmp_path: Path) -> None:
    async with admin(tmp_path) as process:
        assert [{"reason": "no valid flow is running"}] == (await _trouble(process))[1]
        process.process.stopping = True
        assert {"reason": "stopping"} in (await _trouble(process))[1]
