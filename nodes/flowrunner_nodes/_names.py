"""Names of series and fields: which ones line protocol can carry and InfluxDB accepts."""

from __future__ import annotations

import re

from flowrunner import MessageError
from flowrunner_nodes._scalars import is_unicode, shown

_RESERVED_TAGS = frozenset({"time", "_measurement", "_field"})
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f]|\\(?=[\\,= ]|\Z)")


def check_name(what: str, name: str) -> None:
    """Refuse (:class:`MessageError`) a measurement, tag or field name that line protocol cannot carry.

    Refused and not replaced: two series that differ only there would become one.
    """
    if not name:
        raise MessageError(f"the {what} is empty")
    if found := _UNWRITABLE.search(name):
        if found[0] == "\\":
            raise MessageError(
                f"the {what} {shown(name)} has a backslash at its end or before a backslash, comma, equals sign "
                "or space, which line protocol cannot express"
            )
        raise MessageError(f"the {what} {shown(name)} contains a control character")
    if not is_unicode(name):
        raise MessageError(f"the {what} {shown(name)} is not valid Unicode")


def check_field_name(name: str) -> None:
    """Refuse a field name that line protocol cannot carry or that InfluxDB keeps for itself."""
    check_name("field name", name)
    if name == "time":
        raise MessageError(
            "a field cannot be called `time`: InfluxDB reserves that name; rename it with a `map`"
        )


def check_tag_name(name: str) -> None:
    """Refuse a tag name that line protocol cannot carry or that InfluxDB keeps for itself."""
    check_name("tag name", name)
    if name in _RESERVED_TAGS:
        raise MessageError(f"a tag cannot be called `{name}`: InfluxDB reserves that name")
