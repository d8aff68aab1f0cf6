"""Reading topics as a person asks for them: from where, until where, committed records only."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams import cluster
from streams.closing import close
from streams.settings import Settings

Start = Literal["earliest", "latest"] | int | datetime
"""Where a reader begins: an end of the topic, an offset in each partition, or a time."""

STALLED_S: Final = 30.0
"""A broker that gives nothing new for this long, short of the end, does not answer."""
_POLL_MS: Final = 100


class UnknownTopicError(Exception):
    """A topic that the cluster does not have; the message says what to do."""


class StalledError(Exception):
    """The cluster stopped answering before the end was reached."""


@dataclass(frozen=True, slots=True)
class Record:
    """One committed record, byte for byte."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def time(self) -> datetime:
        """The record's own time, in UTC."""
        return datetime.fromtimestamp(max(self.timestamp_ms, 0) / 1000, UTC)

    def header(self, name: str) -> str | None:
        """Text of the last header called `name`."""
        found = dict(self.headers).get(name)
        return None if found is None else found.decode("utf-8", "replace")

    def json(self) -> Any:
        """The value parsed as JSON, or None where it is none."""
        try:
            return None if self.value is None else orjson.loads(self.value)
        except orjson.JSONDecodeError:
            return None


def parse_start(text: str) -> Start:
    """`earliest`, `latest`, an offset, or an RFC 3339 time (without an offset: UTC).

    Raises:
        ValueError: anything else.
    """
    if text == "earliest":
        return "earliest"
    if text == "latest":
        return "latest"
    if text.isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is neither earliest, latest, an offset nor a time such as "
            "2026-03-02T07:00:00Z"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def as_line(record: Record) -> dict[str, Any]:
    """The record as one JSON object.

    `value` is the parsed JSON and `encoding` says `json`; bytes that are not JSON are
    given in base64 and `encoding` says `base64`; a tombstone has null for both. A key or
    header that is not UTF-8 stands as `{"base64": ...}`; of repeated headers the last holds.
    """
    try:
        value, encoding = (
            (None, None) if record.value is None else (orjson.loads(record.value), "json")
        )
    except orjson.JSONDecodeError:
        value, encoding = base64.b64encode(record.value or b"").decode(), "base64"
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.time.isoformat(timespec="milliseconds"),
        "key": _text(record.key),
        "headers": {name: _text(content) for name, content in record.headers},
        "encoding": encoding,
        "value": value,
    }


def _text(content: bytes | None) -> str | dict[str, str] | None:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


async def partitions(settings: Settings, topics: Iterable[str]) -> list[TopicPartition]:
    """Every partition of `topics`.

    Asks for all topics and picks: a question about one that is missing would create it
    on a cluster that creates topics by itself.

    Raises:
        UnknownTopicError: the cluster has no such topic.
    """
    admin = cluster.admin(settings)
    await admin.start()
    try:
        found = {
            str(topic["topic"]): [int(part["partition"]) for part in topic["partitions"]]
            for topic in await admin.describe_topics()
        }
    finally:
        await admin.close()
    missing = [topic for topic in topics if topic not in found]
    if missing:
        raise UnknownTopicError(
            f"the cluster at {settings.bootstrap} has no topic {', '.join(missing)}; "
            "see `headrace topics list`; `headrace topics apply` makes the catalogue"
        )
    return [
        TopicPartition(topic, number)
        for topic in dict.fromkeys(topics)
        for number in sorted(found[topic])
    ]


@asynccontextmanager
async def assigned(
    settings: Settings, parts: list[TopicPartition]
) -> AsyncIterator[AIOKafkaConsumer]:
    """A started read_committed consumer that holds `parts` and no group."""
    consumer = cluster.consumer(settings)
    consumer.assign(parts)
    await consumer.start()
    try:
        yield consumer
    finally:
        await close(consumer)


async def read(
    settings: Settings,
    topics: Iterable[str],
    *,
    start: Start = "earliest",
    until_end: bool = True,
    limit: int | None = None,
    where: Callable[[Record], bool] | None = None,
) -> AsyncIterator[Record]:
    """Committed records of `topics`, in offset order within each partition.

    With `until_end` it ends at what was committed when it began, else never. `limit`
    counts the records given, after `where` has chosen.

    Raises:
        UnknownTopicError: a topic is not there.
        StalledError: the cluster went away before the end.
    """
    parts = await partitions(settings, topics)
    async with assigned(settings, parts) as consumer:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(parts)
        await _seek(consumer, parts, start, ends)
        given = 0
        records = up_to(consumer, parts, ends) if until_end else _endless(consumer, parts)
        async for record in records:
            if where is None or where(record):
                yield record
                given += 1
                if limit is not None and given >= limit:
                    return


async def at(settings: Settings, places: Iterable[tuple[str, int, int]]) -> list[Record]:
    """The committed records at these (topic, partition, offset), in the order asked.

    What the topic no longer holds, or what never was a record, is left out.

    Raises:
        StalledError: the cluster does not answer.
    """
    wanted = list(places)
    parts = sorted({TopicPartition(topic, part) for topic, part, _ in wanted})
    if not parts:
        return []
    found: dict[tuple[str, int, int], Record] = {}
    async with assigned(settings, parts) as consumer:
        begins: dict[TopicPartition, int] = await consumer.beginning_offsets(parts)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(parts)
        consumer.pause(*parts)
        for topic, number, offset in wanted:
            part = TopicPartition(topic, number)
            if not begins[part] <= offset < ends[part]:
                continue
            consumer.seek(part, offset)
            consumer.resume(part)
            async for record in up_to(consumer, [part], {part: offset + 1}):
                if record.offset == offset:
                    found[topic, number, offset] = record
            consumer.pause(part)
    return [found[place] for place in wanted if place in found]


async def _seek(
    consumer: AIOKafkaConsumer,
    parts: list[TopicPartition],
    start: Start,
    ends: dict[TopicPartition, int],
) -> None:
    begins: dict[TopicPartition, int] = await consumer.beginning_offsets(parts)
    offsets = begins
    if start == "latest":
        offsets = ends
    elif isinstance(start, datetime):
        asked = dict.fromkeys(parts, int(start.timestamp() * 1000))
        found = await consumer.offsets_for_times(asked)
        offsets = {part: found[part].offset if found[part] else ends[part] for part in parts}
    elif isinstance(start, int):
        offsets = {part: min(max(start, begins[part]), ends[part]) for part in parts}
    for part in parts:
        consumer.seek(part, offsets[part])


async def up_to(
    consumer: AIOKafkaConsumer, parts: list[TopicPartition], ends: dict[TopicPartition, int]
) -> AsyncIterator[Record]:
    """Records of `parts` from the consumer's positions up to `ends`.

    Raises:
        StalledError: nothing moved for `STALLED_S`.
    """
    clock = asyncio.get_running_loop().time
    before: list[int] = []
    moved_at = clock()
    while True:
        # The position passes transaction markers and aborted records by itself, so it
        # reaches the end even where the last record is none that a reader sees.
        now = [await consumer.position(part) for part in parts]
        behind = [part for part, at in zip(parts, now, strict=True) if at < ends[part]]
        if not behind:
            return
        if now != before:
            before, moved_at = now, clock()
        elif clock() - moved_at > STALLED_S:
            raise StalledError(
                f"no record for {STALLED_S:.0f} s before the end of {behind[0].topic}: "
                "the cluster does not answer; see `headrace doctor`"
            )
        async for record in _batch(consumer, behind):
            if record.offset < ends[TopicPartition(record.topic, record.partition)]:
                yield record


async def _endless(
    consumer: AIOKafkaConsumer, parts: list[TopicPartition]
) -> AsyncIterator[Record]:
    while True:
        async for record in _batch(consumer, parts):
            yield record


async def _batch(consumer: AIOKafkaConsumer, parts: list[TopicPartition]) -> AsyncIterator[Record]:
    for batch in (await consumer.getmany(*parts, timeout_ms=_POLL_MS)).values():
        for found in batch:
            yield Record(
                found.topic,
                found.partition,
                found.offset,
                found.timestamp,
                found.key,
                found.value,
                found.headers,
            )
