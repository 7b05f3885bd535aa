"""Make messages by the clock: every so often, at certain times of the day, or once.

Exactly one of these is given:

- `every: 10s` at the multiples of ten seconds since 1970-01-01T00:00:00Z, so at :00, :10, :20 …: a restart does not
  shift the rhythm, and several instances keep the same.
- `cron: "30 6 * * 1-5"` at the times of a cron expression of five fields, in `timezone` (UTC unless given). When clocks
  change, a job of a fixed time runs exactly once on that day, as with Debian's cron.
- `once: true` a single message when the node starts for the very first time; the state directory remembers it.

The time of a message is the instant that it was due at, to the nanosecond. An instant that passed while flowrunner was
not running, or that a jump of the wall clock left out, is made up for by one message for the last such instant, never
by a burst; a clock that is set back by more than one period goes on from its new time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Self
from zoneinfo import ZoneInfo

import msgspec
from pydantic import AfterValidator, Field, model_validator

from flowrunner import (
    NANOSECONDS,
    Json,
    NodeOptions,
    PositiveDuration,
    Record,
    Source,
    SourceContext,
    node_type,
    option_error,
)

if TYPE_CHECKING:
    from flowrunner_nodes._cron import Cron, Period

EXAMPLE = """\
version: 1
flow: heartbeat
nodes:
  beat:
    type: inject
    every: 10s
    topic: flowrunner/alive
    payload: { alive: true }
  show:
    type: debug
    from: beat
"""

_LONGEST_SLEEP = 0.5
"""Seconds after which the wall clock is looked at again: it may have been set meanwhile."""


def _check_cron(text: str) -> str:
    from flowrunner_nodes._cron import check_cron

    if (reason := check_cron(text)) is not None:
        raise option_error(
            "FR027",
            f"`{{name}}` is not a cron expression: {text!r}: {reason}",
            help='write minute, hour, day of month, month and day of week, such as "30 6 * * 1-5"',
        )
    return text


def _check_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise option_error(
            "FR026",
            f"`{{name}}` is not a time zone: {name!r}",
            help="write a name of the IANA database, such as Europe/Berlin or UTC",
        ) from None
    return name


class Config(NodeOptions):
    """When messages are made, and what they are."""

    every: Annotated[
        PositiveDuration | None, Field(description="The period of the messages.", examples=["10s"])
    ] = None
    cron: Annotated[
        str | None,
        AfterValidator(lambda text: text if text is None else _check_cron(text)),
        Field(
            description="The times of the messages: minute, hour, day of month, month, day of week.",
            examples=["30 6 * * 1-5"],
        ),
    ] = None
    timezone: Annotated[
        str | None,
        AfterValidator(lambda name: name if name is None else _check_timezone(name)),
        Field(
            description="The IANA time zone that `cron` is read in; UTC unless given.",
            examples=["Europe/Berlin"],
        ),
    ] = None
    once: Annotated[
        bool, Field(description="Whether to make one message at the very first start.", examples=[True])
    ] = False
    topic: Annotated[
        str | None,
        Field(description="The topic of the messages; the node's id unless given.", examples=["home/tick"]),
    ] = None
    payload: Annotated[
        Json, Field(description="The payload of every message, any JSON value.", examples=[{"alive": True}])
    ] = None

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        given = [name for name in ("every", "cron", "once") if getattr(self, name)]
        if not given:
            raise option_error("FR025", "one of `every`, `cron` and `once` is needed", help=_ONE_SCHEDULE)
        if len(given) > 1:
            names = " and ".join(f"`{name}`" for name in given)
            raise option_error("FR025", f"{names} exclude each other", help=_ONE_SCHEDULE)
        if self.timezone is not None and self.cron is None:
            raise option_error(
                "FR025", "`timezone` needs `cron`", help="leave `timezone` out: periods count in UTC"
            )
        return self


_ONE_SCHEDULE = 'give exactly one of `every: 10s`, `cron: "30 6 * * *"` and `once: true`'


@node_type("inject", ports={"out": "The messages, each at its time."})
class Inject(Source[Config]):
    """Wait on the wall clock in short steps, so that a clock that is set is noticed soon."""

    def __init__(self, config: Config, context: SourceContext) -> None:
        super().__init__(config, context)
        self._topic = context.node if config.topic is None else config.topic
        self._data = msgspec.json.encode(config.payload)

    async def run(self) -> None:
        """Make messages until cancelled; return after the only one of ``once``."""
        if not self.config.once:
            await self._follow(self._schedule())
        elif self.context.cursor is None:
            await self._emit(self.context.clock.now())

    def _schedule(self) -> Cron | Period:
        from flowrunner_nodes._cron import Cron, Period

        if self.config.cron is None:
            return Period(self.config.every or 0)
        return Cron(self.config.cron, ZoneInfo(self.config.timezone or "UTC"))

    async def _follow(self, schedule: Cron | Period) -> None:
        clock = self.context.clock
        cursor = self.context.cursor
        last = cursor if isinstance(cursor, int) else clock.now()
        while True:
            now = clock.now()
            if last > schedule.after(now):
                last = now  # a clock set back by more than a period has left it in a future that may be far
            due = schedule.after(last)
            if due <= now:
                last = schedule.latest(due, now)
                await self._emit(last)
            else:
                await asyncio.sleep(min((due - now) / NANOSECONDS, _LONGEST_SLEEP))

    async def _emit(self, instant: int) -> None:
        record = Record(self._data, topic=self._topic, time=instant)
        await self.context.emit_records([record], cursor=instant)
