"""What stands in a test file (``NAME.test.yaml``): input on a virtual clock, faults, and what is expected."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from flowrunner.config.model import Name
from flowrunner.options import Duration, Options, PositiveDuration, option_error

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_HELP = "write a date, a time and a zone, such as 2026-03-01T10:00:00Z"


def parse_time(value: Any) -> int:
    """Return the nanoseconds since the epoch of an RFC 3339 time with a zone; refuse anything else."""
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise option_error("FR025", f"`{{name}}` is not a time: {value!r}", help=_TIME_HELP) from None
    if time.tzinfo is None:
        raise option_error("FR025", f"`{{name}}` needs a time zone, got {value}", help=_TIME_HELP)
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


Time = Annotated[
    int,
    BeforeValidator(parse_time),
    WithJsonSchema({"type": "string", "pattern": r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d"}),
]
"""A moment, written as RFC 3339; an ``int`` of nanoseconds since the epoch."""

At = Annotated[Duration, Field(description="When, counted from the start of the test.", examples=["30s"])]

NodeName = Annotated[Name, Field(description="The id of the node.", examples=["zigbee"])]


class Step(Options):
    """One thing that happens in a test."""

    at: At


class MessageStep(Step):
    """A message arrives at a source."""

    node: NodeName
    topic: Annotated[str, Field(description="Its topic.", examples=["zigbee2mqtt/kitchen"])] = ""
    payload: Annotated[
        Any, Field(description="Its payload, any JSON value.", examples=[{"temperature": 20.0}])
    ] = None
    time: Annotated[Time | None, Field(description="Its event time; the moment of arrival unless given.")] = (
        None
    )
    meta: Annotated[
        dict[str, Any],
        Field(default_factory=dict, description="Facts of the source.", examples=[{"retain": True}]),
    ]


class AdvanceStep(Step):
    """Nothing arrives, but time goes on to this moment: windows close, throttles release."""

    advance: Annotated[Literal[True], Field(description="Always true.")]


class SinkFault(Options):
    """A server refuses what a sink writes: 400 and 422 for good, everything else until the time is over."""

    sink: Annotated[Name, Field(description="The id of the sink.", examples=["store"])]
    status: Annotated[
        int, Field(ge=400, le=599, description="The HTTP status it answers with.", examples=[503])
    ] = 503
    for_: Annotated[PositiveDuration, Field(alias="for", description="For how long.", examples=["10m"])]


class SourceFault(Options):
    """A source loses its server: what happens in that time arrives when it is back."""

    source: Annotated[Name, Field(description="The id of the source.", examples=["states"])]
    disconnected: Annotated[PositiveDuration, Field(description="For how long.", examples=["2m"])]


def _kind_of_fault(value: Any) -> str | None:
    return next((kind for kind in ("sink", "source") if isinstance(value, dict) and kind in value), None)


class FaultStep(Step):
    """Something outside the flow fails for a while."""

    fault: Annotated[
        Annotated[SinkFault, Tag("sink")] | Annotated[SourceFault, Tag("source")],
        Discriminator(
            _kind_of_fault,
            custom_error_type="FR021",
            custom_error_message="{text}",
            custom_error_context={"text": "`{name}` needs `sink` or `source`: what fails"},
        ),
        Field(
            description="What fails, and for how long.",
            examples=[{"sink": "store", "status": 503, "for": "10m"}],
        ),
    ]


class ReloadStep(Step):
    """The flow is replaced by that of another file while it runs."""

    reload: Annotated[
        str, Field(description="The new flow file, beside the test.", examples=["climate_v2.yaml"])
    ]


class CrashStep(Step):
    """The process is killed and started again: only what was committed is left."""

    crash: Annotated[Literal[True], Field(description="Always true.")]


class FileStep(Options):
    """Messages that were recorded arrive: JSON Lines with the words of a message."""

    file: Annotated[str, Field(description="The recording, beside the test.", examples=["recorded.jsonl"])]
    at: Annotated[Duration, Field(description="When the recording begins.", examples=["1h"])] = "0s"  # type: ignore[assignment]  # validated: becomes nanoseconds


_STEPS = ("node", "advance", "fault", "reload", "crash", "file")


def parse_approximate(value: Any) -> Decimal | None:
    """Return the number of a text such as ``~21.33``, ``None`` for anything else."""
    if not isinstance(value, str) or not value.startswith("~"):
        return None
    try:
        number = Decimal(value[1:])
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _kind_of_step(value: Any) -> str | None:
    return next((kind for kind in _STEPS if isinstance(value, dict) and kind in value), None)


AnyStep = Annotated[
    Annotated[MessageStep, Tag("node")]
    | Annotated[AdvanceStep, Tag("advance")]
    | Annotated[FaultStep, Tag("fault")]
    | Annotated[ReloadStep, Tag("reload")]
    | Annotated[CrashStep, Tag("crash")]
    | Annotated[FileStep, Tag("file")],
    Discriminator(
        _kind_of_step,
        custom_error_type="FR021",
        custom_error_message="{text}",
        custom_error_context={
            "text": "a step needs one of `node`, `advance`, `fault`, `reload`, `crash`, `file`"
        },
    ),
]


type Steps = list[AnyStep]  # by name: pydantic's discriminators cannot be members of a union


class WholeMessage(Options):
    """A message, all of it: what is not given must be empty."""

    topic: Annotated[str, Field(description="Its topic.")] = ""
    payload: Annotated[Any, Field(description="Its payload.")] = None
    meta: Annotated[dict[str, Any], Field(default_factory=dict, description="Its facts.")]
    time: Annotated[Time | None, Field(description="Its event time; not compared unless given.")] = None


class Expectation(Options):
    """What a node must have received, or a port emitted, in the order of the file.

    Every message at a node that is named must be expected, unless a ``count`` says how many there are.
    """

    node: Annotated[
        str,
        Field(
            pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$",
            description="A node, for what it received (a sink: wrote); a port as `id.port`, for what left it.",
            examples=["store", "valid.rejected"],
        ),
    ]
    at: Annotated[Duration | None, Field(description="When, counted from the start of the test.")] = None
    line: Annotated[
        str | None,
        Field(
            description="What a sink wrote, as a line: of line protocol, or the payload as JSON.",
            examples=["climate,sensor=kitchen max=22 1772359200"],
        ),
    ] = None
    message: Annotated[WholeMessage | None, Field(description="The whole message.")] = None
    topic: Annotated[str | None, Field(description="Its topic.", examples=["zigbee2mqtt/kitchen"])] = None
    payload: Annotated[
        Any,
        Field(
            description="Its payload, or the members of it that matter; `~21.33` is met by what rounds to 21.33.",
            examples=[{"mean": 21.0}, {"mean": "~21.33"}],
        ),
    ] = None
    time: Annotated[Time | None, Field(description="Its event time.", examples=["2026-03-01T10:00:00Z"])] = (
        None
    )
    meta: Annotated[dict[str, Any] | None, Field(description="The facts that matter.")] = None
    count: Annotated[
        int | None, Field(ge=0, description="How many messages there were in the whole test.")
    ] = None
    none: Annotated[
        Literal[True] | None, Field(description="Nothing at all was there in the whole test.")
    ] = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Expectation:
        given = self.model_fields_set
        parts = given & {"topic", "payload", "time", "meta"}
        ways = [
            *sorted(given & {"line", "message", "count", "none"}),
            *(["parts of a message"] if parts else []),
        ]
        if not ways:
            help = "add `line`, `message`, `payload`, `topic`, `time`, `meta`, `count` or `none`"
            raise option_error("FR021", f"nothing is expected of `{self.node}`", help=help)
        if len(ways) > 1:
            help = "write an expectation for each"
            raise option_error("FR025", f"`{ways[0]}` and `{ways[1]}` are two expectations", help=help)
        if "at" in given and given & {"count", "none"}:
            help = f"leave `at` out: `{ways[0]}` is about the whole test"
            raise option_error("FR025", f"`at` does not go with `{ways[0]}`", help=help)
        return self

    @property
    def is_message(self) -> bool:
        """Whether it is about one message, and not about how many there are."""
        return self.count is None and self.none is None


class FlowTest(Options):
    """One test: what happens, and what must come of it."""

    name: Annotated[str, Field(min_length=1, description="What is tested, as a sentence.")]
    start: Annotated[
        Time,
        Field(description="The virtual time at which the test begins.", examples=["2026-03-01T10:00:00Z"]),
    ] = "2026-01-01T00:00:00Z"  # type: ignore[assignment]  # validated: becomes nanoseconds
    input: Annotated[
        Annotated[Steps, Tag("steps")] | Annotated[FileStep, Tag("recording")],
        Discriminator(
            lambda value: {dict: "recording", list: "steps"}.get(type(value)),
            custom_error_type="FR022",
            custom_error_message="{text}",
            custom_error_context={
                "text": "`{name}` must be a list of steps, or a recording",
                "help": "write a recording as { file: recorded.jsonl }",
            },
        ),
        Field(
            description="What happens, in order of time; or a recording.",
            examples=[{"file": "recorded.jsonl"}],
        ),
    ]
    expect: Annotated[list[Expectation], Field(min_length=1, description="What must come of it.")]


class TestFile(Options):
    """The tests of a flow."""

    __test__ = False

    flow: Annotated[str, Field(description="The flow file, beside this one.", examples=["climate.yaml"])]
    tests: Annotated[list[FlowTest], Field(min_length=1, description="The tests.")]
