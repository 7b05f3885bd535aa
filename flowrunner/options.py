"""The types of node options: durations, sizes, secrets, and how an option says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, PrivateAttr, SecretStr, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from flowrunner.message import NANOSECONDS


def option_error(
    code: str, message: str, *, help: str | None = None, offset: int = 0, length: int | None = None
) -> PydanticCustomError:
    """Return the exception with which an option's validator refuses a value.

    ``code`` is a code of :mod:`flowrunner.diagnostics`. In ``message`` and ``help`` the text ``{name}``
    stands for the option's name. ``offset`` and ``length`` (characters) narrow the place inside the value.
    """
    return PydanticCustomError(
        code,
        "{text}",
        {"text": message, "help": help, "offset": offset, "length": length},
    )


_UNITS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": NANOSECONDS,
    "m": 60 * NANOSECONDS,
    "h": 3_600 * NANOSECONDS,
    "d": 86_400 * NANOSECONDS,
    "w": 7 * 86_400 * NANOSECONDS,
}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d|w)")
_SIZES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(" + "|".join(_SIZES) + r")")


def parse_duration(value: Any) -> int:
    """Return the nanoseconds of ``10s``, ``500ms`` or ``1h30m``; refuse anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise option_error("FR030", f"`{{name}}` must be a duration, got {value!r}", help=_DURATION_HELP)
    if isinstance(value, int | float) or re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        raise option_error("FR031", f"`{{name}}` needs a unit, got {value}", help=_DURATION_HELP)
    text = value.replace(" ", "")
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise option_error("FR030", f"`{{name}}` is not a duration: {value!r}", help=_DURATION_HELP)
    return sum(round(float(number) * _UNITS[unit]) for number, unit in parts)


_DURATION_HELP = "write a number and a unit, such as 10s, 500ms or 5m"
_SIZE_HELP = "write a number and a unit, such as 64KiB or 1GiB"


def format_duration(nanoseconds: int) -> str:
    """Return the shortest text that :func:`parse_duration` reads back as ``nanoseconds``."""
    if nanoseconds == 0:
        return "0s"
    text = ""
    for unit in ("d", "h", "m", "s", "ms", "us", "ns"):
        count, nanoseconds = divmod(nanoseconds, _UNITS[unit])
        if count:
            text += f"{count}{unit}"
    return text


def parse_size(value: Any) -> int:
    """Return the bytes of ``64KiB`` or ``1GiB``; refuse anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise option_error("FR032", f"`{{name}}` must be a size, got {value!r}", help=_SIZE_HELP)
    if isinstance(value, int | float) or value.strip().isdigit():
        raise option_error("FR031", f"`{{name}}` needs a unit, got {value}", help=_SIZE_HELP)
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise option_error("FR032", f"`{{name}}` is not a size: {value!r}", help=_SIZE_HELP)
    return round(float(match[1]) * _SIZES[match[2]])


def format_size(count: int) -> str:
    """Return a text that :func:`parse_size` reads back as ``count`` bytes, in the largest unit that fits."""
    units = [unit for unit in ("TiB", "GiB", "MiB", "KiB") if count and count % _SIZES[unit] == 0]
    return f"{count // _SIZES[units[0]]}{units[0]}" if units else f"{count}B"


def _positive(value: int) -> int:
    if value <= 0:
        raise option_error("FR023", "`{name}` must be more than zero", help=_DURATION_HELP)
    return value


_DURATION_SCHEMA = {"type": "string", "pattern": r"^(\d+(\.\d+)?(ns|us|ms|s|m|h|d|w))+$"}

Duration = Annotated[int, BeforeValidator(parse_duration), WithJsonSchema(_DURATION_SCHEMA)]
"""A length of time, written ``10s``; an ``int`` of nanoseconds."""

PositiveDuration = Annotated[
    int,
    BeforeValidator(lambda value: _positive(parse_duration(value))),
    WithJsonSchema(_DURATION_SCHEMA),
]
"""A length of time of more than zero; an ``int`` of nanoseconds."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*(B|kB|MB|GB|KiB|MiB|GiB|TiB)$"}),
]
"""A number of bytes, written ``64KiB``."""

Secret = SecretStr
"""A text that is masked wherever it is shown; read it with ``get_secret_value()``."""


class _NamedFile:
    """Marks an option that names a file."""


FileName = Annotated[str, _NamedFile()]
"""The path of a file whose content belongs to the options, as of a certificate: a reload looks at it too."""


def named_files(options: BaseModel) -> Iterator[str]:
    """Yield the paths in options of the type :data:`FileName`."""
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        if isinstance(value, BaseModel):
            yield from named_files(value)
        elif isinstance(value, str) and _names_file(field):
            yield value


def _names_file(field: FieldInfo) -> bool:
    hints = (field.annotation, *get_args(field.annotation))
    marks = [*field.metadata, *(mark for hint in hints for mark in getattr(hint, "__metadata__", ()))]
    return any(isinstance(mark, _NamedFile) for mark in marks)


class Options(BaseModel):
    """Base of every options model: frozen, unknown keys refused, defaults checked."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
    )

    _variables_at: dict[tuple[str | int, ...], str] = PrivateAttr(default_factory=dict)

    @property
    def variables_at(self) -> Mapping[tuple[str | int, ...], str]:
        """Paths in the options at which variables stand, and how: people see that, not what they stand for."""
        return self._variables_at

    def note_variables(self, written: Mapping[tuple[str | int, ...], str]) -> None:
        """Keep where variables stand."""
        self._variables_at.update(written)
