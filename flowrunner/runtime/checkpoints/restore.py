"""Begin where the last checkpoint ended: positions, counters, and the states that still fit."""

from __future__ import annotations

import traceback

from flowrunner.context import Logger
from flowrunner.counters import Counters
from flowrunner.graph.build import Graph
from flowrunner.graph.diff import state_shape
from flowrunner.runtime.assemble import Assembly
from flowrunner.runtime.checkpoints.books import load_counters, retire
from flowrunner.runtime.checkpoints.checkpoint import RETIRED
from flowrunner.runtime.checkpoints.state import load_state
from flowrunner.runtime.checkpoints.store import Checkpoint, Store
from flowrunner.runtime.pump import Pump
from flowrunner.runtime.stage import Step
from flowrunner.runtime.storage import Storage


async def restore(
    checkpoint: Checkpoint, assembly: Assembly, pump: Pump, retired: Counters, log: Logger
) -> list[Step]:
    """Set a newly assembled flow to a checkpoint; return the nodes that refused their state.

    A node gets its state back when it was saved under the same definition (type, options, inputs) or at least under
    the same options that it depends on. Otherwise what it held is dropped with the reason ``reload``, and logged. A node type that cannot read
    its state, because it is of another version or for a mistake in the type, begins without: see docs/decisions.
    """
    pump.position, pump.clock = checkpoint.position, checkpoint.clock
    intakes = assembly.intakes
    load_counters(retired, checkpoint.counters.get(RETIRED, {}))
    refused = []
    for name, values in checkpoint.counters.items():
        if name == RETIRED:
            continue
        context = intakes.get(name) or assembly.contexts.get(name)
        if context is None or ("source" in values) != (name in intakes):
            # A source's books are not those of another kind of node, though the id is the same.
            retire(retired, values)
            continue
        load_counters(context.counters, values)
        if name in intakes:
            pump.pumped[name] = values.get("source", 0)
        if name in assembly.sinks:
            assembly.sinks[name].restore(values)
        step = assembly.steps.get(name)
        if step is None:
            continue
        if not _fits(checkpoint, assembly.graph, name):
            _drop_held(step, "reload", log)
        elif not await _restore_state(step, checkpoint, log):
            load_counters(context.counters, values)
            _drop_held(step, "state_refused", log)
            refused.append(step)
    return refused


def _fits(checkpoint: Checkpoint, graph: Graph, name: str) -> bool:
    if checkpoint.definitions.get(name) == graph.definitions[name]:
        return True
    return checkpoint.shapes.get(name) == state_shape(graph.nodes[name])


def tell_damage(storage: Storage, checkpoint: Checkpoint | None, flow: str, log: Logger) -> None:
    """Say aloud, once, that a checkpoint could not be read, and where the flow begins instead."""
    damaged, told = storage.store.damaged, storage.damage_told
    storage.damage_told = damaged
    if damaged == told:
        return
    log.error(
        "checkpoints are damaged",
        flow=flow,
        damaged=damaged,
        goes_on="at the oldest record of the journal" if checkpoint is None else "at the checkpoint before",
        position=storage.journal.first if checkpoint is None else checkpoint.position,
        help="look after the disk; the damaged file is kept beside state.db with the suffix .corrupt",
    )


async def keep_refused(store: Store, flow: str, log: Logger) -> None:
    """Keep a copy of the checkpoints that have a state which was refused: the next checkpoints will be without."""
    copy = await store.keep_copy()
    if copy is not None:
        log.error(
            "the refused state is kept",
            flow=flow,
            copy=str(copy),
            help="to go back to it: stop, install the version that wrote it, rename the copy to state.db, start",
        )


async def _restore_state(step: Step, checkpoint: Checkpoint, log: Logger) -> bool:
    """Give a node its state; put a new node in its place and return false when it refuses it."""
    context = step.outlet.context
    version = checkpoint.versions.get(context.node, 1)
    try:
        await load_state(step.node, step.timers, checkpoint.states.get(context.node, ()), version)
    except Exception as error:
        held = context.counters.held
        step.renew()
        log.error(
            "a node refused its state and begins without",
            flow=context.flow,
            node=context.node,
            held=held,
            version=version,
            reason=f"{type(error).__name__}: {error}",
            error=traceback.format_exc(),
        )
        context.report("starting", f"began without its state, {held} messages dropped: {error}")
        return False
    return True


def _drop_held(step: Step, reason: str, log: Logger) -> None:
    """Count what a node held before it lost its state as dropped."""
    context = step.outlet.context
    held, context.counters.held = context.counters.held, 0
    if held:
        context.counters.drop(reason, held)
        log.warning(
            "state of a changed node was dropped",
            flow=context.flow,
            node=context.node,
            held=held,
            reason=reason,
        )
