"""The HTTP application: health and metrics for everybody, the rest for localhost or a bearer token."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, HTTPException, Query, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse

from flowrunner.admin import dead_letters, details, invalid, page, revisions, tap, webhooks
from flowrunner.admin.events import Listeners
from flowrunner.admin.gate import Gate
from flowrunner.admin.guard import Guard
from flowrunner.admin.metrics import UnknownGroupError, metrics_text
from flowrunner.admin.process import Process, mistakes, notices, trouble
from flowrunner.runtime.supervisor import Flow


def create_app(process: Process, token: str | None, *, local: bool) -> FastAPI:
    """Return the application.

    ``local`` says that the server listens on the loopback interface only: its routes are then open. Elsewhere all
    but ``/livez``, ``/readyz`` and ``/metrics`` need ``Authorization: Bearer TOKEN``, and answer 403 without a token.
    """
    app = FastAPI(title="flowrunner", version=process.version, openapi_url=None, redirect_slashes=False)
    guard = Guard(token, local=local)
    app.add_middleware(Gate, guard=guard)
    app.add_exception_handler(RequestValidationError, invalid.explain)
    listeners = Listeners(process)

    @app.get("/livez", response_class=PlainTextResponse)
    async def livez() -> str:
        """Answer as long as the event loop turns."""
        return "ok\n"

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """Say whether flows are loaded, sources connected and sinks accepting, and if not, why."""
        found = trouble(process)
        body = {"ready": not found, "trouble": found, "notices": notices(process)}
        return JSONResponse(body, status_code=503 if found else 200)

    @app.get("/metrics")
    async def metrics(collect: Annotated[list[str], Query(alias="collect[]")] = []) -> Response:  # noqa: B006
        """Return the metrics in Prometheus' text format: all groups, or those that ``collect[]`` names."""
        try:
            text = await metrics_text(process, collect)
        except UnknownGroupError as error:
            raise HTTPException(400, str(error)) from None
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/api/v1/flows")
    async def flows() -> list[dict[str, Any]]:
        """List the running flows."""
        return [_summary(process, flow) for flow in process.supervisor.flows.values()]

    @app.get("/api/v1/flows/{name}")
    async def flow(name: str) -> dict[str, Any]:
        """Return the graph, the status and the numbers of one flow."""
        found = process.supervisor.flows.get(name)
        if found is None:
            raise HTTPException(404, f"no flow `{name}` is running")
        return _summary(process, found) | _details(found)

    @app.get("/api/v1/events")
    async def events() -> Response:
        """Send the numbers of all flows once a second (server-sent events)."""
        if listeners.full():
            raise HTTPException(503, "too many pages are listening", headers={"Retry-After": "10"})
        return StreamingResponse(listeners.stream(), media_type="text/event-stream")

    @app.get("/", response_class=HTMLResponse)
    async def live_page() -> Response:
        """Show the flows."""
        return HTMLResponse(page.render(process), headers=page.HEADERS)

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        """Return a file of the page."""
        if name not in page.ASSETS:
            raise HTTPException(404)
        return Response(page.asset(name), media_type=page.ASSETS[name], headers=page.HEADERS)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        """Return the OpenAPI schema of these routes."""
        return app.openapi()

    @app.post("/api/v1/reload")
    async def reload() -> dict[str, Any]:
        """Take up the flow files as they are now, and say what came of each flow and each mistake."""
        done = await process.reloader.reload()
        ok = all(one.result == "applied" for one in done)
        return {"ok": ok, "reloads": msgspec.to_builtins(done)}

    app.include_router(dead_letters.router(process))
    app.include_router(revisions.router(process))
    app.include_router(details.router(process))
    app.include_router(tap.router(process))
    app.include_router(webhooks.router(process, guard))
    return app


def _summary(process: Process, flow: Flow) -> dict[str, Any]:
    return {
        "flow": flow.graph.name,
        "description": flow.graph.description,
        "status": flow.status,
        "reason": flow.reason,
        "generation": flow.generation,
        "hash": flow.graph.digest,
        "file": flow.graph.file,
        "errors": mistakes(process, flow),
        "last_good": flow.graph.name in process.reloader.last_good,
        "delivery": flow.graph.delivery,
        "ledger": flow.runner.ledger.as_dict(),
    }


def _details(flow: Flow) -> dict[str, Any]:
    nodes = {}
    for name, context in flow.runner.assembly.contexts.items():
        counters = context.counters
        nodes[name] = {
            "type": flow.runner.graph.nodes[name].type.name,
            "status": context.status,
            "reason": context.reason,
            "received": counters.received,
            "emitted": counters.emitted,
            "written": counters.written,
            "filtered": counters.filtered,
            "aggregated": counters.aggregated,
            "dropped": counters.dropped,
            "dead_lettered": counters.dead_lettered,
            "errors": counters.errors,
            "held": counters.held,
        }
    wires = [[wire.source, wire.port, wire.target] for wire in flow.runner.graph.wires]
    return {"nodes": nodes, "wires": wires}
