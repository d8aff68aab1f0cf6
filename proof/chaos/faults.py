"""The faults: what there is to do to a system, and a seeded schedule of it.

The schedule is a pure function of seed, length and menu, so a run can be played
again. Moments between produce and commit are not left to chance: `kill-in-transaction`
waits until a record stands on the topic that is not yet committed, and kills then.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LEAST_S: Final = 3.0
"""From the start of the feed to the first fault."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault of the schedule: after how many seconds, what, to whom, and for how long."""

    number: int
    after_s: float
    name: str
    target: str
    strength: float
    """Between 0 and 1; what it means is up to the fault."""


Menu = dict[str, Sequence[str]]
"""By name of the fault, the targets that it can have."""


def schedule(seed: int, seconds: float, every_s: float, menu: Menu) -> list[Planned]:
    """Faults about `every_s` apart; each kind comes once before any comes again."""
    chance = random.Random(seed)
    found: list[Planned] = []
    deck: list[str] = []
    targets: dict[str, list[str]] = {}
    at = LEAST_S
    while menu and at < seconds:
        if not deck:
            deck = sorted(menu)
            chance.shuffle(deck)
        name = deck.pop()
        left = targets.setdefault(name, [])
        if not left:
            left += sorted(menu[name])
            chance.shuffle(left)
        found.append(Planned(len(found), round(at, 2), name, left.pop(), chance.random()))
        at += every_s * chance.uniform(0.6, 1.4)
    return found
