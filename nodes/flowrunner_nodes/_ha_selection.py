"""Which entities a node wants: said to Home Assistant as far as it understands, and looked at again here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate
from typing import Any

import msgspec

from flowrunner_nodes._ha_registry import Place

_PATTERN = re.compile(r"[*?\[]")


class Wish(msgspec.Struct, frozen=True):
    """What an entity must be; an empty part asks for nothing. All parts must hold, each for one of its values."""

    entities: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    device_classes: frozenset[str] = frozenset()
    areas: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()


class Selection:
    """Decides whether an entity is wanted."""

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self._included = _any_of(wish.entities)
        self._excluded = _any_of(wish.exclude)
        self._by_id_alone = not (wish.device_classes or wish.areas or wish.labels)
        self._known: dict[str, bool] = {}

    def takes(self, entity_id: str, attributes: dict[str, Any], place: Place) -> bool:
        """Whether an entity is wanted as it is now: attributes and registries may change."""
        known = self._known.get(entity_id)
        if known is None:
            known = self._known[entity_id] = self._takes_id(entity_id)
        if not known or self._by_id_alone:
            return known
        wish = self._wish
        if wish.device_classes and attributes.get("device_class") not in wish.device_classes:
            return False
        if wish.areas and not wish.areas & {place.area, place.area_id}:
            return False
        return not wish.labels or not wish.labels.isdisjoint((*place.labels, *place.label_ids))

    def _takes_id(self, entity_id: str) -> bool:
        wish = self._wish
        if wish.entities and not self._included(entity_id):
            return False
        if wish.domains and entity_id.partition(".")[0] not in wish.domains:
            return False
        return not (wish.exclude and self._excluded(entity_id))

    def server_filter(self) -> dict[str, Any]:
        """Return the part of the wish that ``subscribe_entities`` can be given.

        Home Assistant takes an entity for any part of its filter that holds, so only one part is given.
        """
        wish = self._wish
        if wish.entities:
            return {"include": _as_filter(wish.entities)}
        if wish.domains:
            return {"include": {"domains": list(wish.domains)}}
        return {"exclude": _as_filter(wish.exclude)} if wish.exclude else {}


def _any_of(patterns: Sequence[str]) -> Any:
    return re.compile("|".join(translate(pattern) for pattern in patterns)).match


def _as_filter(patterns: Sequence[str]) -> dict[str, list[str]]:
    globs = [pattern for pattern in patterns if _PATTERN.search(pattern)]
    exact = [pattern for pattern in patterns if not _PATTERN.search(pattern)]
    return {name: found for name, found in (("entities", exact), ("entity_globs", globs)) if found}
