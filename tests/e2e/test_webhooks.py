"""Webhooks of a real process: whatever was answered with 202 comes out, over kill -9."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from tests.e2e.process import Flowrunner

FLOW = """\
version: 1
flow: hooks
nodes:
  hook: {{ type: http_in }}
  out: {{ type: file_out, from: hook, path: "{folder}/out.jsonl" }}
"""
POSTS = 1_000


async def post(client: httpx.AsyncClient, number: int, accepted: set[int], url: str) -> None:
    """Send one message until it is accepted, as a careful sender does."""
    while number not in accepted:
        try:
            answer = await client.post(f"{url}/in/hooks/hook/{number}", json={"n": number})
        except httpx.HTTPError:
            await asyncio.sleep(0.2)
            continue
        if answer.status_code == 202:
            accepted.add(number)
        else:
            assert answer.status_code == 503, answer.text
            await asyncio.sleep(int(answer.headers["retry-after"]) / 5)


def written(folder: Path) -> list[int]:
    lines = (folder / "out.jsonl").read_text().splitlines() if (folder / "out.jsonl").exists() else []
    return [json.loads(line)["payload"]["n"] for line in lines]


@pytest.mark.timeout(180)
async def test_what_was_accepted_is_written_whenever_the_process_is_killed(tmp_path: Path) -> None:
    runner = Flowrunner(tmp_path, checkpoint_every="300ms")
    runner.write("hooks.yaml", FLOW.format(folder=tmp_path))
    url = f"http://127.0.0.1:{runner.port}"
    accepted: set[int] = set()
    limits = httpx.Limits(max_connections=POSTS, max_keepalive_connections=0)
    async with runner, httpx.AsyncClient(limits=limits, timeout=60) as client:
        await runner.start()
        async with asyncio.TaskGroup() as group:
            for number in range(POSTS):
                group.create_task(post(client, number, accepted, url))
            for share in (0.1, 0.5):
                while len(accepted) < POSTS * share:
                    await asyncio.sleep(0.01)
                runner.kill()
                safe = set(accepted)
                await runner.start()
                await runner.until(lambda safe=safe: safe <= set(written(tmp_path)))

        await runner.until(lambda: set(range(POSTS)) == set(written(tmp_path)))
        books = runner.ledger("hooks")
        assert (0, 0) == (books["unaccounted"], books["dead_lettered"])
        assert 0 == await runner.stop()


@pytest.mark.timeout(120)
async def test_a_stop_and_a_reload_answer_every_request(tmp_path: Path) -> None:
    runner = Flowrunner(tmp_path, checkpoint_every="300ms")
    runner.write("hooks.yaml", FLOW.format(folder=tmp_path))
    url = f"http://127.0.0.1:{runner.port}"
    answers: list[int] = []
    accepted: set[int] = set()
    stopped = asyncio.Event()

    async def send() -> None:
        number = 0
        async with httpx.AsyncClient(timeout=10) as client:
            while not stopped.is_set():
                number += 1
                try:
                    answer = await client.post(f"{url}/in/hooks/hook", json={"n": number})
                except httpx.ConnectError:
                    return
                except httpx.RemoteProtocolError:
                    continue
                answers.append(answer.status_code)
                if answer.status_code == 202:
                    accepted.add(number)

    async with runner:
        await runner.start()
        sending = asyncio.create_task(send())
        await runner.until(lambda: len(accepted) > 20)
        runner.write("hooks.yaml", FLOW.format(folder=tmp_path) + "description: another\n")
        await runner.until(lambda: runner.get("/api/v1/flows/hooks")[1]["generation"] == 2)
        count = len(accepted)
        await runner.until(lambda: len(accepted) > count + 20)
        assert 0 == await runner.stop()
        stopped.set()
        await sending

    assert {202} <= set(answers) <= {202, 503}
    assert accepted <= set(written(tmp_path))
