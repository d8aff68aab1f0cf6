"""Which version answers a request: by its key while a canary is tried, by its target if it has one.

Pure: the same route and the same request give the same version on every kernel, so whoever
reads the registry can say which version had to answer (`proof.chaos`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from schemas.events import Target

_HASHES: Final = 2**32


@dataclass(frozen=True, slots=True)
class Route:
    """The versions of one task that answer at one moment."""

    live: str
    canary: str = ""
    share: float = 0.0
    """Of the keys, those that the canary answers, in [0, 1]."""

    def choose(self, key: str) -> str:
        """The version for a key.

        The hash is of key and canary, so a key that has come to a canary stays with it while
        the share grows, and the next canary is tried on other keys.
        """
        return self.canary if self.canary and place(self.canary, key) < self.share else self.live

    def __str__(self) -> str:
        return f"{self.live}+{self.canary}*{self.share:g}" if self.canary else self.live


def place(version: str, key: str) -> float:
    """Where a key stands for a canary, in [0, 1): below the share, the canary answers it."""
    # A checksum would not do: it is linear, so two canaries would be tried on related keys.
    digest = blake2b(f"{version}\0{key}".encode(errors="replace"), digest_size=4).digest()
    return int.from_bytes(digest) / _HASHES


@dataclass(frozen=True, slots=True)
class Servable:
    """A version that may answer, as it was measured."""

    version: str
    accuracy: float
    """On the rows that the trainer held back; 0 where it was not measured."""
    cost_ms: float
    """Of one forward pass over a text of ordinary length, on this machine."""


def select(servable: Sequence[Servable], target: Target) -> Servable:
    """The version for a target; one of `servable`, which must not be empty.

    With a bound on time: the most accurate of those within it, else the cheapest. With a bound
    on accuracy alone: the cheapest of those that reach it, else the most accurate. With both,
    accuracy chooses first who may compete for time.
    """
    good = [one for one in servable if one.accuracy >= (target.min_accuracy or 0.0)]
    if not good:
        return most_accurate(servable)
    if target.max_ms is None:
        return cheapest(good)
    fast = [one for one in good if one.cost_ms <= target.max_ms]
    return most_accurate(fast) if fast else cheapest(good)


def cheapest(servable: Sequence[Servable]) -> Servable:
    """The one of least cost; of equals the more accurate."""
    return min(servable, key=lambda one: (one.cost_ms, -one.accuracy))


def most_accurate(servable: Sequence[Servable]) -> Servable:
    """The one of most accuracy; of equals the cheaper."""
    return max(servable, key=lambda one: (one.accuracy, -one.cost_ms))
