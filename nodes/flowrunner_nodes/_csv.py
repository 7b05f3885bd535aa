"""Rows of CSV: read, each together with its header so that it stands on its own, and written."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated

import msgspec
from pydantic import Field

from flowrunner import Json, MessageError, NodeFailed, Options

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_LARGEST = 2**63


class CsvOptions(Options):
    """How the cells of a row are told apart."""

    delimiter: Annotated[
        str, Field(description="The character between cells.", examples=[";"], pattern=r'^[^"\r\n]$')
    ] = ","


def join_row(header: bytes, row: bytes) -> bytes:
    """Return the data of a record that :func:`parse_row` reads."""
    return header + b"\n" + row


def parse_row(data: bytes, delimiter: str) -> dict[str, str | int | float | None]:
    """Return the mapping of one row. Raises :class:`MessageError` for a row that does not fit its header."""
    header, _, row = data.partition(b"\n")
    names, cells = _header(header, delimiter), _cells(row, delimiter)
    if len(cells) != len(names):
        raise MessageError(f"the row has {len(cells)} cells and the header {len(names)}")
    return {name: _value(cell) for name, cell in zip(names, cells, strict=True)}


def check_header(header: bytes, delimiter: str) -> None:
    """Raise :class:`NodeFailed` for a first line that cannot name the columns."""
    try:
        names = _header(header, delimiter)
    except MessageError as error:
        raise NodeFailed(f"the first line cannot name the columns: {error}") from None
    if not names:
        raise NodeFailed("the first line cannot name the columns: it is blank")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise NodeFailed(f"the first line names the column {twice!r} twice")


def format_row(cells: Sequence[Json]) -> bytes:
    """Return a row with its end. Raises :class:`MessageError` for a cell that holds a line break."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([_text(cell) for cell in cells])
    row = text.getvalue()
    if "\n" in row or "\r" in row:
        raise MessageError("a cell cannot hold a line break")
    return row.encode() + b"\n"


@lru_cache(maxsize=64)
def _header(header: bytes, delimiter: str) -> tuple[str, ...]:
    return tuple(_cells(header, delimiter))


def _cells(line: bytes, delimiter: str) -> list[str]:
    try:
        rows = list(csv.reader([line.decode()], delimiter=delimiter, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise MessageError(f"not a CSV row: {error}") from None
    return rows[0] if rows else []


def _value(cell: str) -> str | int | float | None:
    if not cell:
        return None
    match = _NUMBER.fullmatch(cell)
    if match is None:
        return cell
    if match[2] is None and match[3] is None:
        return _integer(cell)
    number = float(cell)
    return number if math.isfinite(number) else cell


def _integer(cell: str) -> int | str:
    """Return an integer of 64 bits; a longer one, such as a serial number, stays a string."""
    number = int(cell) if len(cell) <= 20 else _LARGEST
    return number if -_LARGEST <= number < _LARGEST else cell


def _text(cell: Json) -> str:
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else msgspec.json.encode(cell).decode()
