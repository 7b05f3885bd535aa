"""Which entities Home Assistant writes, and what is different for some: the rules of its filters."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from flowrunner_nodes._ha_layout_options import ComponentOptions, EntitySelection, HomeAssistantOptions

type _Matcher = Callable[[str], bool]


class Entity(NamedTuple):
    """What the options settle for one entity id."""

    written: bool
    override_measurement: str | None
    no_fields: frozenset[str]
    """The attributes that become no field."""


class Entities:
    """Looks up entity ids; each is settled once, for a bounded number of them."""

    _REMEMBERED = 16_384

    def __init__(self, options: HomeAssistantOptions) -> None:
        self._is_written = entity_filter(options.include, options.exclude)
        self._ignored = frozenset(options.ignore_attributes).union(options.tags_attributes)
        self._exact = {name.lower(): found for name, found in options.component_config.items()}
        self._domains = options.component_config_domain
        self._globs = [(_globs([glob]), found) for glob, found in options.component_config_glob.items()]
        self._known: dict[str, Entity] = {}

    def get(self, entity_id: str) -> Entity:
        """Return what holds for an entity."""
        found = self._known.get(entity_id)
        if found is None:
            if len(self._known) >= self._REMEMBERED:
                del self._known[next(iter(self._known))]
            found = self._known[entity_id] = self._settle(entity_id)
        return found

    def _settle(self, entity_id: str) -> Entity:
        measurement: str | None = None
        ignored: Iterable[str] = ()
        for options in self._matching(entity_id):
            if options.override_measurement is not None:
                measurement = options.override_measurement
            if options.ignore_attributes is not None:
                ignored = options.ignore_attributes
        return Entity(self._is_written(entity_id), measurement or None, self._ignored.union(ignored))

    def _matching(self, entity_id: str) -> Iterable[ComponentOptions]:
        """Yield from the weakest to the strongest."""
        if (domain := _domain(entity_id)) in self._domains:
            yield self._domains[domain]
        yield from (options for matches, options in self._globs if matches(entity_id))
        if entity_id in self._exact:
            yield self._exact[entity_id]


def entity_filter(include: EntitySelection, exclude: EntitySelection) -> _Matcher:
    """Return whether an entity id is written, as Home Assistant 2026.11 decides it."""
    listed, unlisted = _lower(include.entities), _lower(exclude.entities)
    included, excluded = frozenset(include.domains), frozenset(exclude.domains)
    wanted, unwanted = _globs(include.entity_globs), _globs(exclude.entity_globs)
    if not _is_empty(include) and _is_empty(exclude):
        return lambda name: name in listed or _domain(name) in included or wanted(name)
    if _is_empty(include):
        return lambda name: not (name in unlisted or _domain(name) in excluded or unwanted(name))
    if include.domains or include.entity_globs:
        return lambda name: (
            name in listed
            or (name not in unlisted and (wanted(name) or (_domain(name) in included and not unwanted(name))))
        )
    if exclude.domains or exclude.entity_globs:
        return lambda name: (
            name in listed or not (name in unlisted or _domain(name) in excluded or unwanted(name))
        )
    return listed.__contains__


def _is_empty(selection: EntitySelection) -> bool:
    return not (selection.domains or selection.entity_globs or selection.entities)


def _domain(entity_id: str) -> str:
    return entity_id.partition(".")[0]


def _lower(entity_ids: Iterable[str]) -> frozenset[str]:
    """Home Assistant lets users write entity ids in any case; the ids themselves are lower-case."""
    return frozenset(entity_id.lower() for entity_id in entity_ids)


def _globs(globs: Iterable[str]) -> _Matcher:
    patterns = [re.compile(fnmatch.translate(glob)) for glob in globs]
    return lambda entity_id: any(pattern.match(entity_id) for pattern in patterns)
