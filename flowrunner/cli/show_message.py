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

    def faint(self, text: str) -> str:
        """Return a text that stands back."""
        return self._in("2", text)

    def strong(self, text: str) -> str:
        """Return a text that stands out."""
        return self._in("1;36", text)

    def _in(self, style: str, text: str) -> str:
        return f"\x1b[{style}m{safe(text)}\x1b[0m" if self._colour else safe(text)


def safe(text: str) -> str:
    """Return a text without anything that a terminal would obey: it comes from outside."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )
