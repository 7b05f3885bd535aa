"""Finding the message for which a broker ends each connection."""

from __future__ import annotations

from collections.abc import Callable

from flowrunner import Message
from flowrunner_nodes._mqtt_publication import Answer
from flowrunner_nodes._mqtt_settings import LinkError

MOST_LOSSES = 5
"""Connections that one and the same message may cost."""
_BLAMELESS = {137, 139, 141, 142, 151, 152, 156, 157, 160}
"""Codes of DISCONNECT that are about no message: busy, shutting down, keep-alive, taken over, quota, moved …"""


class Suspicion:
    """Counts the connections that ended with the same message as the first one unanswered.

    While it is ``active``, one message goes at a time, so that the first is the only one.
    """

    def __init__(self) -> None:
        self._message: Message | None = None
        self._losses = 0

    @property
    def active(self) -> bool:
        """Whether a message is suspected."""
        return self._message is not None

    def clear(self) -> None:
        """Suspect nothing more."""
        self._message, self._losses = None, 0

    def judge(
        self,
        left: list[tuple[Message, Answer | None]],
        error: LinkError,
        fail: Callable[[Message, str], None],
    ) -> None:
        """Fail the first message that was lost with the connection if it was so time and again."""
        first = next((index for index, (_, answer) in enumerate(left) if answer is None), None)
        if first is None or not error.by_broker or error.code in _BLAMELESS:
            return
        message, _ = left[first]
        self._losses = self._losses + 1 if message is self._message else 1
        self._message = message
        if self._losses >= MOST_LOSSES:
            self.clear()
            del left[first]
            fail(message, f"the broker ended {MOST_LOSSES} connections over this message: {error}")
