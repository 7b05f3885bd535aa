"""The checks of the options of `http_out`, as far as they are literals."""

from __future__ import annotations

import re
from typing import NamedTuple

from flowrunner import Value, option_error
from flowrunner_nodes._http_addresses import check_named
from flowrunner_nodes._http_options import split_url
from flowrunner_nodes._values import is_expression

_PORTS = {"http": 80, "https": 443}
_UNFIT = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")
_NO_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = {
    *(
        "host",
        "content-length",
        "transfer-encoding",
        "content-encoding",
        "connection",
        "keep-alive",
        "upgrade",
    ),
    *(
        "te",
        "trailer",
        "expect",
        "proxy-authorization",
        "proxy-connection",
        "accept-encoding",
        "idempotency-key",
    ),
}
URL_HELP = "write http://HOST:PORT/PATH, or CEL with `allow_hosts`"


class Origin(NamedTuple):
    """Where a server listens."""

    scheme: str
    host: str
    port: int

    @property
    def place(self) -> str:
        """The host, with the port unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.place}"


def origin_of(url: str) -> Origin | None:
    """Return where an address leads, ``None`` when it is none or has a user or a password."""
    parts = None if _UNFIT.search(url) else split_url(url)
    if (
        parts is None
        or parts.scheme not in _PORTS
        or not parts.hostname
        or "@" in parts.netloc
        or parts.port == 0
    ):
        return None
    try:
        parts.hostname.encode("idna")
    except UnicodeError:
        return None
    return Origin(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])


def header_fault(text: str) -> bool:
    """Whether a text cannot be the value of a header."""
    return _NO_HEADER.search(text) is not None


def check_url(value: Value) -> Value:
    """Refuse a literal that is no address, or one that flows must not reach."""
    if is_expression(value):
        return value
    origin = origin_of(value.source) if isinstance(value.source, str) else None
    if origin is None:
        text = "`{name}` must begin with http:// or https://, name a host, and no user or password"
        raise option_error("FR025", text, help=URL_HELP)
    check_named(origin.host)
    return value


def check_host(text: str) -> str:
    """Return a host, with a port where one is given, as addresses are compared with it."""
    origin = origin_of(f"http://{text}")
    if origin is None or "/" in text or "?" in text or "#" in text:
        raise option_error("FR025", f"{text!r:.100} is not a host", help="write HOST or HOST:PORT")
    return origin.place


def check_header_name(name: str) -> str:
    """Refuse what cannot be the name of a header, and what is not for a flow to set."""
    if not _HEADER_NAME.fullmatch(name):
        raise option_error(
            "FR025", f"{name!r:.100} is not the name of a header", help="write it as in X-Source"
        )
    if name.lower() in _OURS:
        raise option_error("FR025", f"the header `{name}` is set by flowrunner", help="leave it out")
    return name


def check_header(value: Value) -> Value:
    """Refuse a literal that cannot be the value of a header."""
    literal = value.source
    if isinstance(literal, bool) or not isinstance(literal, str | int | float):
        raise option_error("FR022", "`{name}` must be a text or a number", help="write a text, or CEL")
    if header_fault(str(literal)):
        help = "look for a line break around it"
        raise option_error("FR025", "`{name}` has characters that no header has", help=help)
    return value
