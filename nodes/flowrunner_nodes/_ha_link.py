"""What a connection to Home Assistant needs to know, and what goes wrong on the way there."""

from __future__ import annotations

import msgspec

from flowrunner import FlowrunnerError


class Link(msgspec.Struct, frozen=True):
    """Where Home Assistant is, and how it is reached."""

    url: str
    """The WebSocket API: ``ws://…/api/websocket``."""
    token: str
    ca: str | None = None
    insecure: bool = False
    compression: bool = False
    max_size: int = 64 * 2**20
    """Bytes of the longest message that is taken."""
    proxy: str | None = None

    def __repr__(self) -> str:
        return f"Link({self.url!r})"  # and not the token


class LinkError(FlowrunnerError):
    """The connection failed. ``operator`` says that a person must act, ``auth`` that the token was refused."""

    def __init__(self, reason: str, *, operator: bool = False, auth: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.operator = operator or auth
        self.auth = auth


class NotConnected(FlowrunnerError):
    """Nothing was sent: the command may be given again."""


class Lost(FlowrunnerError):
    """The command was sent and no answer came: nobody knows whether it was carried out."""


class Refused(FlowrunnerError):
    """Home Assistant's answer to a command was an error, with its ``code`` and its words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
