"""What `ha_call` asks of Home Assistant for one message, and how that reads without its secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from flowrunner import Message, MessageError, RetryLater, Value
from flowrunner_nodes._ha_call_checks import is_action
from flowrunner_nodes._paths import kind_of
from flowrunner_nodes._values import evaluate, is_expression

if TYPE_CHECKING:
    from flowrunner_nodes._ha_link import Refused
    from flowrunner_nodes.ha_call import Config

_MOST_BYTES = 4 * 2**20 - 1024
"""Home Assistant ends the connection when a command, with what we put around it, is longer than 4 MiB."""
_MOST_LEVELS = 100
"""It does so at 1024, too, since its JSON parser takes no more."""
_SECRET = re.compile(r"(.*_)?(user)?(code|pass|password|pin|token|secret|api_key)", re.IGNORECASE)
"""What Home Assistant's actions call the members that nobody should see."""
_HIDDEN = "***"
_CITATION = re.compile(r"\. Got \{.*(?= \(\w+\)$)", re.DOTALL)
"""The whole command in the words of Home Assistant, cut off anywhere, as in the midst of a secret."""


class Command(msgspec.Struct, frozen=True):
    """A command of the WebSocket API: ``call_service`` or ``fire_event``."""

    type: str
    name: str
    """The action, ``domain.service``, or the type of event."""
    same_for_all: bool
    """Whether every message asks for this action or event."""
    target: dict[str, Any] | None
    data: dict[str, Any] | None

    @property
    def fields(self) -> dict[str, Any]:
        """What the command has beside its type."""
        if self.type == "fire_event":
            fields: dict[str, Any] = {"event_type": self.name, "event_data": self.data}
        else:
            domain, _, service = self.name.partition(".")
            fields = {"domain": domain, "service": service, "service_data": self.data, "target": self.target}
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def line(self) -> str:
        """The command as one line for people to read."""
        parts = {"target": self.target, "data": self.data}
        shown = {name: _masked(value, []) for name, value in parts.items() if value is not None}
        return f"{self.name} {msgspec.json.encode(shown).decode()}"

    def refusal(self, error: Refused) -> MessageError | RetryLater:
        """Return what becomes of a message whose command Home Assistant refuses."""
        words = f"Home Assistant refuses {self.name}: {self._without_secrets(str(error).strip())}"
        # Some versions give an action that the user may not call the code of any error in an action.
        forbidden = error.code == "unauthorized" or str(error).startswith("Unauthorized ")
        if forbidden and self.same_for_all:
            return RetryLater(f"{words}; give the user of the token the permission", operator=True)
        return MessageError(words)

    def _without_secrets(self, words: str) -> str:
        words = _CITATION.sub("", words)
        secrets: list[str] = []
        _masked(self.data, secrets)
        for secret in sorted(secrets, key=len, reverse=True):
            words = words.replace(secret, _HIDDEN)
        return words


def command_of(config: Config, message: Message) -> Command:
    """Return what is asked for a message; raises :class:`MessageError`."""
    data = _mapping("data", config.data, message)
    if config.fire_event is not None:
        name = evaluate("fire_event", config.fire_event, message)
        if not isinstance(name, str) or not name:
            raise MessageError(f"`fire_event` must be the type of an event, got {name!r:.60}")
        return Command("fire_event", name, not is_expression(config.fire_event), None, data)
    assert config.action is not None  # noqa: S101  # the options were checked
    name = evaluate("action", config.action, message)
    if not isinstance(name, str) or not is_action(name):
        raise MessageError(f"`action` must be an action, domain.service, got {name!r:.60}")
    target = _mapping("target", config.target, message)
    return Command("call_service", name, not is_expression(config.action), target, data)


def _mapping(option: str, value: Value | None, message: Message) -> dict[str, Any] | None:
    if value is None:
        return None
    found = evaluate(option, value, message)
    if not isinstance(found, dict):
        raise MessageError(f"`{option}` must be a mapping, got {kind_of(found)}")
    _check_json(option, found)
    return found


def _check_json(option: str, value: dict[str, Any]) -> None:
    """Refuse what Home Assistant would end the connection for, or could not be told at all."""
    level: list[Any] = [value]
    for _ in range(_MOST_LEVELS):
        level = [child for each in level for child in _children(each)]
        if not level:
            break
    else:
        raise MessageError(f"`{option}` is nested more than {_MOST_LEVELS} levels deep")
    try:
        size = len(msgspec.json.encode(value))
    except UnicodeEncodeError:
        raise MessageError(f"`{option}` has a text that is not valid Unicode") from None
    if size > _MOST_BYTES:
        raise MessageError(f"`{option}` has {size} bytes; Home Assistant takes at most {_MOST_BYTES}")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _masked(value: Any, secrets: list[str]) -> Any:
    """Return a value with its secrets hidden; add these to ``secrets``."""
    if isinstance(value, list):
        return [_masked(each, secrets) for each in value]
    if not isinstance(value, dict):
        return value
    shown = {}
    for name, each in value.items():
        if _SECRET.fullmatch(name) and isinstance(each, int | float | str) and each != "":
            secrets.append(str(each))
            shown[name] = _HIDDEN
        else:
            shown[name] = _masked(each, secrets)
    return shown
