"""A subscription that ends with the block that it is used in."""

from __future__ import annotations

import asyncio
import contextlib

from flowrunner_nodes._ha_link import Lost, Refused
from flowrunner_nodes._ha_session import Session

_UNSUBSCRIBE_TIMEOUT = 2.0


class Subscription:
    """Ends a subscription when its node leaves and the session stays."""

    def __init__(self, session: Session, number: int) -> None:
        self._session = session
        self._number = number

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        if not self._session.lost.done():
            with contextlib.suppress(Lost, Refused, TimeoutError):
                async with asyncio.timeout(_UNSUBSCRIBE_TIMEOUT):
                    await self._session.unsubscribe(self._number)
