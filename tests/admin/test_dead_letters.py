"""The routes for dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.admin.harness import Admin, admin, graph

BASE = "/api/v1/dead-letters"


@asynccontextmanager
async def failed(folder: Path) -> AsyncIterator[Admin]:
    """Run two flows with letters at `n`: two in `house`, one in `shed`."""
    async with admin(folder, graph(), graph("shed")) as process:
        await process.feed("house", "x", "y")
        await process.feed("shed", "z")
        async with asyncio.timeout(5):
            while [process.flow(name).storage.store.letters.count for name in ("house", "shed")] != [2, 1]:
                await asyncio.sleep(0.02)
        yield process


async def ask(process: Admin, method: str, path: str = "", body: Any = None) -> tuple[int, Any]:
    async with process.client() as client:
        answer = await client.request(method, BASE + path, json=body)
        return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", {"house/1", "house/2", "shed/1"}),
        ("?flow=shed", {"shed/1"}),
        ("?node=n", {"house/1", "house/2", "shed/1"}),
        ("?node=b", set()),
        ("?reason=number&limit=1", {"shed/1"}),
        ("?since=1h", {"house/1", "house/2", "shed/1"}),
        ("?since=2100-01-01", set()),
        ("?ids=house/2&ids=shed/1", {"house/2", "shed/1"}),
    ],
)
async def test_letters_are_listed(query: str, ids: set[str], tmp_path: Path) -> None:
    async with failed(tmp_path) as process:
        status, body = await ask(process, "GET", query)

        assert (200, ids) == (status, {letter["id"] for letter in body})


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/house/99", None, 404),
        ("GET", "/none/1", None, 404),
        ("GET", "/house/x", None, 422),
        ("GET", "?flow=none", None, 404),
        ("GET", "?since=soon", None, 400),
        ("GET", "?ids=1", None, 400),
        ("GET", "?limit=0", None, 422),
        ("GET", "?colour=red", None, 422),
        ("POST", "/replay", {}, 400),
        ("POST", "/purge", {}, 400),
        ("POST", "/purge", {"ids": ["house/99"]}, 404),
        ("POST", "/purge", {"idz": ["house/1"]}, 422),
    ],
)
async def test_what_is_wrong_with_a_request_is_said(
    method: str, path: str, body: Any, status: int, tmp_path: Path
) -> None:
    async with failed(tmp_path) as process:
        answered, said = await ask(process, method, path, body)

        assert status == answered
        assert said["detail"]


async def test_a_letter_is_shown_replayed_and_purged(tmp_path: Path) -> None:
    async with failed(tmp_path) as process:
        _, letter = await ask(process, "GET", "/shed/1")
        assert ("n", "not a number", "z", 1) == tuple(
            letter[name] for name in ("node", "reason", "payload", "tried")
        )

        assert (202, {"replaying": 1, "refused": {}}) == await ask(
            process, "POST", "/replay", {"ids": ["shed/1"]}
        )
        async with asyncio.timeout(5):
            while [one["tried"] for one in (await ask(process, "GET", "?flow=shed"))[1]] != [2]:
                await asyncio.sleep(0.02)

        assert (200, {"purged": 2}) == await ask(process, "POST", "/purge", {"flow": "house", "node": "n"})
        assert (200, {"purged": 1}) == await ask(process, "POST", "/purge", {"all": True})
        assert (200, []) == await ask(process, "GET")


async def test_a_letter_of_a_node_that_is_gone_is_refused(tmp_path: Path) -> None:
    async with failed(tmp_path) as process:
        process.flow("shed").runner.replays._assembly.graph.nodes.pop("n")

        reason = "there is no node `n` in flow `shed` any more"
        assert (202, {"replaying": 0, "refused": {"shed/1": reason}}) == await ask(
            process, "POST", "/replay", {"flow": "shed"}
        )


@pytest.mark.parametrize(
    ("call", "method", "path", "body"),
    [
        ("read_dead_letters", "GET", "", None),
        ("want_dead_letters", "POST", "/replay", {"all": True}),
        ("end_dead_letters", "POST", "/purge", {"all": True}),
    ],
)
async def test_a_disk_that_fails_is_said(
    call: str, method: str, path: str, body: Any, tmp_path: Path
) -> None:
    async def refuse(*_: Any) -> Any:
        raise OSError("disk I/O error")

    async with failed(tmp_path) as process:
        store = process.flow("house").storage.store
        setattr(store, call, refuse)
        answered, said = await ask(process, method, path, body)
        vars(store).pop(call)

        assert (503, True) == (answered, "disk I/O error" in said["detail"])


async def test_without_a_token_nobody_elsewhere_sees_letters(tmp_path: Path) -> None:
    async with failed(tmp_path) as process:
        assert 403 == (await process.get(BASE, local=False)).status_code
        assert 401 == (await process.get(BASE, local=False, token="secret")).status_code
