"""Append messages to a file: JSON Lines or CSV.

A batch of messages counts as written when it is on the disk (fsync). While the disk is full or the file cannot be
written, messages wait and writing is tried again. Delivery is at least once: after a crash some lines may stand twice,
and a line that the crash cut in half is removed before the next one is written. The file belongs to the node: what
follows its last line end is taken for such a half line. Directories are made as needed; a file that another program has
renamed or removed is begun anew.

- `format: jsonl`: a line is `{"topic": …, "payload": …, "time": …, "meta": …}`, the time in nanoseconds, so that
  `file_in` reads it back; with `what: payload` it is the payload alone.
- `format: csv`: `columns` maps the names of the columns to their values, which are literals or CEL after an equals sign.
  The names are the first line. null is an empty cell, a list or mapping its JSON text. A message whose expressions
  fail or give a text with a line break goes to `errors`.
- `rotate: { max_bytes: 10MiB, keep: 5 }`: before the file grows beyond `max_bytes` it is renamed to `NAME.1`, what was
  `NAME.1` to `NAME.2` and so on; the oldest beyond `keep` is deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec
from pydantic import Field, model_validator

from flowrunner import (
    EVALUATION_ERRORS,
    Context,
    Json,
    Message,
    MessageError,
    NodeOptions,
    Options,
    RetryLater,
    Sink,
    Size,
    Value,
    node_type,
    option_error,
)
from flowrunner_nodes._appender import Appender, AppendError
from flowrunner_nodes._csv import format_row

EXAMPLE = """\
version: 1
flow: archive
nodes:
  beat:
    type: inject
    every: 10s
    payload: { alive: true }
  store:
    type: file_out
    from: beat
    path: archive/beats.jsonl
    rotate: { max_bytes: 10MiB, keep: 5 }
"""


class RotateOptions(Options):
    """When a new file is begun, and how many old ones stay."""

    max_bytes: Annotated[
        Size, Field(description="The size that a file does not grow beyond.", examples=["10MiB"])
    ]
    keep: Annotated[
        int, Field(description="How many files stay beside the current one.", examples=[5], ge=1, le=1000)
    ] = 5


class Config(NodeOptions):
    """Which file, and what a line of it is."""

    path: Annotated[
        str,
        Field(
            description="The file, from the working directory unless absolute.",
            examples=["archive/readings.jsonl"],
            min_length=1,
        ),
    ]
    format: Annotated[
        Literal["jsonl", "csv"],
        Field(description="What a line is: a JSON value or a CSV row.", examples=["csv"]),
    ] = "jsonl"
    what: Annotated[
        Literal["message", "payload"],
        Field(
            description="Whether a JSON line holds the whole message or its payload alone.",
            examples=["payload"],
        ),
    ] = "message"
    columns: Annotated[
        dict[str, Value] | None,
        Field(
            description="The columns of CSV and their values: literals, or CEL after an equals sign.",
            examples=[{"time": "=time", "sensor": "=topic", "temperature": "=payload.temperature"}],
            min_length=1,
        ),
    ] = None
    rotate: Annotated[
        RotateOptions | None,
        Field(
            description="When to begin a new file; never unless given.",
            examples=[{"max_bytes": "10MiB", "keep": 5}],
        ),
    ] = None

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.format == "csv" and self.columns is None:
            raise option_error("FR025", "`format: csv` needs `columns`", help=_COLUMNS_HELP)
        if self.format != "csv" and self.columns is not None:
            raise option_error(
                "FR025", "`columns` needs `format: csv`", help="set the format, or leave `columns` out"
            )
        if any("\n" in name or "\r" in name for name in self.columns or ()):
            raise option_error("FR025", "the name of a column cannot hold a line break", help=_COLUMNS_HELP)
        if self.format == "csv" and self.what == "payload":
            raise option_error("FR025", "`what` and `format: csv` exclude each other", help=_COLUMNS_HELP)
        return self


_NOT_JSON = (ValueError, TypeError, OverflowError, RecursionError)
"""What encoding raises for a payload that is not JSON, such as half a surrogate pair."""
_COLUMNS_HELP = "name the columns, such as `columns: { time: =time, value: =payload.value }`"


@node_type("file_out")
class FileOut(Sink[Config]):
    """Encode a batch on the loop, append it in a thread."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        header = None if config.columns is None else format_row(list(config.columns))
        rotate = config.rotate
        self._appender = Appender(
            Path(config.path),
            header=header,
            max_bytes=None if rotate is None else rotate.max_bytes,
            keep=0 if rotate is None else rotate.keep,
        )

    async def write(self, batch: Sequence[Message]) -> None:
        """Return when the lines of the batch are on the disk; raise :class:`RetryLater` when they cannot be."""
        messages, lines = self._encode(batch)
        if not lines:
            return
        try:
            await asyncio.to_thread(self._appender.append, lines)
        except AppendError as error:
            raise RetryLater(
                str(error), remaining=messages[error.appended :], operator=error.operator
            ) from None

    def _encode(self, batch: Sequence[Message]) -> tuple[list[Message], list[bytes]]:
        messages, lines = [], []
        for message in batch:
            try:
                lines.append(self._line(message))
                messages.append(message)
            except (MessageError, msgspec.MsgspecError, *_NOT_JSON) as error:
                self.context.fail(message, str(error))
        return messages, lines

    def _line(self, message: Message) -> bytes:
        if self.config.columns is not None:
            return format_row(
                [self._cell(name, value, message) for name, value in self.config.columns.items()]
            )
        if self.config.what == "payload":
            return msgspec.json.encode(message.payload) + b"\n"
        whole = {
            "topic": message.topic,
            "payload": message.payload,
            "time": message.time,
            "meta": dict(message.meta),
        }
        return msgspec.json.encode(whole) + b"\n"

    def _cell(self, name: str, value: Value, message: Message) -> Json:
        try:
            return value.function(message)  # type: ignore[no-any-return]  # any JSON value
        except EVALUATION_ERRORS as error:
            raise MessageError(f"column `{name}`: {value.reason(error)}") from None
