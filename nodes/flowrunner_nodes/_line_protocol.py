"""Line protocol: one message to one line of text, compiled for the options of a node.

Tags and fields are sorted by name, floats have the shortest text that reads back the same, without a trailing ``.0``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from flowrunner import Message, MessageError
from flowrunner_nodes._names import check_field_name, check_name
from flowrunner_nodes._points import PointOptions, PointReader, Series, checked_time
from flowrunner_nodes._scalars import Scalar, scalar_text

PRECISIONS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
"""Nanoseconds of the units that a timestamp can be written in."""

_CACHE_ENTRIES = 16_384
_MAX_SERIES_BYTES = 65_535

_LARGEST = 2.0**63


class _Layout(NamedTuple):
    """The fields of one set of names, in the order in which they are written."""

    names: list[str]
    heads: list[str]
    """``name=`` for each, escaped."""
    template: str
    pick: Callable[[Mapping[str, Any]], tuple[Any, ...]] | None
    """The values from members of exactly these names; ``None`` when the template is not for them."""


class LineEncoder:
    """Turns messages into lines.

    What repeats is remembered, for a bounded number of cases: the text of a series, the layout of the fields.
    """

    def __init__(self, options: PointOptions, precision: str) -> None:
        self.points = PointReader(options)
        self._unit = PRECISIONS[precision]
        self._integers = frozenset(name for name, kind in options.types.items() if kind == "int")
        self._tag_heads = [f",{_escape(name)}=" for name in self.points.tag_names]
        self._series: dict[Series, str] = {}
        self._layouts: dict[tuple[str, ...], _Layout] = {}

    def line(self, message: Message) -> str:
        """Return the line for a message, without a line break; raises :class:`MessageError`."""
        key = self.points.series(message)
        series = self._series.get(key) or self._remember_series(key)
        members = self.points.members(message)
        fields = self._numbers(members) or self._fields(members)
        time = checked_time(message)
        return f"{series} {fields} {time if self._unit == 1 else time // self._unit}"

    def _numbers(self, members: Mapping[str, Any]) -> str | None:
        """Return the field set of members that are all numbers or bools, else ``None``: the fast path."""
        layout = self._layouts.get(tuple(members))
        if layout is None or layout.pick is None:
            return None
        values = layout.pick(members)
        try:
            total = sum(values)
        except TypeError:
            return None
        if not -_LARGEST < total < _LARGEST:  # nan, an infinity, or an int that line protocol may not have
            return None
        # No name has an "=", and a "," in a name has a backslash before it: these are the ends of values.
        text = (layout.template % values).replace("=True", "=true").replace("=False", "=false")
        return text.replace(".0,", ",").removesuffix(".0")

    def _fields(self, members: Mapping[str, Any]) -> str:
        fields = self.points.fields(members)
        layout = self._layouts.get(names := tuple(fields)) or self._remember_layout(names)
        return ",".join(
            [head + self._text(name, fields[name]) for name, head in zip(*layout[:2], strict=True)]
        )

    def _text(self, name: str, value: Scalar) -> str:
        if isinstance(value, str):
            return f'"{_escape_string(value)}"'
        return f"{value}i" if name in self._integers else scalar_text(value)

    def _remember_series(self, key: Series) -> str:
        measurement, *tags = key
        check_name("measurement", measurement)
        if measurement.startswith("#"):
            raise MessageError(
                f"the measurement {measurement[:60]!a} begins with #, which makes the line a comment"
            )
        text = measurement.replace(",", "\\,").replace(" ", "\\ ")
        for head, name, value in zip(self._tag_heads, self.points.tag_names, tags, strict=True):
            if value:
                check_name(f"tag `{name}`", value)
                text += head + _escape(value)
        if len(text.encode()) > _MAX_SERIES_BYTES:
            raise MessageError(f"measurement and tags together exceed {_MAX_SERIES_BYTES} bytes")
        _make_room(self._series)
        self._series[key] = text
        return text

    def _remember_layout(self, unsorted: tuple[str, ...]) -> _Layout:
        for name in unsorted:
            check_field_name(name)
        names = sorted(unsorted)
        heads = [f"{_escape(name)}=" for name in names]
        template = ",".join([head.replace("%", "%%") + "%r" for head in heads])
        simple = not any("=" in name for name in names) and self.points.types.isdisjoint(names)
        _make_room(self._layouts)
        self._layouts[unsorted] = layout = _Layout(names, heads, template, _picker(names) if simple else None)
        return layout


def _picker(names: list[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    return itemgetter(*names) if len(names) > 1 else lambda members: (members[names[0]],)


def _make_room[K, V](cache: dict[K, V]) -> None:
    if len(cache) >= _CACHE_ENTRIES:
        del cache[next(iter(cache))]


def _escape(name: str) -> str:
    return name.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")


def _escape_string(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
