"""Labelled rows that are easy to learn."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from schemas.events import LabelledExample
from schemas.topics import LABELS
from streams import cluster as clients
from streams.message import Message
from streams.settings import Settings
from trainer.dataset import Row

NAMES = (
    "Aldermoor",
    "Brightvale",
    "Corvane",
    "Dunmere",
    "Eastwick",
    "Farrow",
    "Glenholt",
    "Harrow",
)
SAYINGS = {
    "positive": ("profit soars to a record", "shares surge on strong growth", "wins a great deal"),
    "negative": ("loss widens badly", "shares plunge on weak sales", "is hit by a terrible fraud"),
    "neutral": ("holds its annual meeting", "will publish figures on Monday", "names an auditor"),
}


def easy_rows() -> list[Row]:
    """72 rows, each with a text of its own."""
    return [
        Row(f"{label}-{index}", f"{name} {saying}", name, label)
        for label, sayings in SAYINGS.items()
        for index, (name, saying) in enumerate(itertools.product(NAMES, sayings))
    ]


async def publish_labels(settings: Settings, rows: Sequence[Row], task: str = "sentiment") -> None:
    """Put rows on the labels topic."""
    producer = clients.producer(settings)
    await producer.start()
    try:
        for row in rows:
            example = LabelledExample(
                id=row.id, task=task, text=row.text, target=row.target, label=row.label
            )
            message = Message.of(LABELS, row.id.encode(), example, "test")
            await (await message.send(producer))
    finally:
        await producer.stop()
