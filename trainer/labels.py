"""Labels on the bus: a dataset is ranges of offsets of `labels.examples`, readable again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

import msgspec
from aiokafka.structs import TopicPartition

from schemas.envelope import Position, decode
from schemas.errors import ErrorClass, Unanswerable
from schemas.events import LabelledExample
from schemas.topics import LABELS
from streams.reading import assigned, partitions
from streams.settings import Settings
from trainer.dataset import Row
from trainer.errors import TrainerError

_STALLED_S: Final = 60.0
_POLL_MS: Final = 250


class Range(msgspec.Struct, frozen=True):
    """Offsets `start` up to, not including, `end` of one partition."""

    topic: str
    partition: int
    start: int
    end: int

    @property
    def at(self) -> TopicPartition:
        """The partition."""
        return TopicPartition(self.topic, self.partition)


def example_of(record: Any) -> tuple[str, LabelledExample | None]:
    """Id and example of a record; None is a withdrawal.

    Raises:
        Unanswerable: the record is not an example.
    """
    key = None if record.key is None else record.key.decode("utf-8", "replace")
    if record.value is None:
        if key is None:
            raise Unanswerable(ErrorClass.NO_VALUE, "a withdrawal needs the example's id as key")
        return key, None
    position = Position(record.topic, record.partition, record.offset, record.timestamp)
    example = decode(LabelledExample, record.value, record.headers, position)
    if not example.text.strip():
        raise Unanswerable(ErrorClass.EMPTY_TEXT, "the text is empty")
    return key or example.id, example


async def read(settings: Settings, ranges: Iterable[Range]) -> list[Any]:
    """Every record of the ranges, in the order they were said.

    That is by time; within a partition by offset.

    Raises:
        TrainerError: the cluster stops answering, or a range is no longer kept.
    """
    wanted = [one for one in ranges if one.end > one.start]
    if not wanted:
        return []
    records = [record async for record in _records(settings, wanted)]
    return sorted(records, key=lambda found: (found.timestamp, found.partition, found.offset))


async def everything(settings: Settings) -> list[Any]:
    """Every record of the labels up to now, in the order they were said.

    Raises:
        UnknownTopicError: the cluster has no such topic.
        TrainerError: it stops answering.
    """
    parts = await partitions(settings, [LABELS.name])
    async with assigned(settings, parts) as consumer:
        begins = await consumer.beginning_offsets(parts)
        ends = await consumer.end_offsets(parts)
    return await read(
        settings, [Range(LABELS.name, at.partition, begins[at], ends[at]) for at in parts]
    )


def rows(records: Iterable[Any], task: str) -> list[tuple[str, Row | None]]:
    """`(id, row)` of the examples of `task`, and of every withdrawal, in order.

    Records that are not examples are passed over: the service writes their dead letters.
    """
    found: list[tuple[str, Row | None]] = []
    for record in records:
        try:
            key, example = example_of(record)
        except Unanswerable:
            continue
        if example is None:
            found.append((key, None))
        elif example.task == task:
            found.append(
                (key, Row(key, example.text, example.target, example.label, example.labeller))
            )
    return found


def before(records: Iterable[Any], until: Mapping[str, int]) -> list[Any]:
    """Those records that lie before the offsets `until`, by partition."""
    return [record for record in records if record.offset < until.get(str(record.partition), 0)]


def describe(ranges: Iterable[Range]) -> str:
    """The ranges in one line, for the model card."""
    return f"{LABELS.name} " + ", ".join(
        f"{one.partition}:[{one.start}, {one.end})" for one in ranges
    )


async def _records(settings: Settings, wanted: list[Range]) -> AsyncIterator[Any]:
    ends = {one.at: one.end for one in wanted}
    clock = asyncio.get_running_loop().time
    moved_at = clock()
    async with assigned(settings, list(ends)) as consumer:
        begins = await consumer.beginning_offsets(list(ends))
        for one in wanted:
            if begins[one.at] > one.start:
                raise TrainerError(
                    f"{one.topic}:{one.partition} begins at {begins[one.at]}, the dataset at "
                    f"{one.start}: labels were deleted; keep the topic's retention.ms at -1"
                )
            consumer.seek(one.at, one.start)
        while ends:
            # A position passes transaction markers by itself: it reaches the end in any case.
            fetched = await consumer.getmany(*ends, timeout_ms=_POLL_MS)
            for part, records in fetched.items():
                moved_at = clock()
                for record in records:
                    if record.offset < ends[part]:
                        yield record
            ends = {at: end for at, end in ends.items() if await consumer.position(at) < end}
            if clock() - moved_at > _STALLED_S:
                raise TrainerError(
                    f"{settings.bootstrap} gives no more of {LABELS.name}; see `headrace doctor`"
                )
