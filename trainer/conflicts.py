"""Contradicting labels: who says what of the same text, and which label holds.

The rule is that of `trainer.dataset`: of one id the latest label counts; of several ids about
the same text and target the label given most often, and on a tie the latest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from schemas.errors import Unanswerable
from schemas.events import LabelledExample
from trainer import dataset
from trainer.dataset import Row
from trainer.labels import example_of


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """A text about which labels differ."""

    task: str
    text: str
    target: str | None
    holds: str
    """The label that is learned."""
    said: list[tuple[str, str, str]]
    """Id, label and labeller, in the order they were said; withdrawn ones are not among them."""


def find(records: Iterable[Any]) -> list[Conflict]:
    """Contradictions in `records` of `labels.examples`, in the order they were said."""
    said: dict[tuple[str, str, str | None], list[LabelledExample]] = {}
    where: dict[str, tuple[str, str, str | None]] = {}
    for record in records:
        try:
            key, example = example_of(record)
        except Unanswerable:
            continue
        if example is None:
            place = where.pop(key, None)
            if place is not None:
                said[place] = [one for one in said[place] if one.id != key]
            continue
        place = (example.task, example.text, example.target)
        where[key] = place
        said.setdefault(place, []).append(msgspec.structs.replace(example, id=key))
    return [
        _conflict(place, examples)
        for place, examples in said.items()
        if len({one.label for one in examples}) > 1
    ]


def _conflict(place: tuple[str, str, str | None], examples: list[LabelledExample]) -> Conflict:
    task, text, target = place
    rows = [(one.id, Row(one.id, text, target, one.label)) for one in examples]
    settled, _, _ = dataset.settle(dataset.latest(rows))
    return Conflict(
        task=task,
        text=text,
        target=target,
        holds=settled[0].label,
        said=[(one.id, one.label, one.labeller) for one in examples],
    )
