"""The route for the revisions of a flow: what was applied, refused or rolled back, and why."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query

from flowrunner.admin.process import Process
from flowrunner.catalog.catalog import Unavailable


def router(process: Process) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["revisions"])

    @routes.get("/api/v1/flows/{name}/revisions")
    async def revisions(name: str, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> list[dict[str, Any]]:
        """List the revisions of a flow that this instance recorded, the newest first; 503 without a catalog."""
        try:
            if process.catalog is None:
                raise Unavailable("this process has none")
            found = await process.catalog.read(name, limit)
        except Unavailable as error:
            reason = f"the catalog of revisions cannot be read: {error}"
            raise HTTPException(503, reason, headers={"Retry-After": "5"}) from None
        if not found and name not in process.supervisor.flows:
            raise HTTPException(404, f"no flow `{name}` is running or recorded")
        return found

    return routes
