"""Counterfactual pairs for tasks about a target: what would be said, had names changed places.

Two targets of one text that differ in label change places, and their labels with them; a target
alone gets another name, and keeps its label. So the model must read what is said of the target,
not who it is (Kaushik et al., 2020, whose pairs people wrote; here names alone move).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import Final

from trainer.dataset import Row
from trainer.errors import RefusedError
from trainer.strategies.base import Strategy, Work

_PLACE: Final = "\0"


class Counterfactual(Strategy, frozen=True, kw_only=True):
    """Adds the rows that the changes give."""

    swap: bool = True
    """Let targets of one text change places."""
    rename: float = 0.0
    """Share of the rows whose target gets the name of another one."""

    def prepare(self, work: Work) -> None:
        """Add the pairs."""
        if work.task.inputs != "pair" or work.task.answer != "label":
            raise RefusedError(f"counterfactual is for tasks about a target, not {work.task.name}")
        known = {(row.text, row.target) for row in work.rows}
        dice = random.Random(work.recipe.seed)
        made = [*self._swapped(work.rows), *self._renamed(work.rows, dice)]
        added = [row for row in made if (row.text, row.target) not in known]
        work.figures["counterfactual"] = float(len(added))
        work.restarted([*work.rows, *added])

    def _swapped(self, rows: list[Row]) -> Iterator[Row]:
        if not self.swap:
            return
        by_text: dict[str, list[Row]] = {}
        for row in rows:
            by_text.setdefault(row.text, []).append(row)
        for text, same in by_text.items():
            for one, other in combinations(same, 2):
                if one.label == other.label or not one.target or not other.target:
                    continue
                changed = exchanged(text, one.target, other.target)
                if changed is None:
                    continue
                yield replace(one, id=f"{one.id}#swapped", text=changed, label=other.label)
                yield replace(other, id=f"{other.id}#swapped", text=changed, label=one.label)

    def _renamed(self, rows: list[Row], dice: random.Random) -> Iterator[Row]:
        names = sorted({row.target for row in rows if row.target})
        for row in rows:
            if self.rename and row.target and dice.random() < self.rename:
                name = dice.choice(names)
                changed, count = _whole(row.target).subn(lambda _, name=name: name, row.text)  # type: ignore[misc]
                if count and name not in row.text:
                    yield replace(row, id=f"{row.id}#renamed", text=changed, target=name)


def exchanged(text: str, one: str, other: str) -> str | None:
    """`text` with the names in each other's place; None where they are not both there, apart."""
    if one in other or other in one:
        return None
    held, first = _whole(one).subn(_PLACE, text)
    swapped, second = _whole(other).subn(lambda _: one, held)
    return swapped.replace(_PLACE, other) if first and second else None


def _whole(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
