"""Compute counts, means, quantiles, rates and integrals over windows of time.

A message belongs to the windows that its own `time` lies in; a window holds its start and not its end. It closes when
the flow clock (the time of arrival, not that of any sensor) reaches its end and `allowed_lateness`. Then each key that
had messages gives one, in the order in which keys were first seen: `payload` holds the `fields`, `time` is the start
or end of the window, `topic` that of the key's last message, `meta` has `window_start`, `window_end` (nanoseconds) and
`key`. Messages whose windows have all closed leave by `late`; unwired, they are dropped and counted. The order in
which messages come while a window is open makes no difference.

`hopping` windows of one `size` begin at every `every`. Windows begin at full multiples since 1970 in UTC, weeks on
Monday; `offset` moves them. With a `timezone` days begin at its midnight and have 23 or 25 hours at a change of clocks.

| function | result |
|---|---|
| `count()`, `sum(x)`, `mean(x)`, `min(x)`, `max(x)`, `range(x)` | `range` is the greatest less the least |
| `stddev(x)` | of the sample; null for a single message |
| `first(x)`, `last(x)` | in the order of `time` |
| `median(x)`, `quantile(x, q)` | exact for 512 messages, beyond an estimate (t-digest) |
| `mode(x)`, `distinct(x)` | the most frequent value (of several the first); how many different ones (to 10,000) |
| `circular_mean(x)` | of angles in degrees, 0 to 360; null if they cancel out |
| `time_weighted_mean(x)` | each value weighs as long as it holds: until the next one, or the end of the window |
| `integral(x, '1h')`, `duration_in(x, value)` | of W to Wh, say; seconds for which `x` held `value` |
| `increase(x)`, `rate(x, '1h')` | growth of a counter, also when it begins again from zero; per hour of the window |
| `derivative(x, '1h')` | change from first to last by the time between them; null if there is none |

The last value of a key counts in its later windows, from their start, for `carry_for` after the window it came in;
without one, areas begin at the first message, and the `increase` of a single reading is null. `influxdb_out` leaves
null out. Where order matters, a message fails that is older than the 2,048 newest of its key and window. One that
cannot be read, or has no number where one is needed, fails too, and is in no field at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from flowrunner import (
    NEVER,
    Context,
    Duration,
    FunctionCall,
    Message,
    Transform,
    node_type,
)
from flowrunner_nodes._functions import check, resolve
from flowrunner_nodes._intake import Intake
from flowrunner_nodes._keyed import KeyedOptions
from flowrunner_nodes._keyed_windows import KeyedWindows
from flowrunner_nodes._panes import Plan
from flowrunner_nodes._windows import Window

EXAMPLE = """\
version: 1
flow: per_minute
nodes:
  readings: { type: file_in, path: readings.jsonl }
  per_minute:
    type: aggregate
    from: readings
    key: topic
    window: { type: tumbling, size: 1m }
    allowed_lateness: 10s
    fields:
      mean: time_weighted_mean(payload.temperature)
      samples: count()
  show: { type: debug, from: per_minute }
"""


class Config(KeyedOptions):
    """Which windows, and what is computed over them."""

    window: Annotated[
        Window,
        Field(description="The kind and size of the windows.", examples=[{"type": "tumbling", "size": "1m"}]),
    ]
    allowed_lateness: Annotated[
        Duration,
        Field(description="How long after its end a window still takes in messages.", examples=["10s"]),
    ] = "0s"  # type: ignore[assignment]  # read like a user's
    timestamp: Annotated[
        Literal["start", "end"],
        Field(description="Which end of the window is the `time` of the result.", examples=["start"]),
    ] = "start"
    fields: Annotated[
        dict[str, Annotated[FunctionCall, AfterValidator(check)]],
        Field(
            description="Names and functions of what the payload of a result holds.",
            examples=[{"mean": "mean(payload.temperature)", "samples": "count()"}],
            min_length=1,
        ),
    ]
    carry_for: Annotated[
        Duration,
        Field(description="How long a key's last value counts after the window it came in.", examples=["1d"]),
    ] = "7d"  # type: ignore[assignment]
    max_keys: Annotated[
        int,
        Field(
            ge=1, description="Keys in open windows at most; messages of any more fail.", examples=[10_000]
        ),
    ] = 1_000_000


@node_type(
    "aggregate",
    ports={"out": "One message for each key and window.", "late": "Messages whose windows have all closed."},
)
class Aggregate(Transform[Config]):
    """Sort messages into panes by their own time, and let the flow clock close windows."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self._plan = Plan(config.key, {name: resolve(call) for name, call in config.fields.items()})
        self._windows = KeyedWindows(config, self._plan, context)
        self._intake = Intake(config.key, self._plan, self._windows, context)

    @classmethod
    def ports(cls, config: Config) -> tuple[str, ...]:
        """Return ``out`` and ``late``."""
        del config
        return ("out", "late")

    def on_batch(self, batch: Sequence[Message]) -> list[Message]:
        """Take in the messages; what comes out are the windows that close in between."""
        out: list[Message] = []
        self._intake.take(batch, out)
        return out

    def advance(self, clock: int, out: list[Message], limit: int = NEVER) -> bool:
        """Close the windows due at or before ``clock``; the results of one may come in several calls."""
        return self._windows.advance(clock, out, limit)

    @classmethod
    def state_options(cls, config: Config) -> Any:
        """Return the key, and what says when windows close; a new field is null for the windows that are open."""
        return config.key, config.window, config.allowed_lateness

    def snapshot(self) -> Iterator[Any]:
        """Return what the open windows hold, in pieces."""
        return self._windows.snapshot()

    def restore(self, state: Any) -> None:
        """Take up a piece of open windows."""
        self._windows.restore(state)
