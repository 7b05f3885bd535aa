"""What the HTTP side may see of the process it runs in."""

from __future__ import annotations

from flowrunner.admin.watchdog import Watchdog
from flowrunner.catalog.catalog import Catalog
from flowrunner.clock import Clock
from flowrunner.context import ConnectionContext, Context
from flowrunner.diagnostics import Diagnostic
from flowrunner.runtime.reload.reloader import Reloader
from flowrunner.runtime.supervisor import Flow, Supervisor
from flowrunner.tracing.tracing import Tracing


class Process:
    """The supervisor, the reloader and the state of the event loop."""

    def __init__(
        self,
        supervisor: Supervisor,
        reloader: Reloader,
        clock: Clock,
        version: str,
        tracing: Tracing | None = None,
    ) -> None:
        self.supervisor = supervisor
        self.reloader = reloader
        self.clock = clock
        self.version = version
        self.tracing = tracing
        self.catalog: Catalog | None = None
        self.stopping = False
        self.watchdog = Watchdog()


def trouble(process: Process) -> list[dict[str, str]]:
    """Return what keeps the process from being ready: one entry a cause, with flow, node and reason."""
    found: list[dict[str, str]] = []
    if process.stopping:
        found.append({"reason": "stopping"})
    if not process.supervisor.flows:
        found.append({"reason": "no valid flow is running"})
    running = {flow.graph.file for flow in process.supervisor.flows.values()}
    found += [_mistake(error) for error in _errors(process) if error.file not in running]
    found += [{"flow": name, "reason": why} for name, why in process.supervisor.refused.items()]
    for name, flow in process.supervisor.flows.items():
        if flow.status != "running":
            found.append({"flow": name, "status": flow.status, "reason": flow.reason or "starting"})
            continue
        if flow.storage.journal.error is not None:
            found.append({"flow": name, "reason": f"journal: {flow.storage.journal.error}"})
        if flow.runner.checkpointer.error is not None:
            found.append({"flow": name, "reason": f"checkpoint: {flow.runner.checkpointer.error}"})
        parts = flow.runner.assembly
        named: list[tuple[str, str, Context | ConnectionContext]]
        named = [("connection", part.context.name, part.context) for part in parts.connections.values()]
        named += [("node", context.node, context) for context in parts.contexts.values()]
        found += [
            {"flow": name, kind: part, "status": context.status, "reason": context.reason or ""}
            for kind, part, context in named
            if context.status in ("starting", "degraded", "failed")
        ]
    return found


def notices(process: Process) -> list[dict[str, str]]:
    """Return what a person should mend though everything runs: the last good version of a file, the catalog."""
    running = {flow.graph.file for flow in process.supervisor.flows.values()}
    found = [_mistake(error) for error in _errors(process) if error.file in running]
    failures = process.reloader.failures.items()
    found += [{"flow": name, "reason": f"goes on as it was: {why}"} for name, why in failures]
    if process.catalog is not None and process.catalog.error is not None:
        found.append({"reason": f"the catalog of revisions: {process.catalog.error}"})
    return found


def mistakes(process: Process, flow: Flow) -> list[dict[str, str]]:
    """Return why a flow does not run as its file says."""
    found = [_mistake(error) for error in _errors(process) if error.file == flow.graph.file]
    why = process.reloader.failures.get(flow.graph.name)
    return found if why is None else [*found, {"reason": why}]


def _errors(process: Process) -> list[Diagnostic]:
    return [found for found in process.reloader.diagnostics if found.severity == "error"]


def _mistake(error: Diagnostic) -> dict[str, str]:
    place = f"{error.file}:{error.line}:{error.column}"
    return {"file": place, "code": error.code, "reason": error.message}
