"""The HTTP session of an `influxdb` connection: influxdb-client's transport, with our own limits around it.

docs/decisions/0020-influxdb-transport.md says which parts of the client are used and why no others.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.service.write_service import WriteService
from isal import igzip

from flowrunner import NANOSECONDS
from flowrunner_nodes._http_connector import connector
from flowrunner_nodes._http_exchange import Exchange
from flowrunner_nodes._http_options import TlsOptions
from flowrunner_nodes._influx_answer import Answer, Target

if TYPE_CHECKING:
    from flowrunner_nodes.influxdb import InfluxdbOptions

_V1_PRECISIONS = {"ns": "n", "us": "u", "ms": "ms", "s": "s"}
_V3_PRECISIONS = {"ns": "nanosecond", "us": "microsecond", "ms": "millisecond", "s": "second"}


class HttpSession:
    """An open session. Made inside the running event loop; must be closed."""

    def __init__(self, options: InfluxdbOptions, now: Callable[[], int]) -> None:
        self._options = options
        client: Any = InfluxDBClientAsync  # its methods have no types
        self._client = client(
            url=options.url,
            timeout=aiohttp.ClientTimeout(total=options.timeout / NANOSECONDS),
            allow_redirects=False,  # the token is for this host alone
            client_session_type=partial(_session, options.tls),
        )
        self._api = self._client.api_client
        service: Any = WriteService
        self._writes = service(self._api)
        authorization = _authorization(options)
        if authorization is not None:
            self._api.set_default_header("Authorization", authorization)
        secrets = _secrets(options, authorization)
        self._exchange = Exchange(Answer, options.url, options.timeout, secrets, now)

    async def close(self) -> None:
        """Close the connections to the server."""
        await self._client.close()

    async def ping(self) -> Answer:
        """Ask the server for a sign of life."""
        return await self._exchange.answer(self._api.call_api("/ping", "GET", _preload_content=False))

    async def post(self, target: Target, lines: bytes) -> Answer:
        """Send lines; raises :class:`Unreachable`."""
        gzip = self._options.compression == "gzip"
        body = igzip.compress(lines, compresslevel=1, mtime=0) if gzip else lines
        encoding = "gzip" if gzip else "identity"
        send = {1: self._post_v1, 2: self._post_v2, 3: self._post_v3}[self._options.version]
        return await self._exchange.answer(send(target, body, encoding))

    def _post_v1(self, target: Target, body: bytes, encoding: str) -> Awaitable[Any]:
        query = [("db", target.bucket), ("precision", _V1_PRECISIONS[target.precision])]
        return self._post_raw("/write", query, body, encoding)

    def _post_v2(self, target: Target, body: bytes, encoding: str) -> Awaitable[Any]:
        post: Awaitable[Any] = self._writes.post_write_async(
            org=self._options.org,
            bucket=target.bucket,
            body=body,
            precision=target.precision,
            content_encoding=encoding,
            _preload_content=False,
        )
        return post

    def _post_v3(self, target: Target, body: bytes, encoding: str) -> Awaitable[Any]:
        query = [("db", target.bucket), ("precision", _V3_PRECISIONS[target.precision])]
        return self._post_raw("/api/v3/write_lp", query, body, encoding)

    def _post_raw(
        self, path: str, query: list[tuple[str, str]], body: bytes, encoding: str
    ) -> Awaitable[Any]:
        headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Encoding": encoding}
        post: Awaitable[Any] = self._api.call_api(
            path, "POST", query_params=query, header_params=headers, body=body, _preload_content=False
        )
        return post


def _session(tls: TlsOptions, **given: Any) -> aiohttp.ClientSession:
    """Return the session that the client asks for, with our connector: theirs would go to any address."""
    return aiohttp.ClientSession(**given | {"connector": connector(tls, given["connector"].limit)})


def _authorization(options: InfluxdbOptions) -> str | None:
    if options.token is not None:
        scheme = "Bearer" if options.version == 3 else "Token"
        return f"{scheme} {options.token.get_secret_value()}"
    if options.username is not None and options.password is not None:
        pair = f"{options.username}:{options.password.get_secret_value()}"
        return "Basic " + base64.b64encode(pair.encode()).decode()
    return None


def _secrets(options: InfluxdbOptions, authorization: str | None) -> list[str]:
    """Return what an answer must not show, should a server or a proxy repeat what it was sent."""
    secrets = [] if options.password is None else [options.password.get_secret_value()]
    return secrets if authorization is None else [authorization.partition(" ")[2], *secrets]
