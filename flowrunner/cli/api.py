"""The HTTP API of a running flowrunner, as the commands that look at one use it."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

DEFAULT_URL = "http://127.0.0.1:8080"
_SILENCE = 30.0
"""Seconds without a sign of life after which a stream counts as broken."""


class ApiError(Exception):
    """The API cannot be asked, or refuses: what is wrong, and what to do."""

    def __init__(self, problem: str, help: str | None = None, column: int | None = None) -> None:
        super().__init__(problem)
        self.help = help
        self.column = column
        """Where in the condition something is wrong, counted from 0."""


class Api:
    """A running flowrunner: here or elsewhere."""

    def __init__(self, url: str | None, token: str | None) -> None:
        """``token`` by default is ``FLOWRUNNER_API_TOKEN``. Raises :class:`ApiError` for an address that is none."""
        self.url = (url or os.environ.get("FLOWRUNNER_URL") or DEFAULT_URL).rstrip("/")
        self._token = token or os.environ.get("FLOWRUNNER_API_TOKEN")
        parts = urlsplit(self.url)
        try:
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            self._host, self._port = "", None
        if parts.scheme not in ("http", "https") or not self._host:
            raise ApiError(
                f"`{self.url}` is not the address of a flowrunner", f"write one such as {DEFAULT_URL}"
            )
        self._tls = parts.scheme == "https"
        self._prefix = parts.path

    def lines(self, path: str, parameters: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
        """Return what a stream sends, until it ends."""
        with self._open(path, parameters or {}) as answer:
            try:
                while line := answer.readline():
                    text = line.removeprefix(b"data:").strip()
                    if text and text != b":":
                        yield json.loads(text)
            except (OSError, http.client.HTTPException) as error:
                raise ApiError(f"the connection to {self.url} broke off: {error}") from None

    @contextmanager
    def _open(self, path: str, parameters: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        with (
            closing(kind(self._host, self._port, timeout=_SILENCE)) as connection,
            self._ask(connection, path, parameters) as answer,
        ):
            if answer.status != 200:
                raise self._refused(answer.status, answer.read(65_536))
            yield answer

    def _ask(
        self, connection: http.client.HTTPConnection, path: str, parameters: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        query = f"?{urlencode(parameters)}" if parameters else ""
        headers = {"Accept": "application/x-ndjson"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            connection.request("GET", f"{self._prefix}{path}{query}", headers=headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ApiError(f"no flowrunner answers at {self.url}: {reason}", _START) from None

    def _refused(self, status: int, body: bytes) -> ApiError:
        try:
            detail = json.loads(body)["detail"]
        except (ValueError, TypeError, KeyError):
            return ApiError(f"{self.url} answers {status} and is not a flowrunner", _START)
        if status == 401:
            given = "refuses this token" if self._token else "wants a token"
            return ApiError(
                f"{self.url} {given}", "give the right one with --token, or in FLOWRUNNER_API_TOKEN"
            )
        if isinstance(detail, dict):
            return ApiError(str(detail.get("problem")), detail.get("help"), detail.get("offset"))
        return ApiError(f"{self.url} answers {status}: {detail}")


_START = "start one with `flowrunner run`, or name its address with --url or in FLOWRUNNER_URL"
