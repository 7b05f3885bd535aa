"""Whether a message is the expected one, and how it would have to be expected."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from flowrunner.testing.model import Expectation, parse_approximate
from flowrunner.testing.stand_in import Seen


def matches(expectation: Expectation, seen: Seen, start: int) -> bool:
    """Whether what was seen meets an expectation of one message; ``start`` is that of the test."""
    message, given = seen.message, expectation.model_fields_set
    if expectation.at is not None and message.clock != start + expectation.at:
        return False
    if expectation.line is not None:
        return expectation.line == seen.line
    if (whole := expectation.message) is not None:
        return (
            whole.topic == message.topic
            and meets(whole.payload, message.payload, whole=True)
            and meets(whole.meta, dict(message.meta), whole=True)
            and whole.time in (None, message.time)
        )
    return (
        expectation.topic in (None, message.topic)
        and expectation.time in (None, message.time)
        and ("payload" not in given or meets(expectation.payload, message.payload))
        and (expectation.meta is None or meets(expectation.meta, dict(message.meta)))
    )


def meets(expected: Any, got: Any, *, whole: bool = False) -> bool:
    """Whether a JSON value is the expected one; a mapping may have more members unless it must be ``whole``."""
    if isinstance(expected, dict):
        return (
            isinstance(got, dict)
            and (expected.keys() == got.keys() if whole else expected.keys() <= got.keys())
            and all(meets(value, got[name], whole=whole) for name, value in expected.items())
        )
    if isinstance(expected, list):
        return (
            isinstance(got, list)
            and len(expected) == len(got)
            and all(meets(one, other, whole=whole) for one, other in zip(expected, got, strict=True))
        )
    if _is_number(got) and (about := parse_approximate(expected)) is not None:
        return abs(Decimal(str(got)) - about) <= _half(about)
    if isinstance(expected, bool) or isinstance(got, bool):
        return expected is got
    return bool(expected == got)


def as_expected(template: Expectation, seen: Seen, start: int) -> dict[str, Any]:
    """Return the expectation, as YAML values, that names of a message what ``template`` names of one.

    Times are nanoseconds: of ``at`` from the start, of ``time`` from the epoch.
    """
    message, given = seen.message, template.model_fields_set
    out: dict[str, Any] = {"node": template.node}
    if template.at is not None:
        out["at"] = message.clock - start
    if template.line is not None:
        return out | {"line": seen.line}
    if (whole := template.message) is not None:
        out["message"] = {
            "topic": message.topic,
            "payload": shaped(whole.payload, message.payload, whole=True),
        }
        out["message"] |= {"meta": dict(message.meta)} if message.meta else {}
        out["message"] |= {} if whole.time is None else {"time": message.time}
        return out
    if template.topic is not None:
        out["topic"] = message.topic
    if "payload" in given:
        out["payload"] = shaped(template.payload, message.payload)
    if template.time is not None:
        out["time"] = message.time
    if template.meta is not None:
        out["meta"] = shaped(template.meta, dict(message.meta))
    return out


def described(node: str, seen: Seen, start: int) -> dict[str, Any]:
    """Return the expectation of a message that nothing like was expected."""
    message = seen.message
    out: dict[str, Any] = {"node": node, "at": message.clock - start}
    if seen.line is not None:
        return out | {"line": seen.line}
    return out | ({"topic": message.topic} if message.topic else {}) | {"payload": message.payload}


def shaped(expected: Any, got: Any, *, whole: bool = False) -> Any:
    """Return of a value what ``expected`` names, with as many digits where it is approximate."""
    if isinstance(expected, dict) and isinstance(got, dict):
        names = got if whole else {name: None for name in expected if name in got} or got
        return {name: shaped(expected.get(name), got[name], whole=whole) for name in names}
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        return [shaped(one, other, whole=whole) for one, other in zip(expected, got, strict=True)]
    if _is_number(got) and (about := parse_approximate(expected)) is not None:
        if meets(expected, got):
            return expected
        exponent = about.as_tuple().exponent
        return f"~{round(Decimal(str(got)), -exponent if isinstance(exponent, int) else 0)}"
    return expected if meets(expected, got) else got


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _half(number: Decimal) -> Decimal:
    """Return half a unit of the last digit that is written."""
    exponent = number.as_tuple().exponent
    return Decimal(5).scaleb(exponent - 1) if isinstance(exponent, int) else Decimal(0)
