"""A bound on streams that are open at once."""

from __future__ import annotations

from weakref import WeakSet


class Seat:
    """What a stream holds from its creation: gone with a stream that nobody has begun to read."""


class Seats:
    """The seats of one kind of stream."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken: WeakSet[Seat] = WeakSet()

    def full(self) -> bool:
        """Return whether there is no room for another one."""
        return len(self._taken) >= self._count

    def take(self) -> Seat:
        """Return a seat, taken until it is given back or nobody holds it any more."""
        seat = Seat()
        self._taken.add(seat)
        return seat

    def give_back(self, seat: Seat) -> None:
        """Make room for another one."""
        self._taken.discard(seat)
