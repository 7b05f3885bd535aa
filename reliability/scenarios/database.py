"""A database that does not do as it should."""

from __future__ import annotations

from pathlib import Path

from reliability.plant import Plant
from reliability.scenario import Outcome, scenario
from reliability.trial import RATE, disturbance, endure

_WHILE_OPERATOR_ACTS = 180.0
_KEPT = "What a database does not take is kept, and written when it does."
_FAULTS = {
    "503": _KEPT,
    "503 with Retry-After: 3": "A server that names the time to come again is given that time, and all is written.",
    "429": _KEPT,
    "black hole": "A database that reads and never answers is asked again, and all is written.",
    "slow": "A slow database slows down what waits for it, and nothing is lost.",
    "an answer of 1 byte/s": "An answer that does not end is given up, and all is written.",
    "reset in place of an answer": _KEPT,
    "reset after the commit": "What was stored and not confirmed is sent again as the same points.",
    "413": "Requests that are too large are sent in parts.",
    "422, partial": "Points that are refused are dead-lettered with the server's words, the others are written.",
    "400, malformed lines": "Lines that are refused are found one by one, the others are written.",
    "401, then right again": "What a wrong token holds up is written when it is right.",
    "bucket missing, then created": "What a missing bucket holds up is written when it is there.",
}


def _declare(fault: str, promise: str) -> None:
    @scenario(f"database: {fault}", promise, seconds=_WHILE_OPERATOR_ACTS)
    async def body(folder: Path) -> Outcome:
        return await endure(Plant(folder, rate=RATE), disturbance(f"database: {fault}", 4.0))


for _fault, _promise in _FAULTS.items():
    _declare(_fault, _promise)
