"""Networks that fail between flowrunner and its neighbours."""

from __future__ import annotations

from pathlib import Path

from reliability.plant import Plant
from reliability.scenario import Outcome, scenario
from reliability.trial import RATE, disturbance, endure

_FAULTS = {
    "cut": "A network that is gone for a while costs no message.",
    "half open": "A connection that is dead without a word is noticed, and costs no message.",
    "0.3 s of latency": "A slow network costs time and no message.",
    "1-byte pieces": "A network that delivers byte by byte costs no message.",
    "resets": "Connections that are reset over and over cost no message.",
}


def _declare(between: str, fault: str, promise: str) -> None:
    @scenario(f"network, {between}: {fault}", promise)
    async def body(folder: Path) -> Outcome:
        return await endure(Plant(folder, rate=RATE), disturbance(f"network {between}: {fault}", 6.0))


for _between in ("flowrunner and broker", "flowrunner and database"):
    for _fault, _promise in _FAULTS.items():
        _declare(_between, _fault, _promise)
