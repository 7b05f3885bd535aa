"""What can be learnt of an HTTP server without changing anything: that it is there, its version, its clock, our login."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import aiohttp
import msgspec

from flowrunner import NANOSECONDS, Clock, Finding
from flowrunner_nodes._http_answer import Unreachable
from flowrunner_nodes._http_options import TlsOptions

_SECONDS = 5.0
_MOST_BYTES = 65_536
_SKEW = 2.0
"""Seconds of difference that are noticed: a Date header is that of a whole second."""


class Seen(msgspec.Struct, frozen=True):
    """An answer, with the difference between the server's clock and ours in seconds."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    ahead: float | None


async def look(url: str, clock: Clock, *, tls: TlsOptions, headers: Mapping[str, str] | None = None) -> Seen:
    """Get an address; redirects are not followed. Raises :class:`Unreachable` with the reason."""
    try:
        context = False if tls.insecure else ssl.create_default_context(cafile=tls.ca)
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        before = clock.now()
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, headers=headers, ssl=context, allow_redirects=False) as answer,
        ):
            body = await answer.content.read(_MOST_BYTES)
            ahead = _ahead(answer.headers.get("Date"), before, clock.now())
            return Seen(answer.status, {k.lower(): v for k, v in answer.headers.items()}, body, ahead)
    except TimeoutError:
        raise Unreachable(f"no answer within {_SECONDS:.0f} s") from None
    except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
        raise Unreachable(_words(error)) from None


def unreachable(error: Unreachable) -> Finding:
    """Return what to say of a server that does not answer."""
    return Finding("error", "server", str(error), "look at `url`, the name service, firewalls, and `tls`")


def clock_of(seen: Seen) -> list[Finding]:
    """Return what is to be said of the server's clock; nothing when it does not tell the time."""
    if seen.ahead is None:
        return []
    if abs(seen.ahead) <= _SKEW:
        return [Finding("ok", "clock", "the same as here, to 2 s")]
    way = "ahead of" if seen.ahead > 0 else "behind"
    text = f"the server is {abs(seen.ahead):.0f} s {way} this machine"
    return [Finding("warning", "clock", text, "let both follow a time server (NTP): points get wrong times")]


def _ahead(date: str | None, before: int, after: int) -> float | None:
    """Return by how many seconds a Date header lies outside the time in which it was written."""
    try:
        told = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None
    early, late = before / NANOSECONDS - 1, after / NANOSECONDS
    return told - late if told > late else min(0.0, told - early)


def _words(error: Exception) -> str:
    """Return the cause; the client's own words for a failed connection hold the address of an object."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    return str(cause) or type(cause).__name__
