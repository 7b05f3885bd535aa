"""Points as Home Assistant's own `influxdb` integration writes them: from a state to its line, byte for byte.

The rules are those of Home Assistant 2026.11 with its client for InfluxDB 2. docs/home-assistant-layout.md tells them, and
where JSON does not carry what Home Assistant knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from flowrunner import Message, MessageError
from flowrunner_nodes._ha_layout_entities import Entities
from flowrunner_nodes._ha_layout_fields import (
    Fields,
    LeftOut,
    add_attributes,
    finite_fields,
    is_finite,
    single_line,
    state_fields,
)
from flowrunner_nodes._ha_layout_options import HomeAssistantOptions
from flowrunner_nodes._ha_layout_text import escaped_key, escaped_measurement, field_value, tag_value
from flowrunner_nodes._points import Point, checked_time
from flowrunner_nodes._remember import remember
from flowrunner_nodes._scalars import is_unicode, kind_of

_NO_STATE = frozenset({"", "unknown", "unavailable"})

_pack = msgspec.msgpack.Encoder().encode

_DIVISORS = {"us": 1e3, "ms": 1e6, "s": 1e9}


class HomeAssistantEncoder:
    """Turns the messages of `ha_in` into points and lines."""

    def __init__(self, options: HomeAssistantOptions, precision: str) -> None:
        self._options = options
        self._entities = Entities(options)
        self._tags = {name: single_line(value) for name, value in options.tags.items()}
        self._divisor = _DIVISORS.get(precision)
        self._templates: dict[tuple[str, ...], tuple[bytes | None, str]] = {}

    def line(self, message: Message) -> str:
        """Return the line for a message, without a line break; raises :class:`MessageError`, :class:`LeftOut`."""
        entity_id, state, attributes = _parts(message.payload)
        fields = state_fields(state)
        values = {name: field_value(value) for name, value in fields.items() if is_finite(value)}
        template = self._template(entity_id, fields, attributes, (entity_id, *values))
        line = f"{template % tuple(values.values())} {self._timestamp(message)}"
        if not is_unicode(line):
            raise MessageError("the state or an attribute is not valid Unicode")
        return line

    def point(self, message: Message) -> Point:
        """Return the point of a message, its fields finite and at least one; raises as :meth:`line` does."""
        entity_id, state, attributes = _parts(message.payload)
        return self._point(entity_id, state_fields(state), attributes)

    def _template(
        self, entity_id: str, fields: Fields, attributes: Mapping[str, Any], case: tuple[str, ...]
    ) -> str:
        """Return the line but for the values of the state's own fields and the time.

        Most attributes stay as they are from one state to the next, and then so does this. The ``case`` is the entity
        and the names of the values.
        """
        basis = _basis(attributes)
        known = self._templates.get(case)
        if known is None or basis is None or known[0] != basis:
            known = basis, self._new_template(self._point(entity_id, fields, attributes), case[1:])
            remember(self._templates, case, known, len(basis or b"") + len(known[1]))
        return known[1]

    def _new_template(self, point: Point, values: tuple[str, ...]) -> str:
        name = escaped_measurement(point.measurement)
        tags = "".join(
            [f",{escaped_key(key)}={tag_value(value)}" for key, value in sorted(point.tags.items())]
        )
        fields = ",".join(
            [
                f"{key}=%s"
                if key in values
                else f"{escaped_key(key)}={field_value(value)}".replace("%", "%%")
                for key, value in sorted(point.fields.items())
            ]
        )
        return f"{name}{tags} ".replace("%", "%%") + fields

    def _point(self, entity_id: str, fields: Fields, attributes: Mapping[str, Any]) -> Point:
        """Return a point; ``fields`` are those of the state and get those of the attributes."""
        entity = self._entities.get(entity_id)
        if not entity.written:
            raise LeftOut("excluded")
        domain, _, object_id = entity_id.partition(".")
        measurement, redundant = self._measurement(entity.override_measurement, entity_id, attributes)
        tags = {"domain": domain, "entity_id": object_id}
        for name in self._options.tags_attributes:
            if name in attributes:
                tags[name] = _tag_text(attributes[name])
        tags |= self._tags
        tags = {name: value for name, value in tags.items() if name and value}
        add_attributes(fields, domain, attributes, entity.no_fields, redundant)
        return Point(single_line(measurement), tags, finite_fields(fields))

    def _measurement(
        self, override: str | None, entity_id: str, attributes: Mapping[str, Any]
    ) -> tuple[str, str | None]:
        """Return the measurement, and the attribute that it makes redundant."""
        options = self._options
        if override or options.override_measurement:
            return override or options.override_measurement or "", None
        match options.measurement_attr:
            case "entity_id":
                return entity_id, None
            case "domain__device_class":
                domain, device_class = entity_id.partition(".")[0], attributes.get("device_class")
                if device_class is None:
                    return domain, None
                return f"{domain}__{device_class}", "device_class"
            case "unit_of_measurement":
                unit = attributes.get("unit_of_measurement")
                if unit in (None, ""):
                    return options.default_measurement or entity_id, None
                return str(unit), "unit_of_measurement"

    def _timestamp(self, message: Message) -> int:
        time = checked_time(message)
        # Home Assistant's client divides floats: one of 65 timestamps in microseconds is one too small.
        return time if self._divisor is None else int(time / self._divisor)


def _parts(payload: Any) -> tuple[str, str, Mapping[str, Any]]:
    if not isinstance(payload, dict):
        raise MessageError(
            f"the payload must be a state of Home Assistant, as `ha_in` sends it, got {kind_of(payload)}"
        )
    entity_id, state, attributes = payload.get("entity_id"), payload.get("state"), payload.get("attributes")
    if not isinstance(entity_id, str) or not all(entity_id.partition(".")):
        raise MessageError(
            "the payload has no `entity_id` such as `sensor.kitchen`; it must be as `ha_in` sends it"
        )
    if state is None:
        raise LeftOut("no_state")
    if not isinstance(state, str):
        raise MessageError(
            f"the `state` of {entity_id} must be a string, as `ha_in` sends it, got {kind_of(state)}"
        )
    if not isinstance(attributes, dict):
        raise MessageError(f"the `attributes` of {entity_id} must be a mapping, got {kind_of(attributes)}")
    if state in _NO_STATE:
        raise LeftOut("no_state")
    return entity_id, state, attributes


def _tag_text(value: Any) -> str:
    if value is None:
        return ""
    return single_line(value) if isinstance(value, str) else str(value)


def _basis(attributes: Mapping[str, Any]) -> bytes | None:
    """Return what tells attributes that make other fields apart, as ``==`` does not: ``1`` and ``True``, an order."""
    try:
        return _pack(attributes)
    except (OverflowError, RecursionError, TypeError, UnicodeEncodeError):
        return None
