"""What was expected against what came: for each place one alignment, as small as can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from flowrunner.testing.match import matches
from flowrunner.testing.model import Expectation, FlowTest
from flowrunner.testing.play import Played
from flowrunner.testing.stand_in import Seen

_MOST_PAIRS = 250_000
"""Up to so many pairs the best alignment is looked for; beyond, messages are compared by their place."""


class Pair(msgspec.Struct, frozen=True):
    """One row of an alignment: met when both are there and ``met`` says so."""

    index: int | None
    """The number of the expectation in the test; ``None`` for a message that was not expected."""
    seen: Seen | None
    """``None`` for a message that did not come."""
    met: bool = False


class Difference(msgspec.Struct, frozen=True):
    """What is wrong at one place."""

    place: str
    index: int
    """The number of the expectation to point at."""
    pairs: list[Pair] = []
    """Of messages, in order; empty when it is about how many there were."""
    count: int = 0
    """How many there were."""


def compare(test: FlowTest, played: Played) -> list[Difference]:
    """Return what is not as expected, by place in the order of the file."""
    differences: list[Difference] = []
    for place, seen in played.seen.items():
        of_place = [(index, each) for index, each in enumerate(test.expect) if each.node == place]
        for index, each in of_place:
            wanted = 0 if each.none else each.count
            if wanted is not None and wanted != len(seen):
                differences.append(Difference(place, index, [], len(seen)))
        messages = [(index, each) for index, each in of_place if each.is_message]
        if not messages:
            continue
        pairs = _align(messages, seen, test.start)
        if any(each.count is not None for _, each in of_place):
            pairs = [pair for pair in pairs if pair.index is not None]
        wrong = next((pair for pair in pairs if not pair.met), None)
        if wrong is not None:
            last = messages[-1][0]
            index = next((p.index for p in pairs[pairs.index(wrong) :] if p.index is not None), last)
            differences.append(Difference(place, index, pairs, len(seen)))
    return sorted(differences, key=lambda difference: difference.index)


def _align(expected: Sequence[tuple[int, Expectation]], seen: Sequence[Seen], start: int) -> list[Pair]:
    def met(one: int, other: int) -> bool:
        return matches(expected[one][1], seen[other], start)

    head, tail = _ends(len(expected), len(seen), met)
    ones, others = range(head, len(expected) - tail), range(head, len(seen) - tail)
    common = _common(ones, others, met) if len(ones) * len(others) <= _MOST_PAIRS else []
    both = [(at, at) for at in range(head)] + common
    both += [(len(expected) - left, len(seen) - left) for left in range(tail, 0, -1)]
    pairs: list[Pair] = []
    one = other = 0
    for next_one, next_other in [*both, (len(expected), len(seen))]:
        pairs += _unmet([index for index, _ in expected[one:next_one]], seen[other:next_other])
        if next_one < len(expected):
            pairs.append(Pair(expected[next_one][0], seen[next_other], met=True))
        one, other = next_one + 1, next_other + 1
    return pairs


def _unmet(indexes: Sequence[int], seen: Sequence[Seen]) -> list[Pair]:
    """Put what did not come beside what came in its stead."""
    length = max(len(indexes), len(seen))
    return [
        Pair(indexes[at] if at < len(indexes) else None, seen[at] if at < len(seen) else None)
        for at in range(length)
    ]


def _ends(ones: int, others: int, met: Callable[[int, int], bool]) -> tuple[int, int]:
    """Return how many fit at the beginning and at the end."""
    shorter = min(ones, others)
    head = next((at for at in range(shorter) if not met(at, at)), shorter)
    left = range(1, shorter - head + 1)
    tail = next((back - 1 for back in left if not met(ones - back, others - back)), shorter - head)
    return head, tail


def _common(ones: range, others: range, met: Callable[[int, int], bool]) -> list[tuple[int, int]]:
    """Return the longest sequence of pairs that fit, in order."""
    fits = [[met(one, other) for other in others] for one in ones]
    best = [[0] * (len(others) + 1) for _ in range(len(ones) + 1)]
    for row in range(len(ones) - 1, -1, -1):
        for column in range(len(others) - 1, -1, -1):
            skipped = max(best[row + 1][column], best[row][column + 1])
            best[row][column] = max(skipped, best[row + 1][column + 1] + 1) if fits[row][column] else skipped
    pairs: list[tuple[int, int]] = []
    row = column = 0
    while row < len(ones) and column < len(others):
        if fits[row][column] and best[row][column] == best[row + 1][column + 1] + 1:
            pairs.append((ones[row], others[column]))
            row, column = row + 1, column + 1
        elif best[row + 1][column] >= best[row][column + 1]:
            row += 1
        else:
            column += 1
    return pairs
