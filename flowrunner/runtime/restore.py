"""Begin where the last checkpoint ended: positions, counters, and the states that still fit."""

from __future__ import annotations

from flowrunner.context import Logger
from flowrunner.counters import Counters
from flowrunner.runtime.assemble import Assembly
from flowrunner.runtime.checkpoint import RETIRED, load_counters, load_state, retire
from flowrunner.runtime.pump import Pump
from flowrunner.runtime.store import Checkpoint


def restore(checkpoint: Checkpoint, assembly: Assembly, pump: Pump, retired: Counters, log: Logger) -> None:
    """Set a newly assembled flow to a checkpoint.

    A node gets its state back when its definition (type, options, inputs) is the one that the state was saved
    under. Otherwise what it held is dropped with the reason ``reload``, and logged.
    """
    pump.position, pump.clock = checkpoint.position, checkpoint.clock
    definitions, intakes = assembly.graph.definitions, assembly.intakes
    for name, values in checkpoint.counters.items():
        if name == RETIRED:
            load_counters(retired, values)
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
        if checkpoint.definitions.get(name) == definitions[name] and name in checkpoint.states:
            load_state(step.node, step.timers, checkpoint.states[name])
        elif context.counters.held:
            log.warning(
                "state of a changed node was dropped",
                node=name,
                held=context.counters.held,
                flow=context.flow,
            )
            context.counters.drop("reload", context.counters.held)
            context.counters.held = 0
