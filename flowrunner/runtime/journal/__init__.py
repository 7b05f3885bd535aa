"""The journal of a flow: everything that comes in is written down here first, in order, with its arrival time."""

from flowrunner.runtime.journal.contract import Journal
from flowrunner.runtime.journal.disk import DiskJournal
from flowrunner.runtime.journal.entry import Damage, Entry
from flowrunner.runtime.journal.memory import MemoryJournal

__all__ = ["Damage", "DiskJournal", "Entry", "Journal", "MemoryJournal"]
