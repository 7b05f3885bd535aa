"""``flowrunner tap``: the messages that pass a node of a running flow, as they pass."""

from __future__ import annotations

import sys
from typing import Any, Literal

import msgspec

from flowrunner.cli.api import Api, ApiError
from flowrunner.cli.exits import complain
from flowrunner.cli.show_message import Printer


class Wanted(msgspec.Struct, frozen=True):
    """What the arguments mean."""

    node: str
    where: str | None = None
    sample: int = 1
    limit: int | None = None
    why: bool = False
    format: Literal["pretty", "json"] = "pretty"


def tap(wanted: Wanted, *, url: str | None, token: str | None) -> int:
    """Print messages until Ctrl-C, the limit or the end of the flow; return the exit code."""
    try:
        return _listen(Api(url, token), wanted)
    except ApiError as error:
        return _complain(error, wanted.where)
    except KeyboardInterrupt:
        return 0


def _listen(api: Api, wanted: Wanted) -> int:
    parameters = {"node": wanted.node, "sample": str(wanted.sample)}
    if wanted.where is not None:
        parameters["where"] = wanted.where
    if wanted.why:
        parameters["why"] = "true"
    printer, shown = Printer(), 0
    for event in api.lines("/api/v1/tap", parameters):
        if event["kind"] == "end":
            return complain(str(event["reason"]), code=1)
        if event["kind"] == "listening":
            _note(f"listening to {wanted.node} at {api.url}; end with Ctrl-C")
        elif event["kind"] == "missed":
            _note(f"{event['count']} more passed and are not shown; choose with --where or --sample")
        elif event["kind"] == "failed":
            counted = "a message" if event["count"] == 1 else f"{event['count']} messages"
            _note(f"--where failed for {counted}: {event['reason']}")
        else:
            show = _json if wanted.format == "json" else printer.path if wanted.why else printer.text
            sys.stdout.write(show(event))
            sys.stdout.flush()
            shown += 1
            if shown == wanted.limit:
                return 0
    return complain(f"{api.url} has ended the stream", code=1)


def _json(event: dict[str, Any]) -> str:
    return msgspec.json.encode(event).decode() + "\n"


def _note(text: str) -> None:
    sys.stderr.write(f"# {text}\n")
    sys.stderr.flush()


def _complain(error: ApiError, where: str | None) -> int:
    problem = str(error)
    if where is not None and error.column is not None:
        line = " ".join(where.split()) if "\n" in where else where
        problem = f"--where: {problem}\n   |\n   | {line}\n   | {' ' * error.column}^"
    return complain(problem, help=error.help, code=2 if error.column is not None else 1)
