"""The revisions of a flow over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from flowrunner.admin.process import notices
from flowrunner.catalog.address import address
from flowrunner.catalog.catalog import Catalog
from tests.admin.harness import Admin, admin, graph
from tests.catalog.databases import revision
from tests.nodes.harness import RecordingLog

PATH = "/api/v1/flows/house/revisions"


@asynccontextmanager
async def with_catalog(folder: Path) -> AsyncIterator[Admin]:
    """Run a flow and a catalog that has three of its revisions."""
    async with admin(folder, graph()) as process:
        catalog = process.process.catalog = Catalog(address(None, folder / "state"), "house", RecordingLog())
        task = asyncio.create_task(catalog.run())
        for number in range(3):
            catalog.record(revision(number, flow="house"))
        catalog.record(revision(9, flow="gone"))
        async with asyncio.timeout(10):
            while catalog.written < 4:
                await asyncio.sleep(0.01)
        try:
            yield process
        finally:
            task.cancel()
            await asyncio.wait({task})


async def test_revisions_are_listed_the_newest_first(tmp_path: Path) -> None:
    async with with_catalog(tmp_path) as process:
        everything = (await process.get(PATH)).json()
        newest = (await process.get(f"{PATH}?limit=1")).json()
        gone = (await process.get("/api/v1/flows/gone/revisions")).json()

    assert [2, 1, 0] == [int(row["hash"], 16) for row in everything]
    assert everything[:1] == newest
    assert ["gone"] == [row["flow"] for row in gone]


@pytest.mark.parametrize(
    ("path", "how", "status"),
    [
        pytest.param("/api/v1/flows/nobody/revisions", {}, 404, id="an unknown flow"),
        pytest.param(f"{PATH}?limit=0", {}, 422, id="no limit"),
        pytest.param(f"{PATH}?limit=1001", {}, 422, id="too many"),
        pytest.param(PATH, {"local": False, "host": "10.0.0.1"}, 403, id="from elsewhere"),
        pytest.param(
            PATH,
            {"local": False, "host": "10.0.0.1", "token": "t", "bearer": "Bearer x"},
            401,
            id="wrong token",
        ),
        pytest.param(
            PATH, {"local": False, "host": "10.0.0.1", "token": "t", "bearer": "Bearer t"}, 200, id="token"
        ),
    ],
)
async def test_who_may_ask_for_what(path: str, how: dict[str, object], status: int, tmp_path: Path) -> None:
    async with with_catalog(tmp_path) as process:
        assert status == (await process.get(path, **how)).status_code


async def test_without_a_catalog_they_are_unavailable_and_a_broken_one_is_a_notice(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        without = await process.get(PATH)
        catalog = process.process.catalog = Catalog(address(None, tmp_path), "house", RecordingLog())
        opening = await process.get(PATH)
        catalog.error = "OSError: no"
        broken = await process.get(PATH)
        ready = await process.get("/readyz")

        assert [{"reason": "the catalog of revisions: OSError: no"}] == notices(process.process)

    assert [503] * 3 == [answer.status_code for answer in (without, opening, broken)]
    assert "the catalog of revisions cannot be read: OSError: no" == broken.json()["detail"]
    assert "5" == broken.headers["Retry-After"]
    assert 200 == ready.status_code
