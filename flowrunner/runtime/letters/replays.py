"""Dead letters that are tried again: journaled like any other input, and put in front of the node that failed them.

The letters that were journaled are the cursor of this input: they are committed together, and what the cursor names
is taken out of the store afterwards, at the next start if need be. So a crash neither loses a letter nor repeats it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from flowrunner.context import Logger
from flowrunner.counters import Counters
from flowrunner.errors import JournalFull, MessageError
from flowrunner.message import Message, Record
from flowrunner.runtime.assemble import Assembly
from flowrunner.runtime.checkpoints.store import Store
from flowrunner.runtime.journal import Entry
from flowrunner.runtime.letters.letter import DeadLetter, Undecoded, encode, replayed, unpack
from flowrunner.runtime.letters.table import Selection, Tally
from flowrunner.runtime.pump import Pump
from flowrunner.runtime.sources import DISK_PAUSE

LOOK = 1.0
"""Seconds between two looks for letters that a command of another process wants replayed."""
_BATCH = 64


class Replays:
    """Replays the dead letters of one flow."""

    def __init__(
        self,
        assembly: Assembly,
        pump: Pump,
        store: Store,
        retired: Counters,
        log: Logger,
        on_dead_letter: Callable[[DeadLetter], None],
    ) -> None:
        self.idle = False
        """Whether all that was to be replayed is in the journal."""
        self._context = assembly.replays
        self._assembly = assembly
        self._pump = pump
        self._store = store
        self._retired = retired
        self._log = log
        self._on_dead_letter = on_dead_letter
        self._ended: object = None
        self._wanted = asyncio.Event()
        store.on_letters = self._tell_what_gave_way

    def rewire(self, assembly: Assembly) -> None:
        """Go on with another version of the flow."""
        self._assembly, self._context = assembly, assembly.replays

    def wake(self) -> None:
        """Look now: letters are to be replayed."""
        self.idle = False
        self._wanted.set()

    def refusal(self, node: str) -> str | None:
        """Return why letters of a node cannot be replayed; ``None`` when they can."""
        graph = self._assembly.graph
        return None if node in graph.nodes else f"there is no node `{node}` in flow `{graph.name}` any more"

    async def run(self) -> None:
        """Replay what is to be replayed until cancelled."""
        while True:
            self._wanted.clear()
            try:
                await self._end_journaled()
                self.idle = not await self._replay_some()
            except (OSError, JournalFull) as error:
                self._log.error("dead letters cannot be replayed", flow=self._context.flow, error=str(error))
                await asyncio.sleep(DISK_PAUSE)
                continue
            if self.idle:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK if self._store.shared else None):
                        await self._wanted.wait()

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Put journaled letters in front of their nodes: called by the pump, in the order of the journal."""
        self._pump.count(self._context, entries)
        for entry in entries:
            letter = replayed(unpack(entry.data), entry.seq, entry.clock)
            if (reason := self.refusal(letter.node)) is not None:
                self._give_up(letter, reason)
            elif letter.node in self._assembly.sources:
                self._decode(letter)
            else:
                self._assembly.entrances[letter.node].lists.append([_message(letter, letter.payload)])

    async def _replay_some(self) -> bool:
        """Journal some of the letters that are to be replayed; return whether there were any."""
        kept = await self._store.read_dead_letters(Selection(wanted=True, limit=_BATCH))
        refused = [(one.number, why) for one in kept if (why := self.refusal(one.letter.node)) is not None]
        if refused:
            await self._store.refuse_dead_letters(refused)
        ready = [one for one in kept if self.refusal(one.letter.node) is None]
        if ready:
            records = [Record(encode(one.letter), one.letter.topic, one.letter.time) for one in ready]
            await self._context.emit_records(records, [[one.key, one.letter.clock] for one in ready])
            await self._end_journaled()
            self._log.info("dead letters replayed", flow=self._context.flow, letters=len(ready))
        return bool(kept)

    async def _end_journaled(self) -> None:
        """Take the letters that are in the journal out of the store."""
        journaled = self._context.cursor
        if journaled is not None and journaled != self._ended:
            await self._store.end_dead_letters("replayed", [(key, clock) for key, clock in journaled])
            self._ended = journaled

    def _decode(self, letter: DeadLetter) -> None:
        """Read a record once more that its source could not read."""
        source = self._assembly.sources[letter.node]
        data = str(letter.payload).encode() if letter.data is None else letter.data
        out: list[Message] = []
        try:
            out.append(_message(letter, source.node.decode(data)))
        except MessageError as error:
            failed = Undecoded(
                letter.topic, letter.payload, letter.time, letter.meta, letter.clock, letter.position, data
            )
            source.context.fail(failed, str(error))
        self._assembly.outlets[letter.node].settle(out)

    def _give_up(self, letter: DeadLetter, reason: str) -> None:
        """Keep a letter that came into the journal and cannot go any further: as the letter of a node that is gone."""
        self._retired.dead_lettered += 1
        self._on_dead_letter(letter.because(f"{reason}; before: {letter.reason}"))

    def _tell_what_gave_way(self, before: Tally) -> None:
        known = before.dropped()
        for (node, reason), count in self._store.letters.dropped().items():
            if more := count - known.get((node, reason), 0):
                flow = self._context.flow
                self._log.warning(
                    "dead letters gave way to newer ones", flow=flow, node=node, reason=reason, letters=more
                )


def _message(letter: DeadLetter, payload: object) -> Message:
    return Message(letter.topic, payload, letter.time, letter.meta, letter.clock, letter.position)
