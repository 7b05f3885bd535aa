"""What Home Assistant's registries say of an entity: its area, floor, device and labels."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import msgspec

from flowrunner_nodes._ha_link import Lost, Refused
from flowrunner_nodes._ha_session import Session

QUIET = 0.25
"""Seconds without a change of a registry before it is read again: a rename changes many entries."""

RETRY = 5.0
"""Seconds before a registry that was not answered for is asked for again."""


class Place(msgspec.Struct, frozen=True):
    """Where an entity belongs, in names for people; the ids are what filters match too."""

    area: str | None = None
    area_id: str | None = None
    floor: str | None = None
    device: str | None = None
    labels: tuple[str, ...] = ()
    label_ids: tuple[str, ...] = ()


NOWHERE = Place()


class _Area(msgspec.Struct):
    area_id: str
    name: str
    floor_id: str | None = None


class _Floor(msgspec.Struct):
    floor_id: str
    name: str


class _Label(msgspec.Struct):
    label_id: str
    name: str


class _Device(msgspec.Struct):
    id: str
    name: str | None = None
    name_by_user: str | None = None
    area_id: str | None = None
    labels: list[str] = []


class _Entity(msgspec.Struct):
    entity_id: str
    area_id: str | None = None
    device_id: str | None = None
    labels: list[str] = []


class Registry:
    """The registries of one Home Assistant, read at each connect and after each change."""

    def __init__(self, counts: Counter[str]) -> None:
        self.version = 0
        """Grows whenever the registries were read: what was computed from them may have changed."""
        self._counts = counts
        self._places: dict[str, Place] = {}
        self._wanted = asyncio.Event()
        self._loaded: Session | None = None
        self._news = asyncio.Event()

    def place(self, entity_id: str) -> Place:
        """Return where an entity belongs, nowhere if it is not registered."""
        return self._places.get(entity_id, NOWHERE)

    async def follow(self, session: Session) -> None:
        """Return once the registries are read on this session. Raises :class:`Lost`."""
        self._wanted.set()
        while self._loaded is not session:
            if session.lost.done():
                raise Lost(session.lost.result().reason)
            self._news.clear()
            loaded = asyncio.ensure_future(self._news.wait())
            try:
                await asyncio.wait((loaded, session.lost), return_when=asyncio.FIRST_COMPLETED)
            finally:
                loaded.cancel()

    async def keep(self, session: Session) -> None:
        """Read the registries once somebody wants them, and again after each change, until cancelled."""
        await self._wanted.wait()
        while not session.lost.done():
            try:
                await self._follow_changes(session)
            except Lost:  # with the connection, or an answer that did not come in time
                self._news.set()
                await asyncio.sleep(RETRY)

    async def _follow_changes(self, session: Session) -> None:
        changed = asyncio.Event()
        for kind in ("entity", "device", "area", "floor", "label"):
            await self._listen(session, kind, changed)
        while True:
            changed.clear()
            await self._load(session)
            await changed.wait()
            while changed.is_set():
                changed.clear()
                await asyncio.sleep(QUIET)

    async def _listen(self, session: Session, kind: str, changed: asyncio.Event) -> None:
        try:
            await session.subscribe(
                lambda _: changed.set(), "subscribe_events", event_type=f"{kind}_registry_updated"
            )
        except Refused:
            self._counts["registries_refused"] += 1

    async def _load(self, session: Session) -> None:
        areas = {area.area_id: area for area in await self._list(session, "area", _Area)}
        floors = {floor.floor_id: floor.name for floor in await self._list(session, "floor", _Floor)}
        labels = {label.label_id: label.name for label in await self._list(session, "label", _Label)}
        devices = {device.id: device for device in await self._list(session, "device", _Device)}
        nobody = _Device("")
        self._places = {
            entity.entity_id: _place(
                entity, devices.get(entity.device_id or "", nobody), areas, floors, labels
            )
            for entity in await self._list(session, "entity", _Entity)
        }
        self.version += 1
        self._loaded = session
        self._news.set()

    async def _list[T](self, session: Session, kind: str, into: type[T]) -> list[T]:
        """Return the entries of a registry; none where this Home Assistant has no such registry."""
        try:
            raw = await session.call_raw(f"config/{kind}_registry/list")
            return msgspec.json.decode(raw, type=list[into])  # type: ignore[valid-type]
        except (Refused, msgspec.MsgspecError):
            self._counts["registries_refused"] += 1
            return []


def _place(
    entity: _Entity,
    device: _Device,
    areas: dict[str, _Area],
    floors: dict[str, str],
    labels: dict[str, str],
) -> Place:
    area_id = entity.area_id or device.area_id
    area = areas.get(area_id or "")
    label_ids = tuple(sorted({*entity.labels, *device.labels}))
    return Place(
        area=None if area is None else area.name,
        area_id=area_id,
        floor=None if area is None else floors.get(area.floor_id or ""),
        device=device.name_by_user or device.name,
        labels=tuple(labels.get(label, label) for label in label_ids),
        label_ids=label_ids,
    )


def facts(place: Place) -> dict[str, Any]:
    """Return what of it is put on ``meta``."""
    named = {"area": place.area, "floor": place.floor, "device": place.device}
    return {
        **{name: value for name, value in named.items() if value is not None},
        **({"labels": list(place.labels)} if place.labels else {}),
    }
