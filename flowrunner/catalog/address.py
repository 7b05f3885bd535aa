"""Where the catalog is kept, and how that is told without its password."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

FILE = "catalog.db"
_MASK = "***"


class Address(msgspec.Struct, frozen=True):
    """A database: a file of SQLite, or a server of PostgreSQL."""

    file: Path | None
    dsn: str = ""
    """Of PostgreSQL, as its own tools take it; with the password."""

    def __repr__(self) -> str:
        return f"Address({self.shown})"

    @property
    def shown(self) -> str:
        """How it is told: without user and password, and without the query, which may have them too."""
        if self.file is not None:
            return str(self.file)
        parts = urlsplit(self.dsn)
        return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def mask(self, text: str) -> str:
        """Return what a driver or server said without anything secret of the address in it."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, _MASK)
        return text

    def _secrets(self) -> set[str]:
        parts = urlsplit(self.dsn)
        passwords = {parts.netloc.rpartition("@")[0].partition(":")[2]}
        passwords |= {value for name, value in parse_qsl(parts.query) if re.search("pass|secret|key", name)}
        return {secret for one in passwords for secret in (one, unquote(one)) if secret} | ({self.dsn} - {""})


def address(url: str | None, state_dir: Path) -> Address:
    """Return the address that ``CATALOG_URL`` names; without one a file in the state directory."""
    if url is None:
        return Address(state_dir / FILE)
    if url.startswith("sqlite:"):
        return Address(Path(url.removeprefix("sqlite:///")))
    return Address(None, url)
