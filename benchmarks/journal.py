"""What the journal costs a record, as ratios in one run: CPU of append + commit + read from memory.

Compared with handing the same records over in a plain list, and with one SQLite row a record.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random

from flowrunner import Record, SystemClock
from flowrunner.clock import FlowClock
from flowrunner.runtime.journal import DiskJournal, Journal, MemoryJournal

TEXT = (
    '{"temperature": %.2f, "humidity": %.2f, "battery": %d, "linkquality": %d, "voltage": %d, "pressure": %.1f, '
    '"last_seen": "2026-03-01T10:%02d:%02dZ", "update": {"state": "idle", "version": 587765297}}'
)


def records(count: int) -> list[Record]:
    """Return records as Zigbee2MQTT publishes them, about 216 bytes each with their topic."""
    chance = Random(1)
    return [
        Record(
            (
                TEXT
                % (
                    chance.uniform(-10, 35),
                    chance.uniform(0, 100),
                    chance.randrange(100),
                    chance.randrange(255),
                    chance.randrange(2700, 3100),
                    chance.uniform(980, 1030),
                    chance.randrange(60),
                    chance.randrange(60),
                )
            ).encode(),
            f"zigbee2mqtt/sensor{chance.randrange(100)}",
        )
        for _ in range(count)
    ]


RECORDS = records(1000)
IN_FLIGHT = 4000
"""Records that the source has not seen committed."""


async def plain_list(count: int, size: int) -> int:
    """Hand records over without keeping them anywhere."""
    read = 0
    for _ in range(count // size):
        batch = RECORDS[:size]
        handed_over = list(batch)
        read += len(handed_over)
    return read


async def through(journal: Journal, count: int, size: int) -> int:
    """Append batches as a busy source does, some of them waiting for their commit; read them as the pump does."""
    await journal.open()

    async def produce() -> None:
        waiting: deque[asyncio.Future[None]] = deque()
        for _ in range(count // size):
            waiting.append(journal.append("zigbee", RECORDS[:size]))
            if len(waiting) > IN_FLIGHT // size:
                await waiting.popleft()
        await asyncio.gather(*waiting)

    async def consume() -> int:
        position = released = 0
        while position < count:
            entries = await journal.read(position)
            if not entries:
                await journal.wait(position)
                continue
            position = entries[-1].seq
            if position - released > 50_000:
                released = position
                journal.release(released)
        return position

    _, position = await asyncio.gather(produce(), consume())
    await journal.close()
    return position


async def row_by_row(folder: Path, count: int, size: int) -> int:
    """Keep one row a record, one transaction a batch, and read them back."""
    connection = sqlite3.connect(folder / "rows.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE records (seq INTEGER PRIMARY KEY, clock, node, data, topic, time)")
    read = 0
    for _ in range(count // size):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO records (clock, node, data, topic, time) VALUES (?, ?, ?, ?, ?)",
            [(1, "zigbee", record.data, record.topic, 1) for record in RECORDS[:size]],
        )
        connection.execute("COMMIT")
        read += len(connection.execute("SELECT * FROM records WHERE seq > ?", (read,)).fetchall())
    connection.close()
    return read


def microseconds(run: Callable[[], Coroutine[None, None, int]]) -> float:
    """Return CPU microseconds a record, all threads."""
    started = time.process_time()
    count = asyncio.run(run())
    return (time.process_time() - started) / count * 1e6


def compare(count: int, size: int) -> list[float]:
    """Return what each way costs for ``count`` records in batches of ``size``."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        memory = MemoryJournal(FlowClock(clock), clock, max_bytes=2**30)
        disk = DiskJournal(folder / "journal", FlowClock(clock), clock)
        return [
            microseconds(lambda: plain_list(count, size)),
            microseconds(lambda: through(memory, count, size)),
            microseconds(lambda: through(disk, count, size)),
            microseconds(lambda: row_by_row(folder, count, size)),
        ]


def main() -> None:
    """Print a table."""
    print("CPU us a record, all threads\n batch     list   memory     disk     rows   rows / disk")
    for size in (1, 10, 100, 500, 1000):
        costs = compare(min(20_000 * size, 400_000), size)
        print(f"{size:>6} " + " ".join(f"{cost:>8.3f}" for cost in costs) + f"   {costs[3] / costs[2]:.1f}")


if __name__ == "__main__":
    main()
