"""Following events and triggers: what comes is handed on as it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from flowrunner import Record, SourceContext
from flowrunner_nodes._ha_link import Lost
from flowrunner_nodes._ha_outbox import Outbox
from flowrunner_nodes._ha_session import Session
from flowrunner_nodes._ha_states import micros_of
from flowrunner_nodes._ha_subscription import Subscription

if TYPE_CHECKING:
    from flowrunner_nodes.ha_in import Config


class _Event(msgspec.Struct):
    event_type: str
    time_fired: str


class _Fired(msgspec.Struct):
    variables: msgspec.Raw


class Events:
    """Follows the events of a type, or a trigger."""

    def __init__(self, config: Config, context: SourceContext) -> None:
        self._config = config
        self._context = context
        self.outbox = Outbox(context, None, lambda: 0.0)

    async def serve(self, session: Session) -> None:
        """Receive until the session is lost. Raises :class:`Lost`, :class:`Refused`."""
        async with Subscription(session, await self._subscribe(session)):
            self._context.report("running")
            await asyncio.wait([session.lost])
        raise Lost(session.lost.result().reason)

    async def _subscribe(self, session: Session) -> int:
        config = self._config
        if config.trigger is not None:
            return await session.subscribe(self._on_fired, "subscribe_trigger", trigger=config.trigger)
        fields = {} if config.event == "*" else {"event_type": config.event}
        return await session.subscribe(self._on_event, "subscribe_events", **fields)

    def _on_event(self, raw: msgspec.Raw) -> None:
        event = msgspec.json.decode(raw, type=_Event)
        meta = {"event_type": event.event_type, "origin": "live"}
        time = micros_of(event.time_fired) * 1000
        self.outbox.put(Record(bytes(raw), event.event_type, time, meta))

    def _on_fired(self, raw: msgspec.Raw) -> None:
        fired = msgspec.json.decode(raw, type=_Fired)
        self.outbox.put(Record(bytes(fired.variables), self._context.node, None, {"origin": "live"}))
