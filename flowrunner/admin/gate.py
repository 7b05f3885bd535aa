"""What stands before all routes: who may use them, how large a request may be, and headers for browsers."""

from __future__ import annotations

import asyncio

from fastapi import HTTPException
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowrunner.admin.guard import Guard

OPEN = frozenset({"/livez", "/readyz", "/metrics"})
"""The paths that need no token anywhere."""
WEBHOOKS = "/in/"
"""Below it each node asks for its own token, and reads no more than its own limit."""
MOST_BYTES = 64 * 1024
"""What the body of a request may have."""
BODY_SECONDS = 10.0
"""Within which a body must have come."""
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}


class Gate:
    """Lets through what may pass: a path that nobody thought of is as closed as any other."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that may not pass; hand on any other."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if scope["path"].startswith(WEBHOOKS):
            await self._app(scope, receive, answer)
            return
        request = Request(scope, receive)
        try:
            if scope["path"] not in OPEN:
                self._guard.check(request)
            body = await _read(request)
        except HTTPException as refused:
            await _refuse(refused)(scope, receive, answer)
        except ClientDisconnect:
            return  # nobody is there to be answered
        else:
            await self._app(scope, _replay(body, receive), answer)


def _refuse(refused: HTTPException) -> Response:
    return JSONResponse({"detail": refused.detail}, refused.status_code, refused.headers)


async def _read(request: Request) -> bytes:
    """Return the body. Raises ``HTTPException`` (408, 413) for one that is too long or does not come."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise HTTPException(413, f"the body has more than {MOST_BYTES} bytes")
    except TimeoutError:
        raise HTTPException(408, f"the body did not come within {BODY_SECONDS:.0f} s") from None
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return what gives the body that has been read, and then what comes after it."""
    read = False

    async def replayed() -> Message:
        nonlocal read
        if read:
            return await receive()
        read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
