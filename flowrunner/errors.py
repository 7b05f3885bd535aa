"""What a node raises, and what the engine then does with the message or the node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowrunner.message import Message


class FlowrunnerError(Exception):
    """Base of every error that flowrunner raises on purpose."""


class MessageError(FlowrunnerError):
    """One message cannot be processed: it goes to the node's ``errors`` port or is dead-lettered.

    The text is shown to people as the reason; it must not contain a secret.
    """


class RetryLater(FlowrunnerError):
    """The world does not accept a batch now: the engine keeps it and calls ``write`` again, for ever.

    ``after`` is a number of seconds that the server asked for (``Retry-After``), ``remaining`` the
    messages not yet accepted (default: the whole batch), ``operator`` says that a person must act
    (a wrong token, a missing bucket): the engine then retries slowly and reports the node as failed.
    """

    def __init__(
        self,
        reason: str,
        *,
        after: float | None = None,
        remaining: Sequence[Message] | None = None,
        operator: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after
        self.remaining = remaining
        self.operator = operator


class NodeFailed(FlowrunnerError):
    """A source or connection cannot go on until a person acts; the reason is shown in ``/readyz``."""


class JournalFull(FlowrunnerError):
    """The journal has reached its byte cap and takes nothing until it is drained."""
