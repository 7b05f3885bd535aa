"""A backlog much larger than memory, journaled while nobody read it, and drained by a process with little memory."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from base64 import b64encode
from pathlib import Path
from random import Random

from flowrunner import Record, SystemClock
from flowrunner.clock import FlowClock
from flowrunner.runtime.journal import DiskJournal
from reliability.scenario import Outcome, scenario
from tests.e2e.process import Flowrunner

BACKLOG = 2 * 2**30
"""Bytes on disk."""
MEMORY = 256 * 2**20
"""Bytes that the process may take: enforced for its data, checked for all of it."""
NOISE = 1_500
FLOW = """
version: 1
flow: backlog
connections:
  nobody: {{ type: mqtt, url: "mqtt://127.0.0.1:1" }}
nodes:
  feed: {{ type: mqtt_in, connection: nobody, topics: [x], format: json }}
  small: {{ type: map, from: feed, set: {{ payload: "={{'id': payload.id}}" }} }}
  away: {{ type: file_out, from: small, path: "{path}", format: jsonl }}
"""


@scenario("2 GiB of backlog", "A backlog of any size is drained with bounded memory.", seconds=1800.0)
async def backlog(folder: Path) -> Outcome:
    """Journal 2 GiB, then let a process that is limited to 256 MiB write all of it."""
    outcome, peak = await drain(folder, BACKLOG, MEMORY)
    assert peak <= MEMORY, f"{peak / 2**20:.0f} MiB of memory"
    return outcome


async def drain(folder: Path, size: int, limit: int | None = None) -> tuple[Outcome, int]:
    """Drain ``size`` bytes of journal; return what came of it and the most memory that the process has had.

    ``limit`` is what the process may have as data, the unused parts of its threads' stacks included.
    """
    output = folder / "out.jsonl"
    flowrunner = Flowrunner(folder, journal_max_bytes=f"{size // 2**20 * 2}MiB")
    count = await fill(flowrunner.state / "flows" / "backlog" / "journal", size)
    flowrunner.write("backlog.yaml", FLOW.format(path=output))
    async with flowrunner:
        flowrunner.launch()
        begin = time.monotonic()
        assert flowrunner.process is not None
        pid = flowrunner.process.pid
        if limit is not None:
            resource.prlimit(pid, resource.RLIMIT_DATA, (limit, limit))
        await flowrunner.until(lambda: flowrunner.ledger("backlog").get("written", 0) >= count, 1500.0)
        seconds = time.monotonic() - begin
        peak = _peak(pid)
        assert await flowrunner.stop() == 0
    lost, repeated = await asyncio.to_thread(_compare, output, count)
    return Outcome(lost=lost, duplicated=repeated, recovered_in=seconds), peak


async def fill(folder: Path, size: int) -> int:
    """Journal records of a source ``feed``, numbered from 1, until they take ``size`` bytes; return how many."""
    clock, chance = SystemClock(), Random(1)
    journal = DiskJournal(folder, FlowClock(clock), clock, max_bytes=2 * size)
    await journal.open()
    while journal.bytes < size:
        numbers = range(journal.last + 1, journal.last + 501)
        await journal.append("feed", [Record(_payload(number, chance), "x") for number in numbers])
    count = journal.last
    await journal.close()
    return count


def _payload(number: int, chance: Random) -> bytes:
    return b'{"id": %d, "noise": "%s"}' % (number, b64encode(chance.randbytes(NOISE)))


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _compare(output: Path, count: int) -> tuple[int, int]:
    with output.open() as lines:
        ids = [json.loads(line)["payload"]["id"] for line in lines]
    found = set(ids)
    assert found <= set(range(1, count + 1)), "there is what nobody has sent"
    return count - len(found), len(ids) - len(found)
