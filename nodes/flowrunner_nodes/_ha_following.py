"""Following states: subscribe, take up what comes, fill what is missing, until the session is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from flowrunner import SourceContext
from flowrunner_nodes._ha_feed import Feed
from flowrunner_nodes._ha_gap import Filler
from flowrunner_nodes._ha_link import Lost, Refused
from flowrunner_nodes._ha_outbox import Outbox
from flowrunner_nodes._ha_registry import Registry
from flowrunner_nodes._ha_seen import Cursor
from flowrunner_nodes._ha_selection import Selection, Wish
from flowrunner_nodes._ha_session import Session
from flowrunner_nodes._ha_states import Change, Mirror, read_event, read_states
from flowrunner_nodes._ha_subscription import Subscription

if TYPE_CHECKING:
    from flowrunner_nodes.ha_in import Config

CONTACT_PERIOD = 60.0
"""Seconds between two notes in the cursor that nothing was missed, when nothing else is journaled."""
_CURSOR_COST = 20e-6
"""Seconds between two commits for each entity in the cursor: it is written with each, some 50 bytes an entity."""


class States:
    """Follows the states that a node wants."""

    def __init__(
        self,
        config: Config,
        context: SourceContext,
        registry: Registry,
        counts: Counter[str],
    ) -> None:
        self._context = context
        self._registry = registry
        self._fills = config.history > 0
        self._cursor = Cursor(context.cursor)
        self._selection = Selection(_wish_of(config))
        self.outbox = Outbox(context, self._cursor, lambda: len(self._cursor) * _CURSOR_COST)
        self._feed = Feed(
            self._selection,
            registry,
            self.outbox,
            self._cursor,
            context.counters,
            keep_no_value=config.unavailable == "keep",
            keep_noise=config.restart_noise == "keep",
        )
        self._filler = Filler(
            self._feed, self.outbox, context.log, context.gaps, counts, longest=config.history // 1000
        )

    async def serve(self, session: Session) -> None:
        """Receive until the session is lost. Raises :class:`Lost`, :class:`Refused`."""
        await self._registry.follow(session)
        self._feed.starting = not session.ready.is_set()
        inbox = _Inbox(self._feed)
        async with Subscription(session, await self._subscribe(session, inbox)):
            inbox.open(await self._snapshot(session, inbox), fill=self._fills)
            self._context.report("running")
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(self._fill(session)),
                        group.create_task(self._keep_contact(session)),
                        group.create_task(self._watch_start(session)),
                    ]
                    await asyncio.wait([session.lost])
                    for task in tasks:
                        task.cancel()
            finally:
                self._note_contact(session)
        raise Lost(session.lost.result().reason)

    async def _subscribe(self, session: Session, inbox: _Inbox) -> int:
        """Subscribe in the leanest way that this version of Home Assistant knows."""
        fields = self._selection.server_filter()
        for way in [fields, {}] if fields else [{}]:
            try:
                number = await session.subscribe(inbox.on_entities, "subscribe_entities", **way)
            except Refused as error:
                if error.code not in ("invalid_format", "unknown_command"):
                    raise
            else:
                inbox.compressed = True
                return number
        return await session.subscribe(inbox.on_event, "subscribe_events", event_type="state_changed")

    async def _snapshot(self, session: Session, inbox: _Inbox) -> list[Change]:
        """Return the present states: the first event of ``subscribe_entities`` has them all."""
        if inbox.compressed:
            await _either(inbox.first, session.lost)
            if not inbox.first.done():
                raise Lost(session.lost.result().reason)
            return inbox.first.result()
        return read_states(await session.call_raw("get_states"))

    async def _fill(self, session: Session) -> None:
        while self._feed.gaps:
            try:
                await self._filler.fill(session)
            except Lost as error:
                if session.lost.done():
                    return
                self._context.log.warning("the history did not answer; it is asked again", error=str(error))

    async def _keep_contact(self, session: Session) -> None:
        while True:
            await asyncio.sleep(CONTACT_PERIOD)
            self._note_contact(session)

    def _note_contact(self, session: Session) -> None:
        """Have the cursor say that up to now nothing was missed; not while there are gaps."""
        now = session.server_time()
        if now is not None and not self._feed.gaps:
            self.outbox.put(None, now)

    async def _watch_start(self, session: Session) -> None:
        await session.ready.wait()
        self._feed.starting = False


class _Inbox:
    """Keeps what comes before the present states are there, and passes on what comes after."""

    def __init__(self, feed: Feed) -> None:
        self.compressed = False
        self.first: asyncio.Future[list[Change]] = asyncio.get_running_loop().create_future()
        self._feed = feed
        self._mirror = Mirror()
        self._early: list[Change] | None = []

    def on_entities(self, raw: msgspec.Raw) -> None:
        changes = self._mirror.apply(raw)
        if self.first.done():
            self._take(changes)
        else:
            self.first.set_result(changes)

    def on_event(self, raw: msgspec.Raw) -> None:
        self._take(read_event(raw))

    def open(self, snapshot: list[Change], *, fill: bool) -> None:
        """Begin with the present states and what came while they were asked for."""
        early, self._early = self._early or [], None
        states = dict(snapshot)
        if not self.compressed:
            # They are younger than the first events: begin with those, so that none is left out.
            states.update(reversed(early))
        self._feed.resync(states.items(), fill=fill)
        self._feed.take(early)

    def _take(self, changes: list[Change]) -> None:
        if self._early is None:
            self._feed.take(changes)
        else:
            self._early += changes


async def _either(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


def _wish_of(config: Config) -> Wish:
    return Wish(
        entities=tuple(config.entities),
        exclude=tuple(config.exclude),
        domains=tuple(config.domains),
        device_classes=frozenset(config.device_classes),
        areas=frozenset(config.areas),
        labels=frozenset(config.labels),
    )
