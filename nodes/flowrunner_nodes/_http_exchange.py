"""How a request over HTTP ends: with the server's answer, or with why there is none, and never with a secret."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Awaitable, Callable, Sequence

import aiohttp

from flowrunner import NANOSECONDS, format_duration
from flowrunner_nodes._http_answer import HttpAnswer, Unreachable, parse_retry_after

_MOST_BYTES = 65_536
_PATIENCE = 1.0
"""Seconds that a body is read: its head has said all that matters, what follows are words for people."""


class Exchange[A: HttpAnswer]:
    """What all requests to one server have in common. ``timeout`` and ``now()`` are nanoseconds."""

    def __init__(
        self, answer: type[A], server: str, timeout: int, secrets: Sequence[str], now: Callable[[], int]
    ) -> None:
        self._answer = answer
        self._server = server
        self._timeout = timeout
        self._secrets = sorted(secrets, key=len, reverse=True)
        self._now = now

    async def answer(self, request: Awaitable[aiohttp.ClientResponse]) -> A:
        """Return the answer to a request, whatever it is; raises :class:`Unreachable`."""
        try:
            response = await request
            try:
                return await self._read(response)
            finally:
                response.close()  # a no-op once the body has been read: the connection is then kept
        except TimeoutError:
            limit = format_duration(self._timeout)
            raise Unreachable(f"{self._server} did not answer within {limit}") from None
        except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
            forbidden = getattr(error, "errno", None) == errno.EACCES
            raise Unreachable(f"{self._server}: {self._mask(_words(error))}", forbidden=forbidden) from None

    async def _read(self, response: aiohttp.ClientResponse) -> A:
        headers = response.headers
        location = headers.get("Location")
        return self._answer(
            status=response.status,
            body=self._mask(await _read_start(response)),
            retry_after=parse_retry_after(
                headers.get("Retry-After"), headers.get("Date"), self._now() / NANOSECONDS
            ),
            location=None if location is None else self._mask(location),
        )

    def _mask(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientResponseError):
        return error.message  # its text has the whole address, which may hold a token
    return str(error) or type(error).__name__


async def _read_start(response: aiohttp.ClientResponse) -> str:
    """Return as much of a body as is worth reading and comes without delay."""
    body = bytearray()
    patience = asyncio.timeout(_PATIENCE)
    try:
        async with patience:
            async for chunk in response.content.iter_chunked(8192):
                body += chunk
                if len(body) >= _MOST_BYTES:
                    break
    except (TimeoutError, aiohttp.ClientError, OSError):
        if response.status >= 300 and not patience.expired():
            raise
    return body[:_MOST_BYTES].decode(errors="replace")
