"""Keeps the subscriptions that the broker holds equal to what the nodes want, and says how that stands."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from flowrunner import ConnectionContext, Status
from flowrunner_nodes._mqtt_client import MqttClient
from flowrunner_nodes._mqtt_inbox import Inbox
from flowrunner_nodes._mqtt_router import Router
from flowrunner_nodes._mqtt_settings import LinkError, Subscription
from flowrunner_nodes._mqtt_topics import filters_matching

LINGER = 30.0
"""Seconds that the messages of a node are kept after its close: it may be restarted or replaced."""
ASK_AGAIN = 60.0
"""Seconds after which a refused subscription is tried again: somebody may have changed the rights."""
_REFUSED = 0x80
_UNSUBSCRIBE_BYTES = 32768


class Subscribing:
    """The subscriptions of one connection, over all its reconnects."""

    def __init__(self, router: Router, context: ConnectionContext, counts: Counter[str]) -> None:
        self.changed = asyncio.Event()
        """Set when the nodes' wishes have changed or the router has met a stray."""
        self._router = router
        self._context = context
        self._counts = counts
        self._granted: dict[str, int] = {}
        """Filter → granted QoS, or the code of a refusal."""

    async def keep(self, client: MqttClient) -> None:
        """Align the broker with the nodes' wishes until cancelled; give up the connection if it does not answer."""
        present: dict[str, Subscription] = {}
        chased: set[str] = set()
        try:
            while True:
                self.changed.clear()
                self._forget_left()
                await self._align(client, present)
                await self._chase(client, chased)
                self._report()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._next_look()):
                        await self.changed.wait()
        except LinkError as error:
            client.fail(error)

    async def _align(self, client: MqttClient, present: dict[str, Subscription]) -> None:
        wanted = self._router.subscriptions()
        gone = [filter for filter in present if filter not in wanted]
        if gone:
            await client.remove(gone)
            for filter in gone:
                del present[filter]
        for filter, code in zip(
            new := [filter for filter in wanted if present.get(filter) != wanted[filter]],
            await _add(client, [wanted[filter] for filter in new]),
            strict=True,
        ):
            self._granted[filter] = code
            if code < _REFUSED:
                present[filter] = wanted[filter]
        self._granted = {filter: code for filter, code in self._granted.items() if filter in wanted}
        self._router.deny(frozenset(self._denied(self._granted)))

    async def _chase(self, client: MqttClient, chased: set[str]) -> None:
        """Unsubscribe from whatever can have brought the messages that no node wants.

        A session outlives our configuration, and no packet lists its subscriptions. But a topic tells which
        filters match it, and to unsubscribe from one that does not exist does no harm.
        """
        strays, self._router.strays = self._router.strays, set()
        wanted = self._router.subscriptions()
        for topic in strays - chased:
            chased.add(topic)
            most = max(1, min(512, _UNSUBSCRIBE_BYTES // (len(topic) + 4)))
            await client.remove([filter for filter in filters_matching(topic, most) if filter not in wanted])

    def _forget_left(self) -> None:
        now = asyncio.get_running_loop().time()
        for name, inbox in list(self._router.inboxes.items()):
            if inbox.leaving_since is not None and now - inbox.leaving_since >= LINGER:
                self._router.want(name, None)
                del self._router.inboxes[name]
                self._counts["unrouted"] += inbox.abandon()

    def _next_look(self) -> float | None:
        """Seconds until there is something to do without a change."""
        now = asyncio.get_running_loop().time()
        inboxes = self._router.inboxes.values()
        looks = [inbox.leaving_since + LINGER - now for inbox in inboxes if inbox.leaving_since is not None]
        if any(self._denied(self._granted)):
            looks.append(ASK_AGAIN)
        return max(min(looks), 0.0) if looks else None

    def _denied(self, filters: Iterable[str]) -> list[str]:
        return [filter for filter in filters if self._granted.get(filter, 0) >= _REFUSED]

    def _report(self) -> None:
        self._context.report("running")
        for name, inbox in self._router.inboxes.items():
            self._report_node(name, inbox)

    def _report_node(self, name: str, inbox: Inbox) -> None:
        wish = self._router.wish(name)
        denied = self._denied(wish.filters)
        lowered = [filter for filter in wish.filters if self._granted.get(filter, 0) < wish.qos]
        status: Status = "running"
        reason = None
        if denied:
            status = "failed" if len(denied) == len(wish.filters) else "degraded"
            shown = ", ".join(f"`{filter}` (code {self._granted[filter]})" for filter in denied)
            reason = f"the broker refuses the subscription to {shown}"
        elif lowered:
            status = "degraded"
            shown = ", ".join(f"`{filter}`" for filter in lowered)
            reason = f"the broker grants only QoS 0 for {shown}: what is published while flowrunner is away is lost"
        inbox.context.report(status, reason)


async def _add(client: MqttClient, subscriptions: list[Subscription]) -> list[int]:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client.add(subscription)) for subscription in subscriptions]
    except* LinkError as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
