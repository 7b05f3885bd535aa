"""Pass a value when it has changed enough, not too often, and again after a time: as Zigbee devices report.

| option | a message passes |
|---|---|
| `change` | when its `value` differs from the last one that passed by so much: `0.5`, or `5%` of that one |
| `min_interval` | at the earliest so long after the last one; what changed meanwhile passes then, if it still differs |
| `max_interval` | at the latest so long after the last one, changed or not: the heartbeat |

Without `change` every other value passes. The first message of a `key` passes at once. Time is the flow clock: when
messages arrive. With `change: 0.5`, `min_interval: 10s`, `max_interval: 1m`, and values at the seconds above:

| 0: `20.0` | 5: `20.2` | 8: `21.0` | 10 | 30: `21.2` | 70 | 130 |
|---|---|---|---|---|---|---|
| `20.0` | | | `21.0` | | `21.2` | `21.2` |

The heartbeat sends the newest message of the key. When that one has passed before, it is repeated with the time of the
heartbeat as its `time` and with `repeated: true` in `meta`: nothing new came, so a sensor that has died looks like one
whose value does not change. Filter on `meta` to tell them apart. After `max_repeats` of them in a row the key falls
silent and is forgotten.

A message that waits for its time is counted as held, one that another replaces as filtered, a repeated one as created.
Without `max_interval` a key is kept for good: use a key of which there are not endlessly many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import batched
from typing import Annotated, Any

import msgspec
from pydantic import Field, model_validator

from flowrunner import (
    Context,
    Expression,
    Message,
    PositiveDuration,
    Transform,
    node_type,
    option_error,
)
from flowrunner_nodes._change import Change, differs
from flowrunner_nodes._keyed import KeyedOptions, keyed_by, packed, read_key, unpacked
from flowrunner_nodes._keys import Key

EXAMPLE = """\
version: 1
flow: reported
nodes:
  readings:
    type: file_in
    path: readings.jsonl
  reported:
    type: report
    from: readings
    key: topic
    value: payload.temperature
    change: 0.2
    min_interval: 10s
    max_interval: 30m
  show:
    type: debug
    from: reported
"""

_PIECE = 500
"""Keys in a piece of the checkpoint."""


class Config(KeyedOptions):
    """What is worth a report."""

    value: Annotated[
        Expression,
        Field(
            description="What is compared, in CEL; a number where `change` is set.", examples=["payload.t"]
        ),
    ]
    change: Annotated[
        Change | None,
        Field(description="The least difference: a number, or a part such as `5%`.", examples=[0.5, "5%"]),
    ] = None
    min_interval: Annotated[
        PositiveDuration | None,
        Field(description="The least time between two messages of a key.", examples=["10s"]),
    ] = None
    max_interval: Annotated[
        PositiveDuration | None,
        Field(description="The longest time between two messages of a key.", examples=["30m"]),
    ] = None
    max_repeats: Annotated[
        int,
        Field(ge=0, le=1_000_000, description="How often one message is repeated at most.", examples=[100]),
    ] = 1_000

    @model_validator(mode="after")
    def _intervals_in_order(self) -> Config:
        if self.min_interval and self.max_interval and self.max_interval < self.min_interval:
            raise option_error(
                "FR023", "`max_interval` is less than `min_interval`", help="make `max_interval` longer"
            )
        return self


class _Report(msgspec.Struct):
    """What is known of a key."""

    value: Any
    """The value that passed last."""
    passed: int
    """The flow clock at which it did."""
    newest: Message
    """The message that came last."""
    held: bool = False
    """Whether it has not passed yet and may still do so."""
    repeats: int = 0
    """How often it has been repeated."""


@node_type("report", ports={"out": "The messages worth a report, and the heartbeats."})
class Report(Transform[Config]):
    """Keep the last value that passed and the newest message of each key."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self._key_of = keyed_by(config.key)
        self._reports: dict[Key, _Report] = {}

    def on_message(self, message: Message) -> list[Message]:
        """Return the message if it may pass now."""
        config, clock = self.config, message.clock
        key, value = self._key_of(message), config.value.evaluate(message)
        report = self._reports.get(key)
        if report is None:
            differs(value, value, config.change)  # a value that cannot be compared fails here
            self._reports[key] = _Report(value, clock, message)
            self._set_heartbeat(key, clock)
            return [message]
        changed = differs(value, report.value, config.change)
        report.newest, report.repeats = message, 0
        opens = report.passed + (config.min_interval or 0)
        if changed and clock >= opens:
            self._hold(report, wanted=False)
            report.value, report.passed = value, clock
            self._set_heartbeat(key, clock)
            return [message]
        if changed:
            self.context.timers.set(key, opens, now=clock)
        elif clock < opens:
            self._set_heartbeat(key, report.passed, now=clock)
        self._hold(report, wanted=changed or config.max_interval is not None)
        return []

    def on_timer(self, key: Any, due: int) -> Iterable[Message]:
        """Let the newest message of a key pass, or repeat it."""
        report = self._reports[key]
        newest = report.newest
        time, meta = newest.time, newest.meta
        if not report.held:
            if report.repeats >= self.config.max_repeats:
                del self._reports[key]
                return []
            report.repeats += 1
            time, meta = due, {**meta, "repeated": True}
            self.context.counters.created += 1
        self._hold(report, wanted=False)
        report.value, report.passed = self.config.value.evaluate(newest), due
        self._set_heartbeat(key, due)
        return [Message(newest.topic, newest.payload, time, meta, due)]

    def _set_heartbeat(self, key: Key, passed: int, *, now: int | None = None) -> None:
        if self.config.max_interval is None:
            self.context.timers.cancel(key)
            return
        self.context.timers.set(key, passed + self.config.max_interval, now=passed if now is None else now)

    def _hold(self, report: _Report, *, wanted: bool) -> None:
        if report.held is not wanted:
            report.held = wanted
            self.context.counters.held += 1 if wanted else -1

    @classmethod
    def state_options(cls, config: Config) -> Any:
        """Return what is compared; the next message of a key passes when it would have."""
        return config.key, config.value, config.change

    def snapshot(self) -> Iterator[Any]:
        """Yield what is known of the keys."""
        for part in batched(list(self._reports.items()), _PIECE):
            yield [[key, it.value, it.passed, packed(it.newest), it.held, it.repeats] for key, it in part]

    def restore(self, state: Any) -> None:
        """Take up what is known of keys."""
        for key, value, passed, newest, held, repeats in state:
            self._reports[read_key(key)] = _Report(value, passed, unpacked(newest), held, repeats)
