"""Ranges of offsets as a person names them, by offsets or by times, on the partitions they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiokafka import TopicPartition

from streams import reading
from streams.reading import Start
from streams.settings import Settings


class OffsetRangeError(Exception):
    """A range that holds nothing, or not all of which is kept; the message says what to do."""


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets from `begin` to before `end` of one partition."""

    partition: TopicPartition
    begin: int
    end: int

    @property
    def offsets(self) -> int:
        """How many offsets it spans; markers of transactions count."""
        return self.end - self.begin


async def resolve(
    settings: Settings,
    topics: Sequence[str],
    between: tuple[Start, Start],
    partition: int | None = None,
) -> list[OffsetRange]:
    """The range `between` (its start, and what it ends before) in each partition of `topics`.

    Partitions in which it is empty are left out. An offset means that offset in each
    partition, and a time the first record of that time or later. What is not committed yet
    lies outside.

    Raises:
        UnknownTopicError: a topic is not there.
        OffsetRangeError: nothing lies in the range, or retention has taken a part of it.
    """
    start, end = between
    parts = [
        part
        for part in await reading.partitions(settings, topics)
        if partition in {None, part.partition}
    ]
    if not parts:
        raise OffsetRangeError(f"no topic of {', '.join(topics)} has a partition {partition}")
    async with reading.assigned(settings, parts) as consumer:
        begins: dict[TopicPartition, int] = await consumer.beginning_offsets(parts)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(parts)
        first = await _offsets(consumer, start, begins, ends)
        last = await _offsets(consumer, end, begins, ends)
    gone = [part for part in parts if first[part] < begins[part] and first[part] < last[part]]
    if gone:
        kept = ", ".join(f"{part.topic}/{part.partition} from {begins[part]}" for part in gone)
        raise OffsetRangeError(
            f"the offsets from {start} on are not all kept any more (retention): there is {kept}; "
            "begin there, or with earliest"
        )
    ranges = [
        OffsetRange(part, first[part], min(last[part], ends[part]))
        for part in parts
        if first[part] < min(last[part], ends[part])
    ]
    if not ranges:
        raise OffsetRangeError(
            f"nothing lies from {start} to before {end} on {', '.join(topics)}; "
            "`headrace topics list` shows what they hold"
        )
    return ranges


async def _offsets(
    consumer: Any,
    place: Start,
    begins: dict[TopicPartition, int],
    ends: dict[TopicPartition, int],
) -> dict[TopicPartition, int]:
    if place == "earliest":
        return begins
    if place == "latest":
        return ends
    if isinstance(place, datetime):
        asked = dict.fromkeys(ends, int(place.timestamp() * 1000))
        found = await consumer.offsets_for_times(asked)
        return {part: found[part].offset if found[part] else end for part, end in ends.items()}
    return dict.fromkeys(ends, int(place))
