"""What the options of connections over HTTP have in common: the address, the token, the server's certificate."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import Field

from flowrunner import FileName, Options, Secret, option_error
from flowrunner_nodes._http_addresses import check_named


class TlsOptions(Options):
    """How the server's certificate is checked; only for `https`."""

    ca: Annotated[
        FileName | None,
        Field(description="A PEM file with the authorities to trust.", examples=["/run/secrets/ca.pem"]),
    ] = None
    insecure: Annotated[
        bool, Field(description="Whether to accept any certificate, also a forged one.", examples=[False])
    ] = False


Tls = Annotated[
    TlsOptions,
    Field(description="How the server's certificate is checked.", examples=[{"ca": "/etc/ca.pem"}]),
]


def split_url(url: str) -> SplitResult | None:
    """Return the parts of an address, ``None`` if it is none."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # reading it is the check
    except ValueError:
        return None
    return parts


def url_check(*, help: str, credentials: str) -> Callable[[str], str]:
    """Return the validator of an address; ``credentials`` says where a user's name and password belong."""

    def check(url: str) -> str:
        parts = split_url(url)
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            text = "`{name}` must begin with http:// or https:// and name a host"
            raise option_error("FR025", text, help=help)
        if parts.username or parts.password:
            raise option_error("FR025", "`{name}` must not contain a user or a password", help=credentials)
        if parts.query or parts.fragment:
            raise option_error("FR025", "`{name}` must end before the `?` or `#`", help=help)
        check_named(parts.hostname)
        return url.rstrip("/")

    return check


def check_token[T: Secret | None](token: T) -> T:
    """Refuse a token that no header can carry."""
    if token is not None and re.fullmatch(r"[\x21-\x7e]+", token.get_secret_value()) is None:
        raise option_error(
            "FR025",
            "`{name}` contains characters that no token has",
            help="look for a line break, a space or quotation marks around it",
        )
    return token


def check_tls(url: str, tls: TlsOptions, *, help: str) -> None:
    """Refuse options for certificates where there are none."""
    if tls != TlsOptions() and not url.startswith("https:"):
        raise option_error("FR025", "`tls` needs a `url` that begins with https://", help=help)
