"""A scriptable Home Assistant: the WebSocket API as ``ha_in`` uses it, with the faults that a test asks for."""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
import ssl
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import formatdate
from fnmatch import fnmatchcase
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

TOKEN = "a-good-token"  # no real one
START = 1_772_359_200.0
"""2026-03-01T10:00:00Z."""


def iso(seconds: float) -> str:
    """Return a time as Home Assistant writes it."""
    return datetime.fromtimestamp(round(seconds * 1e6) / 1e6, UTC).isoformat()


class Refusal(Exception):
    """What a command is answered with: code and message."""


class Client:
    """One connection, with the queue of messages that it has not taken yet."""

    def __init__(self, socket: ServerConnection, *, most_pending: int) -> None:
        self.socket = socket
        self.pending: list[dict[str, Any]] = []
        self.entities: dict[int, dict[str, Any]] = {}
        self.events: dict[int, str | None] = {}
        self.triggers: list[int] = []
        self.coalesces = False
        self.last_id = 0
        self.frames = Counter[str]()
        self._most_pending = most_pending
        self._news = asyncio.Event()

    def send(self, message: dict[str, Any]) -> None:
        """Queue a message; end the connection of a client that leaves too many unread, as Home Assistant does."""
        self.pending.append(message)
        self._news.set()
        if len(self.pending) > self._most_pending:
            self.socket.transport.abort()

    async def write(self) -> None:
        """Send what is queued, several in one frame where the client has asked for that."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self.pending:
                taken, self.pending = self.pending, []
                if self.coalesces and len(taken) > 1:
                    self.frames["list"] += 1
                    await self.socket.send(json.dumps(taken))
                    continue
                for message in taken:
                    self.frames["dict"] += 1
                    await self.socket.send(json.dumps(message))


class FakeHomeAssistant:
    """The server. Times are seconds since the epoch; every change takes the next microsecond unless told."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.version = "2025.4.4"
        self.config_state = "RUNNING"
        self.token = TOKEN
        self.missing: set[str] = set()
        """Commands that this version does not know."""
        self.forbidden: set[str] = set()
        """Commands that this user may not give."""
        self.greeting = "auth_required"
        self.tells_date = True
        self.kicks = False
        """Whether a client is thrown out as soon as it has authenticated: its token was revoked."""
        self.filters = True
        """Whether ``subscribe_entities`` knows ``include`` and ``exclude``."""
        self.most_pending = 4096
        self.states: dict[str, dict[str, Any]] = {}
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.unrecorded: set[str] = set()
        """Entities that the recorder leaves out."""
        self.uncommitted: list[tuple[str, dict[str, Any]]] = []
        self.commits = True
        """Whether the recorder commits at once; else with :meth:`commit`."""
        self.registries: dict[str, list[dict[str, Any]]] = {}
        self.redirect: str | None = None
        self.status: int | None = None
        self.silent = False
        """Accept connections and say nothing."""
        self.deaf: set[str] = set()
        """Commands that are not answered."""
        self.received: list[dict[str, Any]] = []
        self.auths = 0
        self.connects = 0
        self.clients: list[Client] = []
        self.now = START
        self.port = 0
        self.path = "/api/websocket"
        self._tls = tls
        self._server: Server | None = None

    @property
    def url(self) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}{self.path.removesuffix('/api/websocket')}"

    async def start(self) -> Self:
        """Listen, on the same port as before."""
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self.port,
            process_request=self._answer_http,
            process_response=self._date,
            ssl=self._tls,
            compression="deflate",
            max_size=None,
            ping_interval=None,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def stop(self) -> None:
        """Cut all connections and listen no more."""
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # What tests do to it

    def set(
        self,
        entity: str,
        state: str | None,
        attributes: dict[str, Any] | None = None,
        *,
        at: float | None = None,
    ) -> None:
        """Write a state, as an integration does; ``None`` removes the entity."""
        self.now = round(self.now + 1e-6 if at is None else at, 6)
        old = self.states.pop(entity, None)
        if state is None:
            self._tell(entity, old, None)
            return
        kept = attributes if attributes is not None else (old or {}).get("attributes", {})
        same = old is not None and old["state"] == state
        changed = old["changed"] if old is not None and same else self.now
        new = {"state": state, "attributes": kept, "changed": changed, "updated": self.now}
        self.states[entity] = new
        if entity not in self.unrecorded:
            row = {"s": state, "a": kept, "lu": self.now, **({"lc": changed} if changed != self.now else {})}
            self.uncommitted.append((entity, row))
            if self.commits:
                self.commit()
        self._tell(entity, old, new)

    def commit(self) -> None:
        """Let the recorder write what has gathered."""
        for entity, row in self.uncommitted:
            self.history.setdefault(entity, []).append(row)
        self.uncommitted.clear()

    def fire(self, event_type: str, data: dict[str, Any]) -> None:
        """Fire an event."""
        event = {
            "event_type": event_type,
            "data": data,
            "origin": "LOCAL",
            "time_fired": iso(self.now),
            "context": {"id": "01", "parent_id": None, "user_id": None},
        }
        for client in self.clients:
            for number, wanted in client.events.items():
                if wanted in (None, event_type):
                    client.send({"type": "event", "event": event, "id": number})

    def trigger(self, variables: dict[str, Any]) -> None:
        """Let all triggers fire."""
        for client in self.clients:
            for number in client.triggers:
                client.send({"id": number, "type": "event", "event": {"variables": variables, "context": {}}})

    def restart(self, entities: Iterable[str]) -> None:
        """Write all again as a restarted Home Assistant does: first as restored, later with its old value."""
        self.config_state = "STARTING"
        before = {entity: self.states[entity] for entity in entities}
        self.states.clear()
        for entity, old in before.items():
            self.set(entity, "unavailable", {**old["attributes"], "restored": True})
        for entity, old in before.items():
            self.states[entity]["before"] = old

    def come_up(self) -> None:
        """Let the integrations of a restarted Home Assistant write their values."""
        for entity, state in list(self.states.items()):
            if old := state.get("before"):
                self.set(entity, old["state"], old["attributes"])
        self.config_state = "RUNNING"

    def cut(self) -> None:
        """Break all connections as a network does."""
        for client in self.clients:
            client.socket.transport.abort()

    def commands(self, type: str) -> list[dict[str, Any]]:
        """Return the commands of a type that have come."""
        return [command for command in self.received if command["type"] == type]

    # What it does

    def _answer_http(self, connection: ServerConnection, request: Request) -> Response | None:
        self.connects += 1
        if self.redirect is not None:
            headers = Headers(Location=self.redirect)
            return Response(302, "Found", headers, b"")
        if self.status is not None:
            return connection.respond(http.HTTPStatus(self.status), "no\n")
        if request.path != self.path:
            return connection.respond(http.HTTPStatus.NOT_FOUND, "no such page\n")
        return None

    def _date(self, _connection: ServerConnection, _request: Request, response: Response) -> None:
        """Let the clock of the server be its own."""
        response.headers.pop("Date", None)
        if not self.tells_date:
            return
        response.headers["Date"] = formatdate(self.now, usegmt=True)

    async def _serve(self, socket: ServerConnection) -> None:
        client = Client(socket, most_pending=self.most_pending)
        with contextlib.suppress(ConnectionClosed):
            if self.silent:
                await socket.wait_closed()
                return
            if not await self._authenticate(socket) or self.kicks:
                return
            self.clients.append(client)
            writer = asyncio.create_task(client.write())
            try:
                async for text in socket:
                    self._answer(client, json.loads(text))
            finally:
                self.clients.remove(client)
                writer.cancel()
                await asyncio.wait([writer])
                if not writer.cancelled():
                    writer.exception()

    async def _authenticate(self, socket: ServerConnection) -> bool:
        await socket.send(json.dumps({"type": self.greeting, "ha_version": self.version}))
        answer = json.loads(await socket.recv())
        self.auths += 1
        if answer != {"type": "auth", "access_token": self.token}:
            await socket.send(
                json.dumps({"type": "auth_invalid", "message": "Invalid access token or password"})
            )
            return False
        await socket.send(json.dumps({"type": "auth_ok", "ha_version": self.version}))
        return True

    def _answer(self, client: Client, command: dict[str, Any]) -> None:
        number, kind = command["id"], command["type"]
        self.received.append(command)
        try:
            if number <= client.last_id:
                raise Refusal("id_reuse", "Identifier values have to increase.")
            client.last_id = number
            if kind in self.deaf:
                return
            result = self._run(client, number, command)
        except Refusal as refusal:
            code, message = refusal.args
            error = {"code": code, "message": message}
            client.send({"id": number, "type": "result", "success": False, "error": error})
            return
        client.send({"id": number, "type": "result", "success": True, "result": result})
        if kind == "subscribe_entities":
            added = {
                entity: compressed(state)
                for entity, state in self.states.items()
                if wanted(client.entities[number], entity)
            }
            client.send({"id": number, "type": "event", "event": {"a": added}})

    def _run(self, client: Client, number: int, command: dict[str, Any]) -> Any:
        kind = command["type"]
        if kind in self.forbidden:
            raise Refusal("unauthorized", "Unauthorized")
        if kind in self.missing:
            raise Refusal("unknown_command", "Unknown command.")
        if kind == "supported_features":
            client.coalesces = bool(command["features"].get("coalesce_messages"))
            return None
        if kind == "get_config":
            return {"state": self.config_state, "version": self.version}
        if kind == "get_states":
            return [written(entity, state) for entity, state in self.states.items()]
        if kind == "subscribe_entities":
            if not self.filters and {"include", "exclude"} & command.keys():
                raise Refusal("invalid_format", "extra keys not allowed @ data['include']")
            client.entities[number] = command
            return None
        if kind == "subscribe_events":
            client.events[number] = command.get("event_type")
            return None
        if kind == "subscribe_trigger":
            client.triggers.append(number)
            return None
        if kind == "unsubscribe_events":
            for subscriptions in (client.entities, client.events):
                subscriptions.pop(command["subscription"], None)
            return None
        if kind == "history/history_during_period":
            return self._history(command)
        if kind.startswith("config/") and kind.endswith("_registry/list"):
            return self.registries.get(kind.removeprefix("config/").removesuffix("_registry/list"), [])
        if kind == "echo":
            return command["value"]
        raise Refusal("unknown_command", "Unknown command.")

    def _history(self, command: dict[str, Any]) -> dict[str, Any]:
        """Answer as the integration does: with the defaults that leave things out and make things up."""
        start = datetime.fromisoformat(command["start_time"]).timestamp()
        end = datetime.fromisoformat(command["end_time"]).timestamp() if "end_time" in command else 1e12
        found: dict[str, Any] = {}
        for entity in command["entity_ids"]:
            rows = [row for row in self.history.get(entity, []) if start < row["lu"] < end]
            if command.get("significant_changes_only", True):
                rows = [row for row in rows if "lc" not in row]
            if command.get("minimal_response", False):
                rows = [{"s": row["s"], "lu": row["lu"]} for row in rows]
            if command.get("include_start_time_state", True):
                rows = [{"s": "0", "a": {}, "lu": start}, *rows]
            if rows:
                found[entity] = rows
        return found

    def _tell(self, entity: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        event = difference(entity, old, new)
        for client in self.clients:
            for number, command in client.entities.items():
                if wanted(command, entity):
                    client.send({"type": "event", "event": event, "id": number})
        data = {
            "entity_id": entity,
            "old_state": old and written(entity, old),
            "new_state": new and written(entity, new),
        }
        self.fire("state_changed", data)


def compressed(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state as ``subscribe_entities`` sends it first."""
    times = {"lc": state["changed"]}
    if state["updated"] != state["changed"]:
        times["lu"] = state["updated"]
    return {"s": state["state"], "a": state["attributes"], "c": "01", **times}


def difference(entity: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any]:
    """Return a change as ``subscribe_entities`` sends it."""
    if new is None:
        return {"r": [entity]}
    if old is None:
        return {"a": {entity: compressed(new)}}
    added: dict[str, Any] = {"c": "02"}
    if old["state"] != new["state"]:
        added["s"] = new["state"]
    if old["changed"] != new["changed"]:
        added["lc"] = new["changed"]
    elif old["updated"] != new["updated"]:
        added["lu"] = new["updated"]
    before, after = old["attributes"], new["attributes"]
    if values := {name: value for name, value in after.items() if before.get(name, added) != value}:
        added["a"] = values
    removed = sorted(before.keys() - after.keys())
    return {"c": {entity: {"+": added, **({"-": {"a": removed}} if removed else {})}}}


def written(entity: str, state: dict[str, Any]) -> dict[str, Any]:
    """Return a state as ``get_states`` and ``state_changed`` have it."""
    return {
        "entity_id": entity,
        "state": state["state"],
        "attributes": state["attributes"],
        "last_changed": iso(state["changed"]),
        "last_updated": iso(state["updated"]),
        "last_reported": iso(state["updated"]),
        "context": {"id": "01", "parent_id": None, "user_id": None},
    }


def wanted(command: dict[str, Any], entity: str) -> bool:
    """Whether a filter of ``subscribe_entities`` takes an entity: any part of it is enough."""
    if include := command.get("include"):
        return _matches(include, entity)
    return not _matches(command.get("exclude", {}), entity)


def _matches(part: dict[str, list[str]], entity: str) -> bool:
    return (
        entity in part.get("entities", [])
        or entity.partition(".")[0] in part.get("domains", [])
        or any(fnmatchcase(entity, glob) for glob in part.get("entity_globs", []))
    )
