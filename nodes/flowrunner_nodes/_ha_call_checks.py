"""The checks of the options of `ha_call`, as far as they are literals."""

from __future__ import annotations

import re

from flowrunner import Value, option_error
from flowrunner_nodes._values import is_expression

ACTION_HELP = "write the domain and the name of the action, such as light.turn_on"
_ACTION = re.compile(r"[a-z0-9_]+\.[a-z0-9_]+")
_TARGETS = ("entity_id", "device_id", "area_id", "floor_id", "label_id")


def is_action(name: object) -> bool:
    """Whether something has the form ``domain.service``."""
    return isinstance(name, str) and _ACTION.fullmatch(name) is not None


def check_action(value: Value) -> Value:
    """Refuse what is no action."""
    if is_expression(value) or is_action(value.source):
        return value
    raise option_error("FR025", "`{name}` must be an action, domain.service", help=ACTION_HELP)


def check_event(value: Value) -> Value:
    """Refuse what is no type of event."""
    if isinstance(value.source, str) and value.source:
        return value
    raise option_error("FR025", "`{name}` must be the type of an event", help="write it as in panel_pressed")


def check_mapping(value: Value) -> Value:
    """Refuse what is no mapping."""
    if is_expression(value) or isinstance(value.source, dict):
        return value
    raise option_error(
        "FR025", "`{name}` must be a mapping", help="write {brightness_pct: 80}, or CEL that gives a mapping"
    )


def check_target(value: Value) -> Value:
    """Refuse what can be no target."""
    source = check_mapping(value).source
    for name in source if isinstance(source, dict) else ():
        if name not in _TARGETS:
            raise option_error(
                "FR025", f"`{{name}}` cannot have `{name}`", help=f"it has {', '.join(_TARGETS)}"
            )
    return value
