"""Read the lines of a file: JSON Lines or CSV, once or as it grows.

Each line becomes one message: its topic is `topic` or the name of the file, its `meta.line` the line's number. Blank
lines are passed over. A line that cannot be read, such as invalid JSON or a row that does not fit the header, goes to
the port `errors` as it stands. Lines of more than 1 MiB are dropped, counted as `line_too_long`. The place in the file
is saved with the messages, so a restart goes on at the next line.

- `format: jsonl`: a line is a JSON value, the payload.
- `format: csv`: the first line names the columns, every other line is a row and gives a mapping. Cells that are JSON
  numbers become numbers (`007` and `1,5` stay strings), empty cells become null. A cell cannot hold a line break.
- `follow: true` goes on as lines are added, looking four times a second. It waits for a file that is not there yet and
  for the end of a half-written line. When the file is renamed and a new one takes its place, the old one is read to its
  end first; also after a restart and several times over, as long as the old files stay in the directory, with a number
  or a date behind the name (`NAME.1`, `NAME-20260301`). When it is truncated, reading begins again at its start.
- `time` takes the time of a message from a member of its line. `clock` says what drives windows and throttles: `arrival`,
  the time of reading, or `time`, the lines' own times, so that a file of last year gives the windows of last year. It is
  `time` for a file that is read once and has `time`, else `arrival`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from flowrunner import (
    MessageError,
    NodeFailed,
    NodeOptions,
    Record,
    Source,
    SourceContext,
    node_type,
    option_error,
)
from flowrunner_nodes._csv import CsvOptions, check_header, join_row, parse_row
from flowrunner_nodes._tail import Line, Tail
from flowrunner_nodes._times import TimeOptions

EXAMPLE = """\
version: 1
flow: history
nodes:
  lines:
    type: file_in
    path: readings.jsonl
    format: jsonl
    time: { field: ts, format: rfc3339 }
  show:
    type: debug
    from: lines
"""

_POLL = 0.25  # seconds between looks at a file that has nothing new


class Config(NodeOptions):
    """Which file, and how to read it."""

    path: Annotated[
        str,
        Field(
            description="The file, from the working directory unless absolute.",
            examples=["in.jsonl"],
            min_length=1,
        ),
    ]
    format: Annotated[
        Literal["jsonl", "csv"],
        Field(description="What a line is: a JSON value or a CSV row.", examples=["csv"]),
    ] = "jsonl"
    csv: Annotated[CsvOptions | None, Field(description="Details of CSV.", examples=[{"delimiter": ";"}])] = (
        None
    )
    follow: Annotated[
        bool, Field(description="Whether to wait for more at the end of the file.", examples=[True])
    ] = False
    topic: Annotated[
        str | None,
        Field(description="The topic of the messages; the file's name unless given.", examples=["import"]),
    ] = None
    time: Annotated[
        TimeOptions | None,
        Field(
            description="Where the messages' time comes from; the time of reading unless given.",
            examples=[{"field": "ts", "format": "ms"}],
        ),
    ] = None
    clock: Annotated[
        Literal["arrival", "time"] | None,
        Field(
            description="Whether the time of reading or the lines' own time drives the flow.",
            examples=["arrival"],
        ),
    ] = None

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.csv is not None and self.format != "csv":
            raise option_error(
                "FR025", "`csv` needs `format: csv`", help="set the format, or leave `csv` out"
            )
        if self.clock == "time" and self.time is None:
            raise option_error("FR025", "`clock: time` needs `time`", help="say where a line's time stands")
        return self


@node_type("file_in", ports={"out": "The lines of the file."})
class FileIn(Source[Config]):
    """Read in a thread, a chunk at a time; the next chunk when the journal has the last one."""

    def __init__(self, config: Config, context: SourceContext) -> None:
        super().__init__(config, context)
        self._path = Path(config.path)
        self._topic = self._path.name if config.topic is None else config.topic
        default = "time" if config.time is not None and not config.follow else "arrival"
        self._by_time = (config.clock or default) == "time"
        self._clock = 0
        self._header = b""
        self._delimiter = "," if config.csv is None else config.csv.delimiter

    async def run(self) -> None:
        """Bring in the file's lines; return at the end of a file that is not followed."""
        cursor = self.context.cursor
        if not isinstance(cursor, dict):  # the first start, or the node was of another type
            cursor = None
        self._clock = 0 if cursor is None else cursor["clock"]
        tail = Tail(self._path, follow=self.config.follow, cursor=cursor)
        try:
            while (lines := await self._read(tail)) is not None:
                if lines:
                    await self._emit(lines, tail)
                else:
                    await asyncio.sleep(_POLL)
        finally:
            tail.close()

    async def _read(self, tail: Tail) -> list[Line] | None:
        """Return the next lines; a followed file that cannot be read now is waited for."""
        missed, too_long = tail.missed, tail.too_long
        try:
            lines = await asyncio.to_thread(tail.read)
        except OSError as error:
            reason = f"cannot read {self._path}: {error.strerror}"
            if not self.config.follow:
                raise NodeFailed(
                    f"{reason}; check `path`, or set `follow: true` to wait for the file"
                ) from None
            self.context.report("degraded", reason)
            return []
        self.context.report("running")
        if tail.missed and not missed:
            self.context.log.warning("the file was replaced; reading the new one", path=str(self._path))
        if tail.too_long > too_long:
            self.context.counters.received += tail.too_long - too_long
            self.context.counters.drop("line_too_long", tail.too_long - too_long)
            self.context.log.warning("dropped a line of more than 1 MiB", path=str(self._path))
        return lines

    async def _emit(self, lines: list[Line], tail: Tail) -> None:
        if self.config.format == "csv":
            lines = await self._rows(lines, tail)
        records = [self._record(line) for line in lines]
        await self.context.emit_records(records, cursor={**tail.cursor(), "clock": self._clock})

    async def _rows(self, lines: list[Line], tail: Tail) -> list[Line]:
        """Return the rows among the lines, each with the header of its file."""
        if lines[0].number == 1 or not self._header:
            header = await asyncio.to_thread(tail.first_line)
            check_header(header, self._delimiter)
            self._header = header
        return [Line(join_row(self._header, line.data), line.number) for line in lines if line.number > 1]

    def _record(self, line: Line) -> Record:
        time = self._line_time(line.data)
        if self._by_time:  # a line without a readable time stands where the one before it does
            self._clock = max(self._clock, time or 0)
        clock = self._clock if self._by_time else None
        return Record(line.data, topic=self._topic, time=time, meta={"line": line.number}, clock=clock)

    def _line_time(self, data: bytes) -> int | None:
        if self.config.time is None:
            return None
        try:
            return self.config.time.read(self._parse(data))
        except MessageError:
            return None  # ``decode`` says so, where the message can be seen

    def decode(self, data: bytes) -> Any:
        """Return the payload of a line; a line whose time cannot be read is an error as well."""
        payload = self._parse(data)
        if self.config.time is not None:
            self.config.time.read(payload)
        return payload

    def _parse(self, data: bytes) -> Any:
        return parse_row(data, self._delimiter) if self.config.format == "csv" else super().decode(data)
