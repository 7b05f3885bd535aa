"""The session of an `http_out`: aiohttp, without its proxies, cookies and redirects, and with a look at addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiohttp
from yarl import URL

from flowrunner import NANOSECONDS, MessageError
from flowrunner_nodes._http_answer import HttpAnswer
from flowrunner_nodes._http_checks import Origin
from flowrunner_nodes._http_connector import connector
from flowrunner_nodes._http_exchange import Exchange
from flowrunner_nodes._http_options import TlsOptions
from flowrunner_nodes._http_request import Request


class HttpClient:
    """An open session. Made inside the running event loop; must be closed."""

    def __init__(
        self, timeout: int, tls: TlsOptions, secrets: list[str], now: Callable[[], int], connections: int
    ) -> None:
        self._timeout = timeout
        self._secrets = secrets
        self._now = now
        self._session = aiohttp.ClientSession(
            connector=connector(tls, connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout / NANOSECONDS),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "flowrunner"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def send(self, method: str, request: Request, body: bytes) -> HttpAnswer:
        """Return the answer to a request.

        Raises :class:`Unreachable`, and :class:`MessageError` for an address that can be read in two ways.
        """
        url = _url(request)
        exchange = Exchange(HttpAnswer, str(request.origin), self._timeout, self._secrets, self._now)
        sending: Any = self._session.request(
            method, url, data=body, headers=request.headers, allow_redirects=False
        )
        return await exchange.answer(sending)


def _url(request: Request) -> URL:
    """Return the address as aiohttp reads it; refuse one that it reads as that of another server than we did."""
    try:
        url = URL(request.url)
        same = Origin(url.scheme, (url.host or "").lower(), url.port or 0) == request.origin
    except ValueError:
        raise MessageError("`url` cannot be read as an address") from None
    if not same:
        raise MessageError("`url` can be read as the address of another server")
    return url
