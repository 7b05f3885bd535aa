"""Requests from outside to a source: what ``/in/FLOW/NODE`` hands over, and how a source refuses it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from flowrunner.errors import FlowrunnerError


class WebhookRefused(FlowrunnerError):
    """A request is not taken: answered with ``status`` and the reason, and with ``Retry-After`` in seconds."""

    def __init__(self, status: int, reason: str, *, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after = retry_after


class WebhookRequest(msgspec.Struct, frozen=True):
    """A request whose body has not been read yet."""

    method: str
    path: str
    """What stands behind ``/in/FLOW/NODE/``, decoded; empty when there is nothing."""
    headers: Mapping[str, str]
    """By name in lower case; the last one where several have the same name."""
    remote: str
    """The address that the request came from."""
    bearer: str | None
    """The bearer token that it brings."""
    refusal: tuple[int, str] | None
    """Status and reason for which the routes of the API would refuse it; ``None`` when they would not."""
    read: Callable[[int], Awaitable[bytes]]
    """Return the body. Raises :class:`WebhookRefused` when it has more bytes than given, or does not come."""


type WebhookHandler = Callable[[WebhookRequest], Awaitable[None]]
"""Returns when what the request brought is safe: it is then answered with 202.

Raises :class:`WebhookRefused` to refuse it; ``JournalFull`` and ``OSError`` are answered with 503.
"""
