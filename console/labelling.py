"""What to ask a person: committed results that no label answers yet, the least certain first.

The order is that of the web console's queue: both go by `KernelResult.confidence`, lowest first,
and both pass over what is labelled already.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from schemas.envelope import Position, decode
from schemas.errors import Unanswerable
from schemas.events import FeedEvent, KernelResult, LabelledExample
from schemas.ids import ASIDE, label_id
from schemas.limits import EXCERPT_CHARACTERS
from schemas.topics import FEED_EVENTS, LABELS, RESULTS
from streams import reading
from streams.message import Message
from streams.reading import Record
from streams.settings import Settings

SOURCE: Final = "console"
_KEPT: Final = 4
"""Results kept for each question wanted: some drop out, for their text is no longer there."""
_PRUNE_AT: Final = 20_000
"""Results held before the most certain of them are let go."""
_FEW: Final = 9
"""Labels that a person finds at a glance, and that the digits stand for."""

Asked = tuple[str, str | None, str]
"""Task, target, and the text's first characters: what makes two questions the same."""


@dataclass(frozen=True, slots=True)
class Question:
    """A text to be labelled."""

    task: str
    text: str
    target: str | None
    labels: tuple[str, ...]
    """The task's labels: as its model orders them, or where they are many, the likeliest first."""
    said: str
    """What the model said."""
    confidence: float
    version: str

    @property
    def id(self) -> str:
        """Id of the label that answers it."""
        return label_id(self.task, self.target, self.text)


async def queue(settings: Settings, task: str, most: int) -> list[Question]:
    """At most `most` questions, the least certain first.

    Raises:
        UnknownTopicError: the cluster has no such topics.
    """
    labelled = await _labelled(settings, task)
    least = await _least_certain(settings, task, labelled, most)
    texts = await _texts(settings, least)
    found: list[Question] = []
    for result, text in zip(least, texts, strict=True):
        if text is None or (task, result.target, text) in labelled:
            continue
        labels = list(result.scores)
        if len(labels) > _FEW:
            labels.sort(key=result.scores.__getitem__, reverse=True)
        found.append(
            Question(
                task,
                text,
                result.target,
                tuple(labels),
                result.label,
                result.confidence,
                result.model_version,
            )
        )
    return found[:most]


def answer(question: Question, label: str, labeller: str) -> Message:
    """The label that a person gave."""
    example = LabelledExample(
        id=question.id,
        task=question.task,
        text=question.text,
        target=question.target,
        label=label,
        labeller=labeller,
        published_at=datetime.now(UTC),
    )
    return Message.of(LABELS, example.id.encode(), example, SOURCE)


def withdrawal(example_id: str) -> Message:
    """What takes a label back."""
    return Message(LABELS.name, example_id.encode(), None, [])


async def is_there(settings: Settings, example_id: str) -> bool:
    """Whether a label of that id holds."""
    there = False
    async for record in reading.read(settings, [LABELS.name]):
        if (record.key or b"").decode("utf-8", "replace") == example_id:
            there = record.value is not None
    return there


async def _labelled(settings: Settings, task: str) -> set[Asked]:
    """What is labelled, by the whole text and by its first characters."""
    found: dict[str, LabelledExample] = {}
    async for record in reading.read(settings, [LABELS.name]):
        key = (record.key or b"").decode("utf-8", "replace")
        found.pop(key, None)
        if record.value is None:
            continue
        try:
            found[key] = decode(LabelledExample, record.value, record.headers, _place(record))
        except Unanswerable:
            continue
    own = [one for one in found.values() if one.task == task]
    return {(task, one.target, one.text) for one in own} | {
        (task, one.target, one.text[:EXCERPT_CHARACTERS]) for one in own
    }


async def _least_certain(
    settings: Settings, task: str, labelled: set[Asked], most: int
) -> list[KernelResult]:
    """The latest result about each text, of those that the model was least sure of."""
    found: dict[Asked, KernelResult] = {}
    async for record in reading.read(settings, [RESULTS.name]):
        try:
            result = decode(KernelResult, record.value, record.headers, _place(record))
        except Unanswerable:
            continue
        asked = (task, result.target, result.excerpt)
        if result.task != task or not result.scores or asked in labelled:
            continue
        if result.thread.startswith(ASIDE):
            continue  # somebody's own question, and no text of the feed
        found[asked] = result
        if len(found) > _PRUNE_AT:
            kept = _first(found.values(), _PRUNE_AT // 2)
            found = {(task, one.target, one.excerpt): one for one in kept}
    return _first(found.values(), most * _KEPT)


def _first(results: Iterable[KernelResult], most: int) -> list[KernelResult]:
    return heapq.nsmallest(most, results, key=lambda one: one.confidence)


async def _texts(settings: Settings, results: Sequence[KernelResult]) -> list[str | None]:
    """The whole text of each result; None where it was cut and its event is no longer kept."""
    places = {
        index: (one.cause.topic, one.cause.partition, one.cause.offset)
        for index, one in enumerate(results)
        if len(one.excerpt) >= EXCERPT_CHARACTERS
        and one.cause is not None
        and one.cause.topic == FEED_EVENTS.name
    }
    whole: dict[tuple[str, int, int], str] = {}
    for record in await reading.at(settings, places.values()):
        try:
            event = decode(FeedEvent, record.value, record.headers, _place(record))
        except Unanswerable:
            continue
        whole[record.topic, record.partition, record.offset] = event.text
    return [
        one.excerpt
        if len(one.excerpt) < EXCERPT_CHARACTERS
        else whole.get(places.get(index, ("", 0, 0)))
        for index, one in enumerate(results)
    ]


def _place(record: Record) -> Position:
    return Position(record.topic, record.partition, record.offset, record.timestamp_ms)
