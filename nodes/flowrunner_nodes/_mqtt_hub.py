"""The life of the connection of one flow to one broker: connect, subscribe, receive, reconnect."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from flowrunner import ConnectionContext, SourceContext, Status
from flowrunner_nodes._mqtt_client import MqttClient
from flowrunner_nodes._mqtt_inbox import Inbox, Ledger
from flowrunner_nodes._mqtt_packets import Publish
from flowrunner_nodes._mqtt_publishing import Outgoing
from flowrunner_nodes._mqtt_router import Router, Wish
from flowrunner_nodes._mqtt_settings import LinkError, Settings
from flowrunner_nodes._mqtt_subscribing import LINGER, Subscribing

LONGEST_PAUSE = 60.0
"""Seconds between two attempts at the most, and between two when a person must act."""
FIRST_PAUSE = 0.5
STABLE = 10.0
"""Seconds that a connection must live for the next attempts to be quick again."""
STABLE_AFTER_TAKEOVER = 30.0
"""The same where another client ended it: two that push each other out live as long as the other waits."""
_TAKEN_OVER = 142
_ANSWER_PAUSE = 0.5
"""Seconds without reading at the most while a message of ours waits for its acknowledgement."""
_TOLD_EVERY = 10.0
_STORM = 3
"""Short connections in a row that look like two clients pushing each other out."""

_WORDS = {
    "unrouted": "messages that no node wants; their old subscriptions are being removed",
    "malformed": "messages that are not valid MQTT were acknowledged and left out",
    "too_large": "messages longer than `max_packet` were acknowledged and left out",
    "stale_acks": "messages became safe after their connection had gone; the broker sends them again",
}


class Hub:
    """Keeps a flow connected to a broker and its nodes' inboxes filled."""

    def __init__(self, settings: Settings, context: ConnectionContext) -> None:
        self.counts = context.counts
        """What happened to the connection: ``unrouted``, ``malformed``, ``too_large``, ``session_lost`` …"""
        self._settings = settings
        self._context = context
        self._router = Router(self.counts)
        self._client: MqttClient | None = None
        self._outgoing: Outgoing | None = None
        self._linked = asyncio.Event()
        self._ledger = Ledger(lambda _: None, self.counts)
        self._subscribing = Subscribing(self._router, context, self.counts)
        self._pressure: asyncio.TimerHandle | None = None
        self._had_session = False
        self._failures = 0
        self._short_lives = 0
        self._suspicions = 0
        self._told: Counter[str] = Counter()
        self._tell_after = 0.0

    def attach(self, context: SourceContext, wish: Wish) -> Inbox:
        """Return the inbox of a node; what arrives for its filters is put there from now on."""
        inbox = self._router.inboxes.get(context.node)
        if inbox is None:
            inbox = self._router.inboxes[context.node] = Inbox(context, self._on_space)
        inbox.context = context
        inbox.leaving_since = None
        self._router.want(context.node, wish)
        self._subscribing.changed.set()
        return inbox

    def detach(self, node: str) -> None:
        """Forget a node, unless it is attached again within ``LINGER`` seconds."""
        self._router.inboxes[node].leaving_since = asyncio.get_running_loop().time()
        self._subscribing.changed.set()

    def forget(self, node: str) -> None:
        """Forget a node now."""
        if (inbox := self._router.inboxes.get(node)) is not None:
            inbox.leaving_since = -LINGER
            self._subscribing.changed.set()

    async def outgoing(self) -> Outgoing:
        """Return the way out over the present connection, or over the next one when that is up."""
        while self._outgoing is None:
            self._linked.clear()
            await self._linked.wait()
        return self._outgoing

    async def run(self) -> None:
        """Keep the connection up until cancelled."""
        settings = self._settings
        if settings.password is not None and settings.tls is None and not _is_here(settings.host):
            self._warn("the password goes over the network in clear text; use mqtts://")
        try:
            while True:
                error, lived = await self._connect_once()
                await asyncio.sleep(self._judge(error, lived))
                self._context.reconnects += 1
        finally:
            self._context.report("stopped")

    async def _connect_once(self) -> tuple[LinkError, float]:
        """Connect, serve until the connection is lost; return why and how many seconds it lived."""
        loop = asyncio.get_running_loop()
        client = self._client = MqttClient(self._settings, self)
        self._ledger = Ledger(client.send, self.counts)
        self._router.refused = False
        accepted = None
        try:
            await client.open()
            accepted = loop.time()
            self._greet(client)
            self._outgoing = Outgoing(client, self._expect_answer)
            self._linked.set()
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(client.keep_alive()),
                    group.create_task(self._subscribing.keep(client)),
                ]
                await asyncio.wait([client.lost])
                for task in tasks:
                    task.cancel()
            error = client.lost.result()
        except LinkError as refused:
            error = refused
        finally:
            self._relax()
            self._ledger.close()
            client.close()
            if self._outgoing is not None:
                self._outgoing.close(client.lost.result())
            self._client = self._outgoing = None
            self._tell(loop.time())
        return error, 0.0 if accepted is None else loop.time() - accepted

    def _greet(self, client: MqttClient) -> None:
        if self._had_session and not client.session_present and self._settings.session_expiry:
            self.counts["session_lost"] += 1
            self._warn("the broker has lost the session: what was published meanwhile is missing")
        self._had_session = True

    def _judge(self, error: LinkError, lived: float) -> float:
        """Report a lost connection; return the seconds to wait before the next attempt."""
        if self._router.refused:
            return 0.0
        taken_over = error.code == _TAKEN_OVER
        if lived >= (STABLE_AFTER_TAKEOVER if taken_over else STABLE):
            self._failures = self._short_lives = self._suspicions = 0
        self._failures += 1
        # Many brokers do not say why they end a connection; one that fell silent was ended by nobody.
        self._short_lives = self._short_lives + 1 if lived and error.by_broker else 0
        reason = error.reason
        pause = _jitter(0, FIRST_PAUSE, self._failures)
        if taken_over or self._short_lives >= _STORM:
            self._suspicions += 1
            self.counts["takeovers"] += 1
            reason += f"; is there another client with the client id `{self._settings.client_id}`?"
            pause = _jitter(0.5, 4 * FIRST_PAUSE, self._suspicions)
        if error.operator:
            pause = _jitter(0.5, LONGEST_PAUSE, 0)
        status: Status = "failed" if error.operator else "degraded"
        self._context.report(status, reason)
        for inbox in self._router.inboxes.values():
            inbox.context.report(status, reason)
        return pause

    # Receiving

    def receive(self, publishes: list[Publish]) -> None:
        """Take in what the socket brought; stop reading when a node has too much."""
        self._router.deliver(publishes, self._ledger)
        if self._router.strays:
            self._subscribing.changed.set()
        loop = asyncio.get_running_loop()
        self._tell(loop.time())
        client = self._client
        if client is None or client.reading is None or self._pressure is not None:
            return
        if any(inbox.level() >= 1 for inbox in self._router.inboxes.values()):
            client.reading.pause()
            # Without reading, the answers to our pings are not seen either: half of the time until that kills us.
            self._pressure = loop.call_later((client.keepalive or 60) / 2, self._overflow)
            if self._outgoing is not None and self._outgoing.waiting:
                self._expect_answer()

    def pass_over(self, publishes: list[Publish]) -> None:
        """Count messages that were too long."""
        self._router.pass_over(publishes, self._ledger)
        self._tell(asyncio.get_running_loop().time())

    def acknowledged(self, body: bytes) -> None:
        """Take in the broker's answer to a message of ours."""
        if self._outgoing is not None:
            self._outgoing.acknowledged(body)

    def drained(self) -> None:
        """Note that the socket has taken everything."""
        if self._outgoing is not None:
            self._outgoing.drained()

    def _expect_answer(self) -> None:
        """Read on soon although a buffer is full: what is to empty it may wait for this very answer."""
        loop = asyncio.get_running_loop()
        if self._pressure is not None and self._pressure.when() > loop.time() + _ANSWER_PAUSE:
            self._pressure.cancel()
            self._pressure = loop.call_later(_ANSWER_PAUSE, self._overflow)

    def _overflow(self) -> None:
        self._router.overflowing = True
        if self._client is not None and self._client.reading is not None:
            self._client.reading.resume()

    def _on_space(self) -> None:
        if self._pressure is None or any(inbox.level() > 0.5 for inbox in self._router.inboxes.values()):
            return
        self._relax()
        if self._client is None or self._client.reading is None:
            return
        if self._router.refused:
            # Only a new connection makes the broker send again what was not taken in.
            self._client.fail(LinkError("fetching the messages that were left to the broker"))
        else:
            self._client.reading.resume()

    def _relax(self) -> None:
        if self._pressure is not None:
            self._pressure.cancel()
            self._pressure = None
        self._router.overflowing = False

    def _tell(self, now: float) -> None:
        """Log what was counted, at most every few seconds."""
        if now < self._tell_after:
            return
        for cause, words in _WORDS.items():
            if count := self.counts[cause] - self._told[cause]:
                self._told[cause] += count
                self._tell_after = now + _TOLD_EVERY
                self._warn(words, count=count)

    def _warn(self, event: str, **facts: int) -> None:
        self._context.log.warning(event, flow=self._context.flow, connection=self._context.name, **facts)


def _is_here(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")


def _jitter(least: float, first: float, failures: int) -> float:
    """Return a random part, at least ``least``, of the seconds to wait after so many failures."""
    return random.uniform(least, 1) * min(LONGEST_PAUSE, first * 2.0 ** min(failures, 16))  # noqa: S311  # no secret
