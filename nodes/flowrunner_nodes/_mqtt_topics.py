"""MQTT topic filters: whether one is well formed, which ones a topic matches, which ones could have matched it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

_LONGEST = 65535


def filter_fault(text: str) -> tuple[str, int, int] | None:
    """Return what is wrong with a topic filter and where (offset, length), ``None`` for a good one."""
    if text.startswith("$share/"):
        return _share_fault(text)
    return _levels_fault(text, 0)


def _share_fault(text: str) -> tuple[str, int, int] | None:
    _, group, *rest = text.split("/", 2)
    if not group or "+" in group or "#" in group:
        return (
            "a shared subscription is `$share/GROUP/FILTER` with a group without wildcards",
            7,
            len(group) or 1,
        )
    if not rest or not rest[0]:
        return "a shared subscription is `$share/GROUP/FILTER`, and the filter is missing", 0, len(text)
    return _levels_fault(rest[0], len(text) - len(rest[0]))


def _levels_fault(text: str, offset: int) -> tuple[str, int, int] | None:
    if not text:
        return "it is empty", 0, 1
    if len(text.encode("utf-8", "surrogatepass")) > _LONGEST:
        return f"it is longer than {_LONGEST} bytes", 0, len(text)
    levels = text.split("/")
    for number, level in enumerate(levels):
        if "\0" in level:
            return "it holds a NUL character", offset, len(level)
        if "#" in level and (level != "#" or number != len(levels) - 1):
            return "`#` stands for all further levels: it must be the last level, alone", offset, len(level)
        if "+" in level and level != "+":
            return "`+` stands for one whole level: it must be alone between two `/`", offset, len(level)
        offset += len(level) + 1
    return None


def is_shared(filter: str) -> bool:
    """Whether the broker divides the filter's messages among several clients."""
    return filter.startswith("$share/")


def topic_part(filter: str) -> str:
    """Return the filter that topics are compared with: without ``$share/GROUP/``."""
    return filter.split("/", 2)[2] if is_shared(filter) else filter


class _Node:
    __slots__ = ("children", "filters")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.filters: list[str] = []


class TopicTrie:
    """A set of topic filters that is asked which of them match a topic."""

    def __init__(self, filters: Iterator[str] | list[str]) -> None:
        self._root = _Node()
        for filter in filters:
            node = self._root
            for level in topic_part(filter).split("/"):
                node = node.children.setdefault(level, _Node())
            node.filters.append(filter)

    def match(self, topic: str) -> set[str]:
        """Return the filters that match ``topic``, by the rules of MQTT 5 §4.7."""
        found: set[str] = set()
        nodes = [self._root]
        levels = topic.split("/")
        for number, level in enumerate(levels):
            # Wildcards at the first level do not match the broker's own topics ($SYS/…).
            wild = not (number == 0 and level.startswith("$"))
            following: list[_Node] = []
            for node in nodes:
                if wild and "#" in node.children:
                    found.update(node.children["#"].filters)
                following += [node.children[name] for name in _steps(level, wild) if name in node.children]
            nodes = following
        for node in nodes:
            found.update(node.filters)
            if "#" in node.children:  # `a/#` also matches `a`
                found.update(node.children["#"].filters)
        return found


def _steps(level: str, wild: bool) -> tuple[str, ...]:
    return (level, "+") if wild and level != "+" else (level,)


def filters_matching(topic: str, limit: int = 512) -> list[str]:
    """Return the filters that match ``topic``: all of them, or the ``limit`` with the fewest wildcards."""
    found = _forms(topic.split("/"))
    if topic.startswith("$"):
        found = (filter for filter in found if not filter.startswith(("+", "#")))
    return list(itertools.islice(found, limit))


def _forms(levels: list[str]) -> Iterator[str]:
    for wildcards in range(len(levels) + 1):
        for stop in range(len(levels), wildcards - 1, -1):
            for places in itertools.combinations(range(stop), wildcards):
                head = ["+" if place in places else levels[place] for place in range(stop)]
                yield "/".join([*head, "#"])
                if stop == len(levels):
                    yield "/".join(head)
