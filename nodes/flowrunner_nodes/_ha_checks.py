"""The checks of the options of `ha_in`."""

from __future__ import annotations

import re
from typing import Any

from flowrunner import option_error

_ENTITY = re.compile(r"[a-z0-9_.*?\[\]!-]+")
_NAME = re.compile(r"[a-z0-9_]+")


def check_entity(pattern: str) -> str:
    """Refuse what can match no entity."""
    if _ENTITY.fullmatch(pattern) is None or not ("." in pattern or "*" in pattern):
        raise option_error(
            "FR025",
            f"`{{name}}` has no entity: {pattern!r}",
            help="write an id such as sensor.kitchen_temperature, or a pattern such as sensor.*_temperature",
        )
    return pattern


def check_name(name: str) -> str:
    """Refuse what can be no domain and no device class."""
    if _NAME.fullmatch(name) is None:
        raise option_error(
            "FR025",
            f"`{{name}}` must be lower-case letters, digits and underscores, got {name!r}",
            help="write it as Home Assistant does, such as binary_sensor",
        )
    return name


def check_trigger(trigger: Any) -> Any:
    """Refuse what is no trigger; what is in it only Home Assistant can judge."""
    triggers = trigger if isinstance(trigger, list) else [trigger]
    if trigger is None or (triggers and all(isinstance(one, dict) and one for one in triggers)):
        return trigger
    raise option_error(
        "FR025",
        "`{name}` must be a mapping, or a list of them",
        help="write {trigger: state, entity_id: binary_sensor.door, to: on, for: 5m}",
    )
