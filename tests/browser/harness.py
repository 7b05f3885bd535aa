"""A real Chromium, and pages of it that must ask nobody else and complain of nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Page, async_playwright

from tests.servers.programs import program

HOUSE = """\
version: 1
flow: house
description: A house.
nodes:
  tick: { type: inject, every: 50ms, payload: { t: 20.5, token: abcdef } }
  twice: { type: map, from: tick, set: { payload.t: "=payload.t * 2" } }
  warm: { type: filter, from: twice, where: payload.t > 100.0 }
  calm: { type: throttle, from: warm.rejected, every: 1s, emit: last }
  bad: { type: map, from: tick, set: { payload.x: =payload.nix } }
  show: { type: debug, from: [warm, calm, bad], level: debug }
"""
GARDEN = """\
version: 1
flow: garden
nodes:
  tick: { type: inject, every: 1s, payload: 1 }
  show: { type: debug, from: tick, level: debug }
"""


def chain(rows: int, columns: int) -> str:
    """A flow of ``rows * columns`` nodes."""
    lines = ["version: 1", "flow: plant", "nodes:"]
    for row in range(rows):
        lines.append(f"  n{row}_0: {{ type: inject, every: 1s, payload: 1 }}")
        lines += [
            f"  n{row}_{column}: {{ type: map, from: n{row}_{column - 1}, set: {{ topic: x }} }}"
            for column in range(1, columns - 1)
        ]
        lines.append(f"  n{row}_{columns - 1}: {{ type: debug, from: n{row}_{columns - 2}, level: debug }}")
    return "\n".join(lines)


class Visit:
    """A page and what it said and asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: set[str] = set()
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.add(request.url.split("/")[2]))


@asynccontextmanager
async def visit(port: int, *, fragment: str = "", **options: Any) -> AsyncIterator[Visit]:
    """Open the page in a new Chromium and wait for its first numbers."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program("chromium", "chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            page = await browser.new_page(**options)
            visited = Visit(page)
            await page.goto(f"http://127.0.0.1:{port}/{fragment}")
            await page.locator("#state.ready, #state.trouble").wait_for(timeout=20_000)
            yield visited
        finally:
            await browser.close()
