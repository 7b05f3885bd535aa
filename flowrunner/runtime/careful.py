"""After a crash: messages are taken one by one, and one that makes its node raise ends alone, without a trace.

The node is put back to what it was before that message: from a copy of its state, by giving it once more what came in
since. So a message that crashes a node costs the others nothing, however many of them there are.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowrunner.message import Message
from flowrunner.runtime.books import dump_counters, load_counters
from flowrunner.runtime.state import Chunks, Pace, dump_state, load_state

if TYPE_CHECKING:
    from flowrunner.runtime.stage import Step

_SLICE = 1024


async def take_one_by_one(step: Step, batch: Sequence[Message]) -> int:
    """Give a transform a batch message by message; return the journal position of the last that it raised at, or 0.

    Raises what a timer raises: no message is to blame for that.
    """
    pace = Pace()
    saved = await dump_state(step.node, step.timers)
    since: list[Message] = []
    poisoned = 0
    step.waiting = len(batch)
    for message in batch:
        await _fire(step, message.clock, pace)
        before = dump_counters(step.counters)
        try:
            out = step.node.on_batch([message])
        except Exception as error:
            await _take_back(step, saved, since, message.clock)
            load_counters(step.counters, before)
            _fail(step, message, error)
            poisoned, out = message.seq, []
            saved, since = await dump_state(step.node, step.timers), []
        else:
            since.append(message)
        step.counters.received += 1
        step.waiting -= 1
        step.outlet.settle(out)
        await pace.rest()
    step.counters.batches += 1
    return poisoned


async def _fire(step: Step, clock: int, pace: Pace) -> None:
    """Fire the timers that come before a message."""
    fired = False
    while not fired:
        out: list[Message] = []
        fired = step.node.advance(clock, out, _SLICE)
        step.outlet.settle(out)
        await pace.rest()


async def _take_back(step: Step, saved: Chunks, since: Sequence[Message], clock: int) -> None:
    """Make the node what it was before a message: as saved, with what it was given since, and the timers fired."""
    step.renew()
    await load_state(step.node, step.timers, saved, step.node.state_version)
    repeated = step.node.on_batch(since)
    step.node.advance(clock, repeated)
    # All of this has been sent on already.
    step.outlet.context.ports.clear()
    step.outlet.context.failures.clear()


def _fail(step: Step, message: Message, error: Exception) -> None:
    context = step.outlet.context
    context.log.error(
        "node crashed on a message", flow=context.flow, node=context.node, error=traceback.format_exc()
    )
    context.fail(message, f"{type(error).__name__} in node type: {error}")
