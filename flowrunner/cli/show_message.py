"""Messages from ``/api/v1/tap`` as text for a terminal."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_WIDE = 100


class Printer:
    """Writes events as text, in colour on a terminal."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def text(self, event: dict[str, Any]) -> str:
        """Return a message: time, port and topic in one line, the payload behind or below it."""
        head = f"{self.faint(event['time'])} {self.strong(event['node'] + '.' + event['port'])} {safe(event['topic'])}"
        payload = json.dumps(event["payload"], ensure_ascii=False)
        if len(payload) <= _WIDE:
            return f"{head}  {safe(payload)}\n"
        body = json.dumps(event["payload"], ensure_ascii=False, indent=2).replace("\n", "\n  ")
        return f"{head}\n  {safe(body)}\n"

    def path(self, event: dict[str, Any]) -> str:
        """Return the way of a message: a line for each node, with what it made of it below."""
        first, *stations = event["stations"]
        head = f"{self.strong(first['node'])} {safe(first['topic'])} {self.faint('#' + str(first['seq']))}"
        lines = [f"{head}  {safe(_json(first['payload']))}"]
        for station in stations:
            lines += self._station(station)
        return "\n".join([*lines, *([] if event["done"] else ["  …"]), "", ""])

    def _station(self, station: dict[str, Any]) -> list[str]:
        what = outcome(station)
        lines = [f"  {self.strong(station['node'])} {self.faint(str(station['type']))}: {safe(what)}"]
        for told in station["expressions"]:
            value = told.get("error") or _json(told["value"])
            lines.append(safe(f"      {told['option']}: {told['expression']}  is {value}"))
            shown = {name: _json(one) for name, one in told["operands"].items() if name != told["expression"]}
            lines += [safe(f"        {name} = {one}") for name, one in shown.items()]
        for sent in station["after"]:
            for change in sent["changes"]:
                lines.append(
                    safe(f"      {change['field']}: {_json(change['before'])} → {_json(change['after'])}")
                )
        return lines

    def faint(self, text: str) -> str:
        """Return a text that stands back."""
        return self._in("2", text)

    def strong(self, text: str) -> str:
        """Return a text that stands out."""
        return self._in("1;36", text)

    def _in(self, style: str, text: str) -> str:
        return f"\x1b[{style}m{safe(text)}\x1b[0m" if self._colour else safe(text)


_OUTCOMES = {
    "passed": "passed it on",
    "changed": "changed it",
    "filtered": "filtered it out",
    "held": "holds it",
    "replaced": "left it out: a later message took its place",
    "released": "let it go",
    "aggregated": "counted it in a window that has closed",
    "dropped": "dropped it",
    "failed": "failed",
    "arrived": "has it, not written yet",
    "written": "written",
}


def outcome(station: dict[str, Any]) -> str:
    """Return in words what a node made of a message."""
    text = _OUTCOMES.get(station["outcome"], station["outcome"])
    if station["until"] is not None:
        text += f" until {station['until']}"
    if station["reason"] is not None:
        text += f": {station['reason']}"
    ports = [
        sent["port"] + ("" if sent["wired"] else " (not wired: it ends here)") for sent in station["after"]
    ]
    return f"{text} → {', '.join(ports)}" if ports else text


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def safe(text: str) -> str:
    """Return a text without anything that a terminal would obey: it comes from outside."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )
