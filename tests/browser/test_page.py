"""The live page in a real Chromium: what it shows, what a click and a key do, how it looks when it is narrow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.harness import GARDEN, HOUSE, chain, visit
from tests.e2e.process import Flowrunner

pytestmark = [pytest.mark.server, pytest.mark.timeout(120)]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Flowrunner]:
    made = Flowrunner(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


async def test_numbers_move_and_the_page_asks_nobody_else(installation: Flowrunner) -> None:
    installation.write("house.yaml", HOUSE)
    await installation.start()
    async with visit(installation.port) as visited:
        page = visited.page
        await expect(page.locator("svg .rate", has_text="/s").first).to_be_visible(timeout=10_000)
        await expect(page.locator("[data-node=bad] .badge")).to_contain_text("dead")
        await expect(page.locator("[data-node=calm] .badge")).to_contain_text("holds 1")
        await expect(page.locator("[data-balance]")).to_have_text("✓ all accounted for")
        assert int((await page.locator("[data-total=received]").inner_text()).replace(",", "")) > 0
        assert await page.locator("[data-total=created]").is_visible()

        assert ([], {f"127.0.0.1:{installation.port}"}) == (visited.said, visited.asked)


async def test_a_node_tells_its_options_counters_and_messages(installation: Flowrunner) -> None:
    installation.write("house.yaml", HOUSE)
    await installation.start()
    async with visit(installation.port) as visited:
        page, panel = visited.page, visited.page.locator("#panel")
        await page.locator("[data-node=calm] .box").click()
        await expect(panel.get_by_role("heading", name="calm")).to_be_visible()
        await expect(panel.locator("tr", has_text="every").locator("td")).to_have_text("1s")
        await expect(panel.locator("tr", has_text="received").locator("td")).not_to_have_text("0")
        await expect(panel.locator(".spark polyline")).to_have_attribute("points", re.compile(r"\d"))
        await expect(panel.locator(".messages li").first).to_contain_text("41", timeout=10_000)
        await expect(panel.locator(".messages")).not_to_contain_text("abcdef")
        await page.keyboard.press("Escape")
        await expect(panel).to_be_hidden()

        assert [] == visited.said


async def test_a_wire_shows_its_last_messages(installation: Flowrunner) -> None:
    installation.write("house.yaml", HOUSE)
    await installation.start()
    async with visit(installation.port) as visited:
        page, panel = visited.page, visited.page.locator("#panel")
        await page.get_by_role("button", name="wire from tick.out to twice").click(force=True)
        await expect(panel.get_by_role("heading", name="tick.out")).to_be_visible()
        await expect(panel.locator(".messages li").first).to_contain_text("20.5", timeout=10_000)
        await expect(panel.locator(".messages li").first).to_contain_text("**********")
        await expect(panel.locator(".messages li")).to_have_count(30, timeout=15_000)


async def test_why_tells_which_condition_left_a_message_out(installation: Flowrunner) -> None:
    installation.write("house.yaml", HOUSE.replace("from: warm.rejected", "from: warm"))
    await installation.start()
    async with visit(installation.port) as visited:
        panel = visited.page.locator("#panel")
        await visited.page.locator("[data-node=tick] .box").click()
        await panel.get_by_role("button", name="Why?").click()
        await expect(panel.locator(".way .end").first).to_contain_text("warm filtered it out", timeout=15_000)
        await expect(panel.locator(".way .end").first).to_contain_text("payload.t = 41")
        await expect(panel.locator(".way .change").first).to_contain_text("20.5")
        await expect(panel.locator(".way .bad").first).to_contain_text("bad failed")


async def test_keys_go_along_the_wires(installation: Flowrunner) -> None:
    installation.write("house.yaml", HOUSE)
    await installation.start()
    async with visit(installation.port) as visited:
        page = visited.page
        await page.locator("[data-node=tick]").focus()
        walked = []
        for key in (
            "ArrowRight",
            "ArrowDown",
            "ArrowUp",
            "ArrowRight",
            "ArrowDown",
            "ArrowLeft",
            "ArrowLeft",
        ):
            await page.keyboard.press(key)
            walked.append(await page.evaluate("document.activeElement.getAttribute('aria-label')"))
        await page.keyboard.press("Enter")

        assert [
            "wire from tick.out to twice",
            "wire from tick.out to bad",
            "wire from tick.out to twice",
            "node twice",
            "node bad",
            "wire from tick.out to bad",
            "node tick",
        ] == walked
        await expect(page.locator("#panel h2")).to_have_text("tick")
        await page.keyboard.press("Escape")
        assert "node tick" == await page.evaluate("document.activeElement.getAttribute('aria-label')")


async def test_several_flows_have_tabs(installation: Flowrunner) -> None:
    installation.write("house.yaml", HOUSE)
    installation.write("garden.yaml", GARDEN)
    await installation.start()
    async with visit(installation.port, fragment="#house") as visited:
        page = visited.page
        await expect(page.locator("[data-flow=house]")).to_be_visible()
        await expect(page.locator("[data-flow=garden]")).to_be_hidden()
        await page.get_by_role("link", name="garden").click()
        await expect(page.locator("[data-flow=garden]")).to_be_visible()
        await expect(page.locator("[data-flow=house]")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_hundred_nodes_fit_on_a_narrow_screen(scheme: str, installation: Flowrunner) -> None:
    installation.write("plant.yaml", chain(10, 10))
    await installation.start()
    narrow = {"width": 360, "height": 740}
    async with visit(installation.port, viewport=narrow, color_scheme=scheme) as visited:
        page = visited.page
        assert 100 == await page.locator("[data-node]").count()
        assert 360 == await page.evaluate("document.documentElement.scrollWidth")
        await page.locator("[data-node=n0_0] .box").click()
        box = await page.locator("#panel").bounding_box()
        assert box is not None
        assert (0, 360) == (box["x"], box["width"])
        assert 360 == await page.evaluate("document.documentElement.scrollWidth")


async def test_a_mistake_and_its_mending_are_shown(installation: Flowrunner) -> None:
    installation.write("house.yaml", HOUSE)
    await installation.start()
    async with visit(installation.port) as visited:
        page = visited.page
        installation.write("house.yaml", HOUSE.replace("every: 1s", "every: 1"))
        await expect(page.locator("#trouble")).to_contain_text("house.yaml:8:", timeout=15_000)
        await expect(page.locator("#reloads")).to_contain_text("refused")
        installation.write("house.yaml", HOUSE.replace("every: 1s", "every: 2s"))
        await expect(page.locator("#trouble")).to_be_hidden(timeout=15_000)
        await expect(page.locator("[data-fact=generation]")).to_have_text("2", timeout=15_000)
        await page.locator("#reloads summary").click()
        await expect(page.locator("#reloads li").first).to_contain_text("applied house")


async def test_a_process_that_is_gone_is_told(installation: Flowrunner) -> None:
    installation.write("garden.yaml", GARDEN)
    await installation.start()
    async with visit(installation.port) as visited:
        installation.kill()
        await expect(visited.page.locator("#state")).to_have_text("no answer, trying again", timeout=10_000)
        await expect(visited.page.locator("body")).to_have_class("stale")
