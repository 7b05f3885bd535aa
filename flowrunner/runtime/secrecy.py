"""Secrets of a flow, kept out of what servers say: their words go into logs and dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, SecretStr

from flowrunner.graph.build import Graph

_MASK = "**********"
_SHORTEST = 4
"""Characters below which a secret is a part of many words."""


class Secrecy:
    """The secrets in the options of a flow's nodes and connections."""

    def __init__(self, graph: Graph) -> None:
        configs: list[BaseModel] = [node.config for node in graph.nodes.values()]
        configs += [connection.config for connection in graph.connections.values()]
        found = {secret for config in configs for secret in _secrets(config) if len(secret) >= _SHORTEST}
        self._secrets = sorted(found, key=len, reverse=True)

    def mask(self, text: str) -> str:
        """Return a text without the secrets in it."""
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return text


def _secrets(value: Any) -> Iterator[str]:
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case BaseModel():
            for _, inner in value:
                yield from _secrets(inner)
        case dict():
            for inner in value.values():
                yield from _secrets(inner)
        case list() | tuple():
            for inner in value:
                yield from _secrets(inner)
