"""The routes for dead letters: list, show, replay, purge."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from flowrunner.admin.process import Process
from flowrunner.errors import FlowrunnerError, JournalFull
from flowrunner.runtime.letters.facts import facts, letter_id, parse_id, parse_since
from flowrunner.runtime.letters.table import Kept, Selection
from flowrunner.runtime.supervisor import Flow

_MOST = 1000
"""Letters that are answered or changed at once."""


Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
"""A name or a time: the pattern also refuses half a surrogate pair, which no database and no answer can hold."""


class Which(BaseModel):
    """The letters that are meant: by id, or by conditions that all hold."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[Text] | None, Field(max_length=_MOST)] = None
    flow: Text | None = None
    node: Text | None = None
    reason: Text | None = None
    since: Text | None = None
    limit: Annotated[int, Field(ge=1, le=_MOST)] = 100


class Named(Which):
    """Letters to replay or purge: something has to be named."""

    every: Annotated[bool, Field(alias="all")] = False


def router(process: Process) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/dead-letters", tags=["dead letters"])

    @routes.get("")
    async def list_letters(which: Annotated[Which, Query()]) -> Response:
        """List dead letters, the newest first, at most ``limit`` of each flow."""
        found = await _find(process, which)
        found.sort(key=lambda one: one[1].letter.created, reverse=True)
        return _answer([facts(flow.graph.name, kept) for flow, kept in found[: which.limit]])

    @routes.get("/{flow}/{number}")
    async def show(flow: str, number: int) -> Response:
        """Return one dead letter."""
        ((found, kept),) = await _find(process, Which(ids=[letter_id(flow, number)]))
        return _answer(facts(found.graph.name, kept))

    @routes.post("/replay", status_code=202)
    async def replay(which: Named) -> dict[str, Any]:
        """Put messages in front of the node that failed them again; says which are refused, and why."""
        return await _replay(await _find(process, _meant(which)))

    @routes.post("/purge")
    async def purge(which: Named) -> dict[str, int]:
        """Delete dead letters for good."""
        return {"purged": await _purge(await _find(process, _meant(which)))}

    return routes


type _Found = list[tuple[Flow, Kept]]


def _meant(which: Named) -> Which:
    if not (which.every or which.ids or which.flow or which.node or which.reason or which.since):
        raise HTTPException(400, 'name `ids`, give conditions, or say `"all": true`')
    return which


async def _find(process: Process, which: Which) -> _Found:
    try:
        since = None if which.since is None else parse_since(which.since, process.clock.now())
        numbers = _numbers(which.ids)
    except FlowrunnerError as error:
        raise HTTPException(400, str(error)) from None
    chosen = Selection(
        node=which.node,
        reason=which.reason,
        since=since,
        newest=True,
        limit=which.limit if not numbers else _MOST,
    )
    found: _Found = []
    for flow in _flows(process, which.flow, numbers):
        of_flow = msgspec.structs.replace(chosen, numbers=numbers.get(flow.graph.name) if numbers else None)
        found += [(flow, kept) for kept in await _read(flow, of_flow)]
    if missing := set(which.ids or ()) - {letter_id(flow.graph.name, kept.number) for flow, kept in found}:
        raise HTTPException(404, f"there is no dead letter {min(missing)}")
    return found


def _numbers(ids: Iterable[str] | None) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = {}
    for flow, number in map(parse_id, ids or ()):
        numbers.setdefault(flow, []).append(number)
    return numbers


def _flows(process: Process, name: str | None, numbers: dict[str, list[int]]) -> list[Flow]:
    flows = process.supervisor.flows
    if name is not None and name not in flows:
        raise HTTPException(404, f"no flow `{name}` is running")
    names = [name] if name is not None else list(flows)
    return [flows[one] for one in names if not numbers or one in numbers]


async def _read(flow: Flow, chosen: Selection) -> list[Kept]:
    try:
        return await flow.storage.store.read_dead_letters(chosen)
    except (OSError, JournalFull) as error:
        raise _unavailable(flow, error) from None


async def _replay(found: _Found) -> dict[str, Any]:
    refused: dict[str, str] = {}
    wanted: dict[Flow, list[int]] = {}
    for flow, kept in found:
        reason = flow.runner.replays.refusal(kept.letter.node)
        if reason is not None:
            refused[letter_id(flow.graph.name, kept.number)] = reason
        else:
            wanted.setdefault(flow, []).append(kept.number)
    for flow, numbers in wanted.items():
        try:
            await flow.storage.store.want_dead_letters(numbers)
        except (OSError, JournalFull) as error:
            raise _unavailable(flow, error) from None
        flow.runner.replays.wake()
    return {"replaying": sum(map(len, wanted.values())), "refused": refused}


async def _purge(found: _Found) -> int:
    keys: dict[Flow, list[tuple[bytes, int]]] = {}
    for flow, kept in found:
        keys.setdefault(flow, []).append((kept.key, kept.letter.clock))
    purged = 0
    for flow, of_flow in keys.items():
        try:
            purged += await flow.storage.store.end_dead_letters("purged", of_flow)
        except (OSError, JournalFull) as error:
            raise _unavailable(flow, error) from None
    return purged


def _unavailable(flow: Flow, error: Exception) -> HTTPException:
    reason = f"the dead letters of flow `{flow.graph.name}` cannot be used now: {error}"
    return HTTPException(503, reason, headers={"Retry-After": "5"})


def _answer(value: Any) -> Response:
    return Response(msgspec.json.encode(value, enc_hook=str), media_type="application/json")
