"""Who may use the routes: this machine without further ado, others with the token."""

from __future__ import annotations

import ipaddress
import re
import secrets
from urllib.parse import urlsplit

from fastapi import HTTPException, Request

_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::\d*)?")


class Guard:
    """Lets requests through or refuses them."""

    def __init__(self, token: str | None, *, local: bool) -> None:
        """``local`` says that the server listens on the loopback interface only."""
        self._token = token
        self._local = local

    def check(self, request: Request) -> None:
        """Raise ``HTTPException`` (401, 403) for a request that may not pass."""
        if (refusal := self.refusal(request)) is not None:
            status, reason = refusal
            headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
            raise HTTPException(status, reason, headers=headers)

    def refusal(self, request: Request) -> tuple[int, str] | None:
        """Return status and reason for a request that may not pass."""
        if self._local and _names_this_machine(request) and not _comes_from_a_foreign_page(request):
            return None
        if self._token is None:
            return 403, "set FLOWRUNNER_API_TOKEN to use this beyond localhost"
        if not is_token(bearer(request), self._token):
            return 401, "a bearer token is needed"
        return None


def bearer(request: Request) -> str | None:
    """Return the bearer token that a request brings."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def is_token(given: str | None, token: str) -> bool:
    """Return whether a token is the right one, in a time that does not tell how much of it is."""
    return given is not None and secrets.compare_digest(given.encode(), token.encode())


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _names_this_machine(request: Request) -> bool:
    """Refuse foreign names in ``Host``: a web page elsewhere must not reach us through its own DNS."""
    # Not `request.url`: for a `Host` that is empty or malformed it takes our own address instead.
    named = _HOST.fullmatch(request.headers.get("host", ""))
    return named is not None and is_loopback(named["v6"] or named["name"])


def _comes_from_a_foreign_page(request: Request) -> bool:
    """Refuse what a browser sends for a page of another site: it may post forms to this machine."""
    origin = request.headers.get("origin")
    if origin is None:
        # An image or a script of another site has no `Origin`; a link to the page is followed by a person.
        foreign = request.headers.get("sec-fetch-site") == "cross-site"
        return foreign and request.headers.get("sec-fetch-mode") != "navigate"
    try:
        return not is_loopback(urlsplit(origin).hostname or "")
    except ValueError:
        return True
