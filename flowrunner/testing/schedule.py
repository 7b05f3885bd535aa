"""When things happen in a test: steps in order of time, with what arrives late because its source was away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from flowrunner.testing.model import (
    AdvanceStep,
    CrashStep,
    FaultStep,
    FileStep,
    FlowTest,
    MessageStep,
    ReloadStep,
    SinkFault,
    SourceFault,
)

type Action = MessageStep | AdvanceStep | FaultStep | ReloadStep | CrashStep


class Event(msgspec.Struct, frozen=True):
    """A step, and when it takes place: nanoseconds from the start of the test."""

    at: int
    action: Action


class Refusal(msgspec.Struct, frozen=True):
    """A time in which a sink's server refuses what is written."""

    sink: str
    begin: int
    end: int
    status: int


class Schedule(msgspec.Struct, frozen=True):
    """All of a test's input; times are nanoseconds from its start."""

    events: list[Event]
    refusals: list[Refusal]
    end: int


def steps_of(test: FlowTest) -> Sequence[Action | FileStep]:
    """Return the steps of a test, also when its input is nothing but a recording."""
    return [test.input] if isinstance(test.input, FileStep) else test.input


def schedule(test: FlowTest, recordings: Mapping[str, Sequence[MessageStep]]) -> Schedule:
    """Return what happens in a test; ``recordings`` are the files that it names."""
    events: list[Event] = []
    for step in steps_of(test):
        if isinstance(step, FileStep):
            events += [Event(step.at + recorded.at, recorded) for recorded in recordings[step.file]]
        else:
            events.append(Event(step.at, step))
    faults = [event for event in events if isinstance(event.action, FaultStep)]
    events = [_arrival(event, faults) for event in events]
    events.sort(key=lambda event: event.at)
    refusals = [
        Refusal(fault.sink, event.at, event.at + fault.for_, fault.status)
        for event in faults
        if isinstance(event.action, FaultStep) and isinstance(fault := event.action.fault, SinkFault)
    ]
    return Schedule(events, refusals, events[-1].at if events else 0)


def _arrival(event: Event, faults: Sequence[Event]) -> Event:
    """Return a message's event at the time when its source is connected."""
    if not isinstance(event.action, MessageStep):
        return event
    at, node = event.at, event.action.node
    for fault_event in sorted(faults, key=lambda fault: fault.at):
        fault = fault_event.action.fault if isinstance(fault_event.action, FaultStep) else None
        if isinstance(fault, SourceFault) and fault.source == node:
            back = fault_event.at + fault.disconnected
            at = back if fault_event.at <= at < back else at
    return Event(at, event.action)
