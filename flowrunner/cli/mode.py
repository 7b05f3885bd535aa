"""How `flowrunner run` begins and ends."""

from __future__ import annotations

import os

import msgspec


def in_kubernetes() -> bool:
    """Return whether this process runs in a pod: it had better wait there than be started again and again."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST"))


class Mode(msgspec.Struct, frozen=True):
    """How a run begins and ends."""

    once: bool = False
    """End when all sources have ended."""
    once_valid: bool = False
    """End as soon as the flows have started: with 0, or with 78 when a file has a mistake or a flow does not start."""
    strict_start: bool = False
    """Start, and reload, only what has all its connections up."""
    wait: bool = False
    """Wait for a valid flow when there is none, instead of ending with 78."""

    @property
    def ends(self) -> bool:
        """Whether the run ends by itself."""
        return self.once or self.once_valid
