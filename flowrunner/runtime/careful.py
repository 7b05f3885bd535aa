"""After a crash: a message that makes its node raise ends alone, without a trace, and the flow goes on.

The node is put back to what it was before that message: from a copy of its state, by giving it once more what came in
since. A copy of a large state takes seconds, so for such a node all messages of a batch at which it raises are looked
for first, and it is put back once: a message that it only refuses because of what the one before has left behind is
then taken for a poisonous one too.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowrunner.message import Message
from flowrunner.runtime.checkpoints.books import dump_counters, load_counters
from flowrunner.runtime.checkpoints.state import Chunks, Pace, dump_state, load_state

if TYPE_CHECKING:
    from flowrunner.runtime.stage import Step

LARGE = 64 * 1024
"""Bytes beyond which a state is not copied for each poisonous message."""
_SLICE = 1024

type Crashes = dict[int, str]
"""The places in a batch at which the node raised, and what."""


async def take_carefully(step: Step, batch: Sequence[Message]) -> int:
    """Give a transform a batch; return the journal position of the last message that it raised at, or 0.

    Raises what a timer raises: no message is to blame for that.
    """
    saved, counters = await dump_state(step.node, step.timers), dump_counters(step.counters)
    step.waiting = len(batch)
    try:
        out = step.node.on_batch(batch)
    except Exception:
        await _take_back(step, saved, counters)
    else:
        _settle(step, len(batch), out)
        return 0
    crashes: Crashes = {}
    if sum(map(len, saved)) > LARGE:
        crashes = await _find(step, batch)
        await _take_back(step, saved, counters)
    return await _take_one_by_one(step, batch, saved, crashes)


async def _find(step: Step, batch: Sequence[Message]) -> Crashes:
    """Return where the node raises, going on with what is left of it each time."""
    pace = Pace()
    crashes: Crashes = {}
    for place, message in enumerate(batch):
        step.node.advance(message.clock, [])
        try:
            step.node.on_batch([message])
        except Exception as error:
            crashes[place] = _describe(step, error)
        await pace.rest()
    return crashes


async def _take_one_by_one(step: Step, batch: Sequence[Message], saved: Chunks, crashes: Crashes) -> int:
    pace, since, poisoned = Pace(), list[Message](), 0
    for place, message in enumerate(batch):
        await _fire(step, message.clock, pace)
        counters, out = dump_counters(step.counters), list[Message]()
        reason = crashes.get(place)
        if reason is None:
            try:
                out = step.node.on_batch([message])
                since.append(message)
            except Exception as error:
                reason = _describe(step, error)
                await _take_back(step, saved, counters, since, message.clock)
                saved, since = await dump_state(step.node, step.timers), []
        if reason is not None:
            step.outlet.context.fail(message, reason)
            poisoned = message.seq
        _settle(step, 1, out)
        await pace.rest()
    return poisoned


async def _fire(step: Step, clock: int, pace: Pace) -> None:
    """Fire the timers that come before a message."""
    fired = False
    while not fired:
        out: list[Message] = []
        fired = step.node.advance(clock, out, _SLICE)
        step.outlet.settle(out)
        await pace.rest()


async def _take_back(
    step: Step, saved: Chunks, counters: dict[str, Any], since: Sequence[Message] = (), clock: int = 0
) -> None:
    """Make the node what it was: as saved, with what it was given since, and the timers fired up to ``clock``."""
    step.renew()
    await load_state(step.node, step.timers, saved, step.node.state_version)
    if since:
        step.node.on_batch(since)
    step.node.advance(clock, [])
    # What that made has been sent on and counted already.
    step.outlet.context.ports.clear()
    step.outlet.context.failures.clear()
    load_counters(step.counters, counters)


def _settle(step: Step, count: int, out: list[Message]) -> None:
    step.counters.received += count
    step.waiting -= count
    step.counters.batches += 1
    step.outlet.settle(out)


def _describe(step: Step, error: Exception) -> str:
    context = step.outlet.context
    context.log.error(
        "node crashed on a message", flow=context.flow, node=context.node, error=traceback.format_exc()
    )
    return f"{type(error).__name__} in node type: {error}"
