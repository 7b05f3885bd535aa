"""A scenario: one fault, one sentence of promise, and what came of it."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from reliability import scenarios

SECONDS = 90.0
"""Time that a scenario has, unless it says otherwise."""

type Body = Callable[[Path], Awaitable[Outcome]]


@dataclass(frozen=True)
class Outcome:
    """What a scenario counted. Breaking the promise is said with an ``AssertionError``.

    ``lost`` is what was accepted from a source and is neither written nor dead-lettered nor dropped with a reason;
    ``duplicated`` what a sink got more than once, the same each time; ``recovered_in`` the seconds from the end of
    the fault until all was as before, ``None`` where there is nothing to recover from.
    """

    lost: int = 0
    duplicated: int = 0
    dead_lettered: int = 0
    recovered_in: float | None = None


@dataclass(frozen=True)
class Scenario:
    """A scenario as it was declared; ``tells_loss``: what is lost cannot be kept by us, but is told."""

    name: str
    promise: str
    body: Body
    tells_loss: bool
    seconds: float


@dataclass(frozen=True)
class Result:
    """How a run of a scenario went; ``failure`` is ``None`` when the promise was kept."""

    scenario: Scenario
    outcome: Outcome | None
    failure: str | None
    seconds: float


_registry: dict[str, Scenario] = {}


def scenario(
    name: str, promise: str, *, tells_loss: bool = False, seconds: float = SECONDS
) -> Callable[[Body], Body]:
    """Register a coroutine function that gets an empty folder and returns an :class:`Outcome`."""

    def register(body: Body) -> Body:
        known = _registry.get(name)
        if known is not None and known.body.__module__ != body.__module__:
            raise ValueError(f"two scenarios have the name {name!r}")
        if not promise.endswith("."):
            raise ValueError(f"the promise of {name!r} is not a sentence")
        _registry[name] = Scenario(name, promise, body, tells_loss, seconds)
        return body

    return register


def all_scenarios() -> list[Scenario]:
    """Return every scenario, by name."""
    for module in pkgutil.iter_modules(scenarios.__path__):
        importlib.import_module(f"{scenarios.__name__}.{module.name}")
    return [_registry[name] for name in sorted(_registry)]


async def run(item: Scenario) -> Result:
    """Run one scenario in a folder of its own. Whatever it raises is its failure."""
    begin = time.monotonic()
    outcome, failure = None, None
    try:
        with tempfile.TemporaryDirectory(prefix="flowrunner-fault-", ignore_cleanup_errors=True) as folder:
            async with asyncio.timeout(item.seconds):
                outcome = await item.body(Path(folder))
        if outcome.lost and not item.tells_loss:
            failure = f"{outcome.lost} lost"
    except TimeoutError:
        failure = f"not done after {item.seconds:.0f} s"
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    return Result(item, outcome, failure, time.monotonic() - begin)
