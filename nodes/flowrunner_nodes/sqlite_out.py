"""Write each message as a point into a SQLite file: for where no InfluxDB is at hand.

The options are those of `influxdb_out`, and so is what becomes a field. The file has one table:

    points(measurement TEXT, tags TEXT, time INTEGER, fields TEXT, PRIMARY KEY (measurement, tags, time))

`tags` and `fields` are JSON objects with sorted names, `time` is nanoseconds since the epoch. As in InfluxDB a point
with the same measurement, tags and time is the same point: its fields are merged, so that a message that is written
twice is there once. Ask with `json_extract(fields, '$.mean')`.

A batch is one transaction, safe on disk before it counts as written. Readers are never in the way (WAL); they open
the file read-only (`file:climate.sqlite?mode=ro`). While the disk is full or the file cannot be opened, the node tries
again and nothing is lost.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import msgspec
from pydantic import Field

from flowrunner import Context, Message, MessageError, RetryLater, Sink, node_type
from flowrunner_nodes._encoders import encoder
from flowrunner_nodes._ha_layout_fields import LeftOut
from flowrunner_nodes._point_options import PointOptions
from flowrunner_nodes._points import checked_time

EXAMPLE = """\
version: 1
flow: climate
nodes:
  readings:
    type: file_in
    path: readings.jsonl
  store:
    type: sqlite_out
    from: readings
    path: climate.sqlite
    measurement: climate
    tags: { sensor: =topic }
"""

type _Row = tuple[str, bytes, int, bytes]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS points (
    measurement TEXT NOT NULL, tags TEXT NOT NULL, time INTEGER NOT NULL, fields TEXT NOT NULL,
    PRIMARY KEY (measurement, tags, time)
) WITHOUT ROWID
"""
_UPSERT = """
INSERT INTO points (measurement, tags, time, fields) VALUES (?, CAST(? AS TEXT), ?, CAST(? AS TEXT))
ON CONFLICT DO UPDATE SET fields = json_patch(fields, excluded.fields)
"""


class Config(PointOptions):
    """Which file, and how messages become points."""

    path: Annotated[
        str,
        Field(
            description="The file, relative to the working directory; it and its folders are made when missing.",
            min_length=1,
            examples=["data/climate.sqlite"],
        ),
    ]


@node_type("sqlite_out")
class SqliteOut(Sink[Config]):
    """Keep one connection to the file in one thread."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self._encoder = encoder(config, "ns")
        self._thread: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None

    def show(self, message: Message) -> str:
        """Return the point of a message as a line that InfluxDB would take, or why it has none."""
        try:
            return self._encoder.line(message)
        except LeftOut as left_out:
            return f"({left_out.reason})"

    async def open(self) -> None:
        """Start the thread; the file is opened by the first batch, so that a full disk is no crash."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{self.context.flow}.{self.context.node}")

    async def close(self) -> None:
        """Close the file and end the thread."""
        if self._thread is not None:
            await self._in_thread(self._close_database)
            self._thread.shutdown()
            self._thread = None

    async def write(self, batch: Sequence[Message]) -> None:
        """Return when the points of all messages that did not fail are safe in the file."""
        messages, rows = list[Message](), list[_Row]()
        for message in batch:
            try:
                rows.append(self._row(message))
            except LeftOut as left_out:
                self.context.counters.drop(left_out.reason)
            except MessageError as error:
                self.context.fail(message, str(error))
            else:
                messages.append(message)
        try:
            await self._in_thread(lambda: self._store(rows))
        except (sqlite3.Error, OSError) as error:
            raise RetryLater(f"cannot write to {self.config.path}: {error}", remaining=messages) from None

    def _row(self, message: Message) -> _Row:
        measurement, tags, fields = self._encoder.point(message)
        encode = _ENCODER.encode
        return measurement, encode(tags), checked_time(message), encode(fields)

    def _store(self, rows: Sequence[_Row]) -> None:
        try:
            with self._open_database() as database:
                database.executemany(_UPSERT, rows)
        except sqlite3.Error:
            self._close_database()  # the file may be another one the next time
            raise

    def _open_database(self) -> sqlite3.Connection:
        if self._database is None:
            path = Path(self.config.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(_SCHEMA)
        return self._database

    def _close_database(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)


_ENCODER = msgspec.json.Encoder(order="sorted")
