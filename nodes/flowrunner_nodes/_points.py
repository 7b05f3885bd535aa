"""Points of a time series: how messages become them, the same for every sink that writes points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from flowrunner import EVALUATION_ERRORS, Message, MessageError
from flowrunner_nodes._point_options import PointOptions
from flowrunner_nodes._scalars import (
    CONVERTERS,
    INT64,
    Scalar,
    clean_string,
    kind_of,
    tag_text,
    to_float,
)

type Series = tuple[str, ...]
"""The measurement and the text of each tag in the order of ``PointReader.tag_names``, ``""`` for a tag left out."""


class Point(NamedTuple):
    """A point but for its time; tags that are empty are left out."""

    measurement: str
    tags: dict[str, str]
    fields: Mapping[str, Scalar]


_MIN_TIME = -(2**63) + 2
_MAX_TIME = 2**63 - 2


def checked_time(message: Message) -> int:
    """Return the time of a message, nanoseconds; raises :class:`MessageError` outside of InfluxDB's range."""
    if not _MIN_TIME <= message.time <= _MAX_TIME:
        raise MessageError(
            f"the time {message.time} is outside what InfluxDB can store (the years 1677 to 2262)"
        )
    return message.time


class PointReader:
    """Reads the parts of a point out of messages; everything that the options settle is settled here once."""

    def __init__(self, options: PointOptions) -> None:
        self.tag_names = tuple(sorted(options.tags))
        self.non_finite = 0
        """How many fields were left out so far because they were not finite numbers."""
        assert options.measurement is not None  # noqa: S101  # the layout is `plain`
        self._series = [("measurement", options.measurement)]
        self._series += [(f"tags.{name}", options.tags[name]) for name in self.tag_names]
        self._functions = [value.function for _, value in self._series]
        self._fields = options.fields
        self.types = frozenset(options.types)
        """The names of the fields whose type is declared."""
        self._convert = {name: CONVERTERS[kind] for name, kind in options.types.items()}

    def point(self, message: Message) -> Point:
        """Return the point of a message; raises :class:`MessageError`."""
        measurement, *texts = self.series(message)
        if not measurement:
            raise MessageError("the measurement is empty")
        tags = {name: text for name, text in zip(self.tag_names, texts, strict=True) if text}
        return Point(measurement, tags, self.fields(self.members(message)))

    def series(self, message: Message) -> Series:
        """Return the measurement and tags of a message; raises :class:`MessageError`."""
        texts: list[str] = []
        try:
            for function in self._functions:
                value = function(message)
                texts.append(value if value.__class__ is str else tag_text(value))
        except EVALUATION_ERRORS as error:
            name, source = self._series[len(texts)]
            raise MessageError(f"`{name}`: {source.reason(error)}") from None
        except MessageError as error:
            raise MessageError(f"`{self._series[len(texts)][0]}`: {error}") from None
        return tuple(texts)

    def fields(self, members: Mapping[str, Any]) -> dict[str, Scalar]:
        """Return the fields that members make: finite floats, 64-bit ints, bools and clean strings, at least one.

        Raises :class:`MessageError` when there is none or one cannot be written.
        """
        fields: dict[str, Scalar] = {}
        try:
            self._collect(members, fields)
        except RecursionError:
            raise MessageError("the payload is nested too deeply to be flattened into fields") from None
        if not fields:
            raise MessageError("the point has no field: nothing in it is a finite number, a bool or a string")
        return fields

    def members(self, message: Message) -> Mapping[str, Any]:
        """Return what the fields are made of, as it comes: the payload, or the values of the option `fields`."""
        payload = message.payload
        if self._fields is None:
            return payload if payload.__class__ is dict else {"value": payload}
        members = {}
        for name, value in self._fields.items():
            try:
                members[name] = value.function(message)
            except EVALUATION_ERRORS as error:
                raise MessageError(f"field `{name}`: {value.reason(error)}") from None
        return members

    def _collect(self, members: Mapping[str, Any], fields: dict[str, Scalar], prefix: str = "") -> None:
        convert = self._convert
        for name, value in members.items():
            name = prefix + name if prefix else name
            if convert and name in convert and value is not None:
                value = convert[name](name, value)
            kind = value.__class__
            if kind is float:
                if value - value != 0.0:  # only nan and the infinities differ from themselves so
                    self.non_finite += 1
                    continue
            elif kind is not bool:
                if kind is str:
                    value = clean_string(name, value)
                elif kind is not int or not -INT64 <= value < INT64:
                    self._collect_rare(name, value, fields)
                    continue
            if name in fields:
                raise MessageError(f"two members of the payload would both be the field `{name}`")
            fields[name] = value

    def _collect_rare(self, name: str, value: Any, fields: dict[str, Scalar]) -> None:
        """Take what is not a scalar: mappings are flattened, null is left out, and so are lists of a payload."""
        if isinstance(value, dict):
            self._collect(value, fields, f"{name}_")
        elif isinstance(value, int):
            self._collect({name: to_float(name, value)}, fields)
        elif value is not None and not (isinstance(value, list) and self._fields is None):
            raise MessageError(f"field `{name}` must be a number, a bool or a string, got {kind_of(value)}")
