"""The routes of webhooks: requests to ``/in/FLOW/NODE`` go to the source, as long as it is open."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, HTTPException, Request, Response
from starlette.requests import ClientDisconnect

from flowrunner.admin.guard import Guard, bearer
from flowrunner.admin.process import Process
from flowrunner.errors import JournalFull
from flowrunner.webhooks import WebhookHandler, WebhookRefused, WebhookRequest

MOST_BYTES = 64 * 2**20
"""What the bodies of all requests that are under way may take together."""
METHODS = ["POST", "PUT"]
BODY_SECONDS = 30.0
_DIGITS = 18
_LATER = 1
"""Seconds after which to try again what is refused for the moment."""


def router(process: Process, guard: Guard) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(include_in_schema=False)  # what they take depends on the flows
    room = _Room()

    @routes.api_route("/in/{flow}/{node}", methods=METHODS)
    @routes.api_route("/in/{flow}/{node}/{path:path}", methods=METHODS)
    async def take(request: Request, flow: str, node: str, path: str = "") -> Response:
        """Hand a message to a webhook; 202 means that it is in the journal."""
        try:
            await _take(request, flow, node, path)
        except WebhookRefused as refused:
            headers = {} if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
            if refused.status == 401:
                headers["WWW-Authenticate"] = "Bearer"
            raise HTTPException(refused.status, str(refused), headers=headers) from None
        return Response(status_code=202)

    async def _take(request: Request, flow: str, node: str, path: str) -> None:
        handler = _handler(process, flow, node)
        reading = _Reading(request, room)
        try:
            await handler(
                WebhookRequest(
                    method=request.method,
                    path=path,
                    headers=dict(request.headers.items()),
                    remote=request.client.host if request.client is not None else "",
                    bearer=bearer(request),
                    refusal=guard.refusal(request),
                    read=reading.read,
                )
            )
        except (JournalFull, OSError) as error:
            raise WebhookRefused(503, f"the journal does not take it now: {error}", retry_after=5) from None
        finally:
            reading.release()

    return routes


def _handler(process: Process, flow: str, node: str) -> WebhookHandler:
    running = process.supervisor.flows.get(flow)
    source = None if running is None else running.runner.assembly.sources.get(node)
    if source is None or source.context.webhook is None:
        raise WebhookRefused(404, f"there is no webhook `{node}` in a flow `{flow}`")
    if process.stopping or not source.open:
        raise WebhookRefused(503, f"the webhook `{node}` is starting or stopping", retry_after=_LATER)
    return source.context.webhook


class _Room:
    """How much memory the bodies of requests take."""

    def __init__(self) -> None:
        self.taken = 0

    def take(self, size: int) -> None:
        if self.taken + size > MOST_BYTES:
            raise WebhookRefused(503, "too many requests are under way", retry_after=_LATER)
        self.taken += size


class _Reading:
    """Reads the body of one request."""

    def __init__(self, request: Request, room: _Room) -> None:
        self._request = request
        self._room = room
        self._taken = 0

    async def read(self, limit: int) -> bytes:
        """Return the body, of ``limit`` bytes at most."""
        size = self._announced()
        if size is not None and size > limit:
            raise _too_large(limit)
        needed = limit if size is None else size
        self._room.take(needed)
        self._taken += needed
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in self._request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise _too_large(limit)
        except TimeoutError:
            raise WebhookRefused(408, f"the body did not come within {BODY_SECONDS:.0f} s") from None
        except ClientDisconnect:
            raise WebhookRefused(400, "the sender went away") from None
        return bytes(body)

    def release(self) -> None:
        """Give back what the body took."""
        self._room.taken -= self._taken
        self._taken = 0

    def _announced(self) -> int | None:
        """Return the length that the request says it has; ``None`` for one that comes in chunks."""
        headers = self._request.headers
        if "transfer-encoding" in headers:
            return None
        length = headers.get("content-length", "")
        if not length.isdecimal() or len(length) > _DIGITS:
            raise WebhookRefused(411, "say in `Content-Length` how long the body is")
        return int(length)


def _too_large(limit: int) -> WebhookRefused:
    return WebhookRefused(413, f"the body has more than {limit} bytes (the node's `max_bytes`)")
