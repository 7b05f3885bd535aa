"""Change messages: set fields, rename, remove or keep members of the payload.

The four steps run in this order, each of them optional:

1. `set` assigns fields of the message: `topic`, `payload`, `time`, `payload.a.b`, `meta.name`. A value is a literal,
   or CEL when it begins with `=`. All expressions see the message as it came in, whatever has been assigned before;
   assignments happen in the order written. Mappings on the way to `payload.a.b` are made where there are none.
   `topic` must become a string, `time` a number of nanoseconds or an RFC 3339 string, `meta.name` no list or mapping.
2. `rename` moves members of the payload; a member already at the new path is replaced.
3. `remove` takes members of the payload away.
4. `keep` leaves only these members in the payload.

The paths in `rename`, `remove` and `keep` begin with `payload.` too. A member that is not there is passed over. A path
that leads into something other than a mapping is an error of that message in `set` and `keep`, as is an expression
that fails: the message goes to `errors` unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from flowrunner import (
    EVALUATION_ERRORS,
    NEVER,
    Context,
    Json,
    Message,
    MessageError,
    NodeOptions,
    Transform,
    Value,
    node_type,
)
from flowrunner_nodes._paths import (
    MISSING,
    Member,
    Path,
    Target,
    get_member,
    kind_of,
    only_members,
    with_member,
    without_member,
)
from flowrunner_nodes._times import parse_rfc3339

EXAMPLE = """\
version: 1
flow: shapes
nodes:
  lines:
    type: file_in
    path: readings.jsonl
  tidy:
    type: map
    from: lines
    set:
      topic: "='home/' + payload.room"
      payload.fahrenheit: =payload.temperature * 1.8 + 32.0
      meta.site: berlin
    rename: { payload.temperature: payload.celsius }
    remove: [payload.linkquality]
  show:
    type: debug
    from: tidy
"""

_ERRORS: tuple[type[Exception], ...] = (MessageError, *EVALUATION_ERRORS)


class Config(NodeOptions):
    """What changes in a message."""

    set: Annotated[
        dict[Target, Value],
        Field(
            default_factory=dict,
            description="Fields to assign and their values: literals, or CEL after an equals sign.",
            examples=[{"topic": "=payload.entity_id", "payload.unit": "°C"}],
        ),
    ]
    rename: Annotated[
        dict[Member, Member],
        Field(
            default_factory=dict,
            description="Members of the payload to move, old path to new path.",
            examples=[{"payload.temp": "payload.temperature"}],
        ),
    ]
    remove: Annotated[
        list[Member],
        Field(
            default_factory=list,
            description="Members of the payload to take away.",
            examples=[["payload.linkquality"]],
        ),
    ]
    keep: Annotated[
        list[Member] | None,
        Field(
            description="The only members of the payload to keep; all of them unless given.",
            examples=[["payload.temperature", "payload.humidity"]],
        ),
    ] = None


@node_type("map", ports={"out": "The changed messages."})
class Map(Transform[Config]):
    """Make a changed copy of each message; what does not change is shared with the original."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self._assignments = [(*_split(path), value.function) for path, value in config.set.items()]
        self._renames = [(_split(old)[1], _split(new)[1]) for old, new in config.rename.items()]
        self._removes = [_split(path)[1] for path in config.remove]
        self._keeps = None if config.keep is None else [_split(path)[1] for path in config.keep]
        self._reshapes = bool(self._renames or self._removes or self._keeps is not None)
        only_payload = list(config.set) == ["payload"] and not self._reshapes
        self._payload = config.set["payload"].function if only_payload else None

    def on_batch(self, batch: Sequence[Message]) -> list[Message]:
        """Return the changed messages."""
        payload, rewrite, out = self._payload, self._rewrite, list[Message]()
        for m in batch:
            try:
                # Most maps set the payload and nothing else: with as few steps as can be.
                out.append(
                    Message(m.topic, payload(m), m.time, m.meta, m.clock, m.seq) if payload else rewrite(m)
                )
            except _ERRORS as error:
                self.context.fail(m, self._reason(m, error))
        return out

    def _rewrite(self, message: Message) -> Message:
        topic, payload, time, meta = message.topic, message.payload, message.time, message.meta
        for root, path, function in self._assignments:
            value = function(message)
            if root == "payload":
                payload = with_member(payload, path, value) if path else value
            elif root == "meta":
                meta = {**meta, path[0]: _scalar(path[0], value)}
            elif root == "topic":
                topic = _topic(value)
            else:
                time = _time(value)
        if self._reshapes:
            payload = self._reshape(payload)
        return Message(topic, payload, time, meta, message.clock, message.seq)

    def _reshape(self, payload: Json) -> Json:
        for old, new in self._renames:
            member = get_member(payload, old)
            if member is not MISSING:
                payload = with_member(without_member(payload, old), new, member)
        for path in self._removes:
            payload = without_member(payload, path)
        return payload if self._keeps is None else only_members(payload, self._keeps)

    def _reason(self, message: Message, error: Exception) -> str:
        """Return why a message failed; evaluates again, to find the expression that did."""
        for path, value in self.config.set.items():
            try:
                value.function(message)
            except EVALUATION_ERRORS as failure:
                return f"set `{path}`: {value.reason(failure)}"
        return str(error)


def _split(path: str) -> tuple[str, Path]:
    """Return the field of the message that a path begins with, and the way inside it."""
    root, _, inside = path.partition(".")
    if not inside:
        return root, ()
    return root, (inside,) if root == "meta" else tuple(inside.split("."))


def _topic(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise MessageError(f"the topic must be a string, got {kind_of(value)}")


def _time(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and -NEVER < value < NEVER:
        return value
    if isinstance(value, str):
        return parse_rfc3339(value)
    raise MessageError("the time must be an integer of nanoseconds or an RFC 3339 string")


def _scalar(name: str, value: Any) -> Json:
    if isinstance(value, list | dict):
        raise MessageError(f"meta.{name} must not be {kind_of(value)}")
    return value  # type: ignore[no-any-return]  # what is left of JSON
