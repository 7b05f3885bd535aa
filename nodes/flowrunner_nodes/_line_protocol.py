"""Line protocol: one message to one line of text, compiled for the options of a node.

Tags and fields are sorted by name, floats have the shortest text that reads back the same, without a trailing ``.0``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from flowrunner import Message, MessageError
from flowrunner_nodes._names import check_field_name, check_name
from flowrunner_nodes._point_options import PointOptions
from flowrunner_nodes._points import Point, PointReader, Series, checked_time
from flowrunner_nodes._remember import remember
from flowrunner_nodes._scalars import scalar_text

PRECISIONS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
"""Nanoseconds of the units that a timestamp can be written in."""

_MAX_SERIES_BYTES = 65_535

_LARGEST = 2.0**63


class _Layout(NamedTuple):
    """The fields of one set of names, in the order in which they are written."""

    heads: list[tuple[str, str]]
    """Each name and its ``name=``, escaped."""
    template: str
    """All of them, when all are numbers."""
    pick: Callable[[Mapping[str, Any]], tuple[Any, ...]] | None
    """The values of members with exactly these names; ``None`` where the template is not to be used."""


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

    def point(self, message: Message) -> Point:
        """Return the point of a message; raises :class:`MessageError`."""
        return self.points.point(message)

    def replaced(self, messages: Iterable[Message]) -> int:
        """Return how many points an InfluxDB overwrites with a later one of the same topic in this batch."""
        last: dict[str, Message] = {}
        count, unit = 0, self._unit
        for message in messages:
            before = last.get(message.topic)
            if before is not None and before.time // unit == message.time // unit:
                count += self._identity(before) == self._identity(message)
            last[message.topic] = message
        return count

    def _identity(self, message: Message) -> tuple[Series, frozenset[str]]:
        return self.points.series(message), frozenset(self.points.members(message))

    def _numbers(self, members: Mapping[str, Any]) -> str | None:
        """Return the field set of members that are all numbers or bools, else ``None``: the fast path."""
        layout = self._layouts.get(tuple(members))
        if layout is None or layout.pick is None:
            return None
        values = layout.pick(members)
        try:
            total = sum(values)
        except TypeError:  # a string, a mapping, null: as a rule it will be one the next time, too
            self._layouts[tuple(members)] = layout._replace(pick=None)
            return None
        if not -_LARGEST < total < _LARGEST:  # nan, an infinity, or an int that line protocol may not have
            return None
        # No name has an "=", and a "," in a name has a backslash before it: these are the ends of values.
        text = (layout.template % values).replace("=True", "=true").replace("=False", "=false")
        return text.replace(".0,", ",").removesuffix(".0")

    def _fields(self, members: Mapping[str, Any]) -> str:
        fields = self.points.fields(members)
        layout = self._layouts.get(names := tuple(fields)) or self._remember_layout(names)
        parts = []
        for name, head in layout.heads:
            value = fields[name]
            if value.__class__ is float:
                parts.append(head + repr(value).removesuffix(".0"))
            elif isinstance(value, str):
                parts.append(f'{head}"{_escape_string(value)}"')
            elif name in self._integers:
                parts.append(f"{head}{value}i")
            else:
                parts.append(head + scalar_text(value))
        return ",".join(parts)

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
        remember(self._series, key, text, len(text))
        return text

    def _remember_layout(self, unsorted: tuple[str, ...]) -> _Layout:
        for name in unsorted:
            check_field_name(name)
        names = sorted(unsorted)
        heads = [(name, f"{_escape(name)}=") for name in names]
        template = ",".join([head.replace("%", "%%") + "%r" for _, head in heads])
        simple = not any("=" in name for name in names) and self.points.types.isdisjoint(names)
        layout = _Layout(heads, template, _picker(names) if simple else None)
        remember(self._layouts, unsorted, layout, len(template))
        return layout


def _picker(names: list[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    return itemgetter(*names) if len(names) > 1 else lambda members: (members[names[0]],)


def _escape(name: str) -> str:
    return name.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")


def _escape_string(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
