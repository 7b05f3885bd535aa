"""The life of the connection of one flow to one Home Assistant: connect, authenticate, reconnect."""

from __future__ import annotations

import asyncio
import hashlib
import random

import msgspec

from flowrunner import ConnectionContext, Status
from flowrunner_nodes._ha_link import Link, LinkError, Lost, Refused
from flowrunner_nodes._ha_registry import Registry
from flowrunner_nodes._ha_session import Session

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0
"""Seconds between two attempts at the most, and between two when a person must act."""
STABLE = 30.0
"""Seconds that a connection must live for the next attempts to be quick again."""
AUTH_PAUSES = (15 * 60.0, 12 * 3600.0)
"""Seconds after the first and after each further refusal of a token: Home Assistant bans who keeps trying."""
_STATE_PERIOD = 1.0
_NOT_READY = {"NOT_RUNNING", "STARTING"}

_refused: dict[bytes, tuple[int, float]] = {}
"""Tokens that were refused, as a hash with the address: how often, and the loop time of the next attempt.

Not a connection's own: a reload or a second flow must not try the same token again.
"""


class _Config(msgspec.Struct):
    state: str = "RUNNING"


class Hub:
    """Keeps a session open and hands it to whoever needs one."""

    def __init__(self, link: Link, context: ConnectionContext) -> None:
        self.counts = context.counts
        """What happened to the connection: ``malformed``, ``late_answers``, ``unserialisable`` …"""
        self.registry = Registry(self.counts)
        self._link = link
        self._context = context
        self._token = hashlib.sha256(f"{link.url}\n{link.token}".encode()).digest()
        self._session: Session | None = None
        self._connected = asyncio.Event()
        self._failures = 0

    @property
    def session(self) -> Session | None:
        """The session, if there is one now."""
        return self._session

    async def connected(self) -> Session:
        """Return the session, once there is one."""
        while self._session is None:
            await self._connected.wait()
        return self._session

    async def run(self) -> None:
        """Keep the connection up until cancelled."""
        try:
            while True:
                await self._wait_for_token()
                error, lived = await self._connect_once()
                await asyncio.sleep(self._judge(error, lived))
                self._context.reconnects += 1
        finally:
            self._context.report("stopped")

    async def _wait_for_token(self) -> None:
        """Wait as long as Home Assistant has refused this very token."""
        _, until = _refused.get(self._token, (0, 0.0))
        pause = until - asyncio.get_running_loop().time()
        if pause <= 0:
            return
        if self._context.status != "failed":
            words = f"Home Assistant has refused this token; the next attempt is in {pause / 60:.0f} min"
            self._context.report("failed", words)
        await asyncio.sleep(pause)

    async def _connect_once(self) -> tuple[LinkError, float]:
        """Connect, serve until the connection is lost; return why and how many seconds it lived."""
        loop = asyncio.get_running_loop()
        try:
            session = await Session.open(self._link, self.counts)
        except LinkError as refusal:
            return refusal, 0.0
        _refused.pop(self._token, None)
        opened = loop.time()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._watch_start(session)),
                    group.create_task(self.registry.keep(session)),
                ]
                self._offer(session)
                error = await session.wait_lost()
                self._withdraw()
                for task in tasks:
                    task.cancel()
        finally:
            self._withdraw()
            await session.close()
        return error, loop.time() - opened

    def _offer(self, session: Session) -> None:
        self._session = session
        self._connected.set()
        self._context.report("running")

    def _withdraw(self) -> None:
        self._session = None
        self._connected.clear()

    async def _watch_start(self, session: Session) -> None:
        """Notice when Home Assistant has started up: an event says so too, but only to administrators."""
        try:
            while await _is_starting(session):  # noqa: ASYNC110  # nobody sets an event for us
                await asyncio.sleep(_STATE_PERIOD)
        except (Lost, Refused, msgspec.MsgspecError):
            self.counts["state_unknown"] += 1
        session.ready.set()

    def _judge(self, error: LinkError, lived: float) -> float:
        """Report a lost connection; return the seconds to wait before the next attempt."""
        if error.auth:
            return self._refuse(error)
        if lived >= STABLE:
            self._failures = 0
        self._failures += 1
        status: Status = "failed" if error.operator else "degraded"
        self._context.report(status, error.reason)
        if error.operator:
            return random.uniform(LONGEST_PAUSE / 2, LONGEST_PAUSE)  # noqa: S311  # spreads load, no secret
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures, 16))
        return random.uniform(0, longest)  # noqa: S311

    def _refuse(self, error: LinkError) -> float:
        times, _ = _refused.get(self._token, (0, 0.0))
        pause = AUTH_PAUSES[min(times, len(AUTH_PAUSES) - 1)]
        _refused[self._token] = times + 1, asyncio.get_running_loop().time() + pause
        self.counts["token_refused"] += 1
        self._context.report(
            "failed",
            f"{error.reason}; make a new one, a reload takes it up (this one is tried again in {pause / 60:.0f} min)",
        )
        return 0.0  # `_wait_for_token` does the waiting


async def _is_starting(session: Session) -> bool:
    config = msgspec.json.decode(await session.call_raw("get_config"), type=_Config)
    return config.state in _NOT_READY
