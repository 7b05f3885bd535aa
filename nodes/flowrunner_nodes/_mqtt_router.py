"""Who gets which message: each node each message once, whatever overlaps."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping

import msgspec

from flowrunner import Json, Record, TraceContext
from flowrunner_nodes._mqtt_inbox import Inbox, Ledger
from flowrunner_nodes._mqtt_packets import RETAIN, PacketError, Publish, read_properties
from flowrunner_nodes._mqtt_settings import Subscription
from flowrunner_nodes._mqtt_topics import TopicTrie, is_shared

_CACHE = 16384
_REFUSE = 2.0
"""How full an inbox may be before a message of QoS 1 is left to the broker."""


class Wish(msgspec.Struct, frozen=True):
    """What one node wants to receive."""

    filters: tuple[str, ...]
    qos: int
    retained: bool


class _Route(msgspec.Struct):
    """Where messages of one topic, with the same properties and flags, go."""

    topic: str = ""
    meta: Mapping[str, Json] = {}
    inboxes: tuple[Inbox, ...] = ()
    filtering: tuple[Inbox, ...] = ()
    """Nodes that want no retained messages."""
    trace: TraceContext | None = None
    nowhere: str | None = None
    """Why nobody gets it."""


class Router:
    """Delivers messages to the inboxes of the nodes of one flow."""

    def __init__(self, counts: Counter[str]) -> None:
        self.inboxes: dict[str, Inbox] = {}
        self.overflowing = False
        """The socket must be read although an inbox is full: drop what need not be kept."""
        self.refused = False
        """A message of QoS 1 was not taken in: it comes again on the next connection only."""
        self.strays: set[str] = set()
        """Topics of messages that no node wants: a subscription of old is still at the broker."""
        self._counts = counts
        self._wishes: dict[str, Wish] = {}
        self._denied: frozenset[str] = frozenset()
        self._routes: dict[tuple[bytes, bytes, int], _Route] = {}
        self._trie = TopicTrie([])
        self._filters: dict[int, str] = {}

    def want(self, name: str, wish: Wish | None) -> None:
        """Set what a node wants; ``None`` for nothing any more."""
        if wish is None:
            self._wishes.pop(name, None)
        else:
            self._wishes[name] = wish
        self._rebuild()

    def wish(self, name: str) -> Wish:
        """Return what a node wants."""
        return self._wishes[name]

    def deny(self, filters: frozenset[str]) -> None:
        """Take no account of filters that the broker has refused."""
        if filters != self._denied:
            self._denied = filters
            self._rebuild()

    def subscriptions(self) -> dict[str, Subscription]:
        """Return the subscriptions that fulfil all wishes, by filter."""
        found = {}
        for identifier, filter in self._filters.items():
            owners = [wish for wish in self._wishes.values() if filter in wish.filters]
            qos = max(wish.qos for wish in owners)
            retained = any(wish.retained for wish in owners)
            found[filter] = Subscription(filter, qos, identifier, retained)
        return found

    def deliver(self, publishes: list[Publish], ledger: Ledger) -> None:
        """Put messages into the inboxes, and note what is to be acknowledged."""
        routes = self._routes
        careful = self.overflowing
        for flags, mid, topic, properties, payload in publishes:
            route = routes.get((topic, properties, flags)) or self._resolve(topic, properties, flags)
            inboxes = route.inboxes
            if not inboxes or route.filtering or careful:
                inboxes = self._admit(route, flags)
            ack = None
            if flags & 6:
                ack = ledger.expect(mid, flags, len(inboxes) + self.refused)
            record = Record(payload, route.topic, None, route.meta, None, route.trace)
            for inbox in inboxes:
                inbox.put(record, ack)
        ledger.flush()

    def pass_over(self, publishes: list[Publish], ledger: Ledger) -> None:
        """Count messages that were too long and acknowledge them."""
        for flags, mid, topic, _, _ in publishes:
            route = self._resolve(topic, b"", flags)
            for inbox in route.inboxes:
                inbox.drop("too_large")
            if flags & 6:
                ledger.expect(mid, flags, int(self.refused))
        self._counts["too_large"] += len(publishes)
        ledger.flush()

    def _admit(self, route: _Route, flags: int) -> tuple[Inbox, ...]:
        """Return the inboxes that take a message in, counting for the others."""
        if route.nowhere is not None:
            self._counts[route.nowhere] += 1
            if route.nowhere == "unrouted" and len(self.strays) < _CACHE:
                self.strays.add(route.topic)
        for inbox in route.filtering:
            inbox.filter_out()
        if not self.overflowing:
            return route.inboxes
        if not flags & 6:
            full = [inbox for inbox in route.inboxes if inbox.level() >= 1]
            for inbox in full:
                inbox.drop("buffer_full")
            return tuple(inbox for inbox in route.inboxes if inbox not in full)
        # Once one message is left to the broker all that follow are, or they would come twice and out of order.
        self.refused = self.refused or any(inbox.level() >= _REFUSE for inbox in route.inboxes)
        return () if self.refused else route.inboxes

    def _resolve(self, raw_topic: bytes, properties: bytes, flags: int) -> _Route:
        if len(self._routes) >= _CACHE:
            self._routes.clear()
        route = self._routes[raw_topic, properties, flags] = self._find(raw_topic, properties, flags)
        return route

    def _find(self, raw_topic: bytes, properties: bytes, flags: int) -> _Route:
        try:
            topic = raw_topic.decode()
            identifiers, facts = read_properties(properties)
        except (UnicodeDecodeError, PacketError):
            return _Route(nowhere="malformed")
        if not topic:
            return _Route(nowhere="malformed")
        names = self._names(topic, identifiers)
        if not names:
            copy = bool(self._trie.match(topic))
            return _Route(topic, nowhere="copies" if copy else "unrouted")
        meta: dict[str, Json] = {"qos": flags >> 1, "retain": bool(flags & RETAIN), **facts}
        leaving_out = {name for name in names if flags & RETAIN and not self._wishes[name].retained}
        return _Route(
            topic,
            meta,
            tuple(self.inboxes[name] for name in names if name not in leaving_out),
            tuple(self.inboxes[name] for name in names if name in leaving_out),
            TraceContext.read(facts.get("user_traceparent"), facts.get("user_tracestate")),
        )

    def _names(self, topic: str, identifiers: tuple[int, ...]) -> list[str]:
        """Return the nodes that get a message.

        With MQTT 5 a broker may send one copy for each subscription that matches; the identifier says which
        one a copy is for. A node takes the copy of the first of its filters that match. An identifier that is
        not ours is of a former configuration: then, as without identifiers, the topic alone decides.
        """
        matching = self._trie.match(topic)
        known = [self._filters[number] for number in identifiers if number in self._filters]
        if not known or len(known) < len(identifiers):
            return [name for name, wish in self._wishes.items() if matching.intersection(wish.filters)]
        names = []
        for name, wish in self._wishes.items():
            candidates = sorted(
                filter for filter in wish.filters if filter in matching and not is_shared(filter)
            )
            takes = {filter for filter in wish.filters if is_shared(filter)} | set(candidates[:1])
            if takes.intersection(known):
                names.append(name)
        return names

    def _rebuild(self) -> None:
        self._routes.clear()
        filters = sorted({filter for wish in self._wishes.values() for filter in wish.filters})
        self._trie = TopicTrie([filter for filter in filters if filter not in self._denied])
        self._filters = _identify(filters, repr(sorted(self._wishes.items())))


def _identify(filters: list[str], configuration: str) -> dict[int, str]:
    """Return identifier → filter.

    A broker keeps identifiers with a session and with queued messages. So they are the same after a restart with
    the same nodes, and all of them are others as soon as anything is configured differently.
    """
    salt = 0
    while True:
        found = {_number(f"{salt}\n{filter}\n{configuration}"): filter for filter in filters}
        if len(found) == len(filters):
            return found
        salt += 1  # two of them had the same number


def _number(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).digest()
    return int.from_bytes(digest, "big") % 0x0FFF_FFFF + 1
