"""``flowrunner health``: ask the flowrunner on this machine whether it is well.

Containers call it every few seconds: it imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
from typing import Any

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where to ask one that listens everywhere


def health(host: str, port: int, *, ready: bool, seconds: float) -> int:
    """Ask ``/livez``, or ``/readyz``, and return 0 when the answer is good, else 1 with the reason on standard error."""
    path = "/readyz" if ready else "/livez"
    asked = http.client.HTTPConnection(_WILDCARDS.get(host, host), port, timeout=seconds)
    try:
        with contextlib.closing(asked):
            asked.request("GET", path)
            answer = asked.getresponse()
            body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return _ill(f"nobody answers on {host}, port {port}: {str(error) or type(error).__name__}")
    if answer.status == 200:
        return 0
    return _ill(f"{path} answers {answer.status}{_reasons(body)}")


def _ill(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    return 1


def _reasons(body: bytes) -> str:
    """Return what ``/readyz`` gives as reasons, one a line."""
    try:
        trouble: list[Any] = list(json.loads(body)["trouble"])
    except (ValueError, KeyError, TypeError):
        return ""
    return "".join(f"\n  {json.dumps(one, ensure_ascii=False)}" for one in trouble)
