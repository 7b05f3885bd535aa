"""Filling a gap from Home Assistant's history: what changed while nobody was listening."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from itertools import batched
from typing import Any

from flowrunner import Logger
from flowrunner_nodes._ha_feed import Feed
from flowrunner_nodes._ha_link import Refused
from flowrunner_nodes._ha_outbox import Outbox
from flowrunner_nodes._ha_session import Session
from flowrunner_nodes._ha_states import read_history, written

PATIENCE = 15.0
"""Seconds to wait for the recorder, which commits every 5 s, to have what happened just before."""
FIRST_PAUSE = 0.5
ENTITIES = 100
"""Entities to ask for at a time."""
SLICE = 3_600_000_000
"""Microseconds of history to ask for at a time."""
_OVERLAP = 10
"""Microseconds by which two slices overlap: both their ends are exclusive, and floats."""
_COUNTED = 1_000
"""Entities whose gaps are counted one by one; of the others, the connection counts the sum."""
_TOLD = 100
"""Entities that one line of the log names: those with the longest gaps."""


class Filler:
    """Fills the gaps of a feed after a reconnect."""

    def __init__(
        self,
        feed: Feed,
        outbox: Outbox,
        log: Logger,
        seconds: dict[str, float],
        counts: Counter[str],
        *,
        longest: int,
    ) -> None:
        """``seconds`` gets what could not be filled by entity, ``counts`` its sum, for the metrics."""
        self._seconds = seconds
        self._feed = feed
        self._outbox = outbox
        self._log = log
        self._longest = longest
        self._counts = counts
        self._unfilled: dict[str, float] = {}

    async def fill(self, session: Session) -> None:
        """Fill all gaps from the history; hand on what is there when that has no more. Raises :class:`Lost`."""
        gaps = self._feed.gaps
        if not gaps:
            return
        for gap in gaps.values():
            oldest = gap.snapshot.updated - self._longest
            gap.missing = max(0, oldest - gap.since)
            gap.start, gap.since = max(oldest, gap.start), max(oldest, gap.since)
        try:
            start = await self._fill_slices(session)
            await self._look_until_complete(session, start)
        except Refused as error:
            self._log.warning("Home Assistant gives no history to fill the gap from", error=str(error))
            self._give_up(list(gaps))
        self._tell()

    async def _fill_slices(self, session: Session) -> int:
        """Hand on the older part of a long gap, hour by hour; return where the last hour begins."""
        gaps = self._feed.gaps
        start = min(gap.start for gap in gaps.values())
        latest = max(gap.snapshot.updated for gap in gaps.values())
        while latest - start > SLICE:
            end = start + SLICE
            for entities in batched(list(gaps), ENTITIES):
                await self._read(session, entities, start, end)
            await self._hand_on_rows(gaps)
            start = end - _OVERLAP
        return start

    async def _hand_on_rows(self, entities: Iterable[str]) -> None:
        """Hand on what was read, in time order, no faster than the journal takes it."""
        gaps = {entity: self._feed.gaps[entity] for entity in entities}
        rows = [(row, entity) for entity, gap in gaps.items() for row in gap.rows]
        # A snapshot that is found already is due now; when its gap is settled, it is known not to be new.
        rows += [(gap.snapshot, entity) for entity, gap in gaps.items() if gap.complete]
        for row, entity in sorted(rows, key=lambda item: item[0].updated):
            await self._outbox.room()
            self._feed.offer(entity, row, "history")
            gaps[entity].start = gaps[entity].since = row.updated
        for gap in gaps.values():
            gap.rows.clear()

    async def _look_until_complete(self, session: Session, start: int) -> None:
        """Look again and again until the recorder has what Home Assistant had at the reconnect."""
        loop = asyncio.get_running_loop()
        gaps, deadline, pause = self._feed.gaps, loop.time() + PATIENCE, FIRST_PAUSE
        while gaps:
            last_look = loop.time() >= deadline
            for entities in batched(list(gaps), ENTITIES):
                await self._look(session, entities, start)
            if last_look:
                await self._hand_on_rows(gaps)
                self._give_up(list(gaps))
            elif gaps:
                await asyncio.sleep(min(pause, max(0.0, deadline - loop.time())))
                pause *= 2

    async def _look(self, session: Session, entities: tuple[str, ...], start: int) -> None:
        """Read the history of some entities; settle the gaps that it closes, and those that it never will."""
        gaps = self._feed.gaps
        for entity in entities:
            gaps[entity].rows.clear()
        newest = await self._read(session, entities, start, None)
        complete = [entity for entity in entities if gaps[entity].complete]
        # The recorder writes in order: what it has passed over it will not write.
        passed = [
            entity
            for entity in entities
            if not gaps[entity].complete and gaps[entity].snapshot.updated < newest
        ]
        await self._hand_on_rows([*complete, *passed])
        for entity in complete:
            self._note(entity, gaps[entity].missing)
        self._feed.settle(complete)
        self._give_up(passed)

    async def _read(self, session: Session, entities: tuple[str, ...], start: int, end: int | None) -> int:
        """Read rows into the gaps that they belong to; return the time of the newest, whatever it belongs to."""
        until: dict[str, Any] = {} if end is None else {"end_time": written(end)}
        raw = await session.call_raw(
            "history/history_during_period",
            start_time=written(start),
            **until,
            entity_ids=entities,
            include_start_time_state=False,
            significant_changes_only=False,
            minimal_response=False,
            no_attributes=False,
        )
        newest = 0
        for entity, state in read_history(raw):
            newest = max(newest, state.updated)
            gap = self._feed.gaps.get(entity)
            if gap is None:
                continue
            if gap.start < state.updated < gap.snapshot.updated:
                gap.rows.append(state)
            elif state.updated == gap.snapshot.updated:
                gap.complete = True
        return newest

    def _give_up(self, entities: list[str]) -> None:
        """Settle gaps with what there is, and note what is missing between it and the present state."""
        for entity in entities:
            gap = self._feed.gaps[entity]
            self._note(entity, gap.missing + max(0, gap.snapshot.updated - gap.since), anyway=True)
        self._feed.settle(entities)

    def _note(self, entity: str, missing: int, *, anyway: bool = False) -> None:
        if missing or anyway:
            self._unfilled[entity] = missing / 1e6
            if entity in self._seconds or len(self._seconds) < _COUNTED:
                self._seconds[entity] = self._seconds.get(entity, 0.0) + missing / 1e6

    def _tell(self) -> None:
        unfilled, self._unfilled = self._unfilled, {}
        if unfilled:
            self._counts["gap_seconds"] += round(sum(unfilled.values()))
            self._counts["gap_entities"] += len(unfilled)
            worst = sorted(unfilled, key=lambda entity: -unfilled[entity])[:_TOLD]
            self._log.warning(
                "changes may be missing that the history of Home Assistant does not have",
                entities=len(unfilled),
                seconds={entity: round(unfilled[entity], 3) for entity in worst},
            )
