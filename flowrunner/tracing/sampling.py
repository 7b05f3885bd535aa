"""Which batches are followed: a share of them, and never more than some a second in one flow."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import msgspec

from flowrunner.clock import Clock

_SHARES = {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}
_PARENT_BASED = "parentbased_"


class Sampling(msgspec.Struct, frozen=True):
    """How often a flow is sampled."""

    share: float = 0.01
    """Of the batches that bring no context of their own."""
    per_second: int = 1
    """Batches in one flow, at the most."""
    follow: bool = True
    """Whether what brings the context of a recorded trace is followed, whatever the share."""
    followed_per_second: int = 10

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Sampling:
        """Return what ``OTEL_TRACES_SAMPLER`` and its ``_ARG`` say. Raises ``ValueError`` for what they cannot say."""
        name = environment.get("OTEL_TRACES_SAMPLER", "").strip().lower()
        if not name:
            return cls()
        kind = name.removeprefix(_PARENT_BASED)
        if kind not in _SHARES:
            raise ValueError(f"OTEL_TRACES_SAMPLER is {name!r:.50}, which is none of the standard samplers")
        share = _SHARES[kind]
        if share is None:
            share = _share(environment.get("OTEL_TRACES_SAMPLER_ARG", "") or "1.0")
        return cls(share, 10, follow=name.startswith(_PARENT_BASED))


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG is {text!r:.50}; it must be a number from 0 to 1")
    return share


class Budget:
    """Gives leave some times a second, and never much more at once."""

    def __init__(self, per_second: int, clock: Clock) -> None:
        self._per_second = per_second
        self._clock = clock
        self._left = float(per_second)
        self._since = clock.monotonic()

    def take(self) -> bool:
        """Return whether there is leave for one more."""
        now = self._clock.monotonic()
        self._left = min(self._left + (now - self._since) * self._per_second, float(self._per_second))
        self._since = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Sampler:
    """Decides for one flow what is followed."""

    def __init__(self, sampling: Sampling, clock: Clock, draw: Callable[[], float] = random.random) -> None:
        self._share = sampling.share
        self._follow = sampling.follow
        self._draw = draw
        self._batches = Budget(sampling.per_second, clock)
        self._followed = Budget(sampling.followed_per_second, clock)

    def begin(self) -> bool:
        """Return whether a batch without a context begins a trace."""
        return self._draw() < self._share and self._batches.take()

    def follow(self) -> bool:
        """Return whether a record that belongs to a recorded trace is followed in it."""
        return self._followed.take() if self._follow else self.begin()

    def link(self) -> bool:
        """Return whether results of messages that were followed begin a trace."""
        return self._followed.take()
