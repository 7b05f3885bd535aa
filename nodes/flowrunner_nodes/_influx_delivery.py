"""One batch of lines on its way into an InfluxDB: split, sent in order, and narrowed down to the lines at fault."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from flowrunner import Message, RetryLater
from flowrunner_nodes._http_answer import Unreachable
from flowrunner_nodes._influx_answer import Answer

type _Range = tuple[int, int]
"""Lines by index, from the first to before the second."""


class Delivery:
    """Lines that end one after the other: accepted by the server, or given to ``fail``.

    A request that the server refuses because of some lines is cut into pieces, at the lines that the server names
    or else in halves, and the pieces are sent in their order. Sending a line twice is harmless: it is the same
    point. ``k`` bad lines among ``n`` cost at most about ``2·k·log2(n)`` requests more.
    """

    def __init__(
        self,
        messages: Sequence[Message],
        lines: Sequence[bytes],
        fail: Callable[[Message, str], None],
    ) -> None:
        self._messages = messages
        self._lines = lines
        self._fail = fail
        self._ended = 0
        self._suspects: set[int] = set()
        self._trust = True

    async def send(self, post: Callable[[bytes], Awaitable[Answer]], max_bytes: int) -> None:
        """Return when every line has ended; raises :class:`RetryLater` with the messages that have not."""
        ranges = list(reversed(split_by_size(self._lines, max_bytes)))
        while ranges:
            start, end = ranges.pop()
            try:
                answer = await post(b"\n".join(self._lines[start:end]))
            except Unreachable as error:
                raise RetryLater(str(error), remaining=self._messages[self._ended :]) from None
            ranges += reversed(self._settle(start, end, answer))

    def _settle(self, start: int, end: int, answer: Answer) -> list[_Range]:
        """End the lines of a request as the answer says; return those to send anew, in smaller pieces."""
        if answer.accepted:
            if end - start == 1 and start in self._suspects:
                self._trust = False  # it was no culprit: from here on only halving tells
        elif answer.too_large and end - start > 1:
            return _halves(start, end)
        elif answer.blames_lines and end - start > 1 and not answer.dropped_all_of(end - start):
            return self._pieces(start, end, answer)
        elif answer.blames_lines or answer.too_large:
            for message in self._messages[start:end]:
                self._fail(message, answer.message)
        else:
            raise self._refusal(answer)
        self._ended = end
        return []

    def _pieces(self, start: int, end: int, answer: Answer) -> list[_Range]:
        suspects = answer.suspects(self._lines[start:end]) if self._trust else []
        if not suspects:
            return _halves(start, end)
        pieces, after = list[_Range](), start
        for index in suspects:
            suspect = start + index
            self._suspects.add(suspect)
            pieces += [(after, suspect), (suspect, suspect + 1)]
            after = suspect + 1
        return [(first, last) for first, last in (*pieces, (after, end)) if first < last]

    def _refusal(self, answer: Answer) -> RetryLater:
        remaining = self._messages[self._ended :]
        if answer.transient:
            return RetryLater(answer.message, after=answer.retry_after, remaining=remaining)
        return RetryLater(f"{answer.message}; {answer.advice}", remaining=remaining, operator=True)


def split_by_size(lines: Sequence[bytes], max_bytes: int) -> list[_Range]:
    """Return ranges of lines that, joined, have at most ``max_bytes``; a longer line has a range of its own."""
    ranges, start, size = [], 0, 0
    for index, line in enumerate(lines):
        size += len(line) + 1
        if size - 1 > max_bytes and index > start:
            ranges.append((start, index))
            start, size = index, len(line) + 1
    return [*ranges, (start, len(lines))] if lines else []


def _halves(start: int, end: int) -> list[_Range]:
    middle = (start + end) // 2
    return [(start, middle), (middle, end)]
