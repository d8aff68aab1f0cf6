"""How far each service is behind: committed offset, end and lag of every partition it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from schemas.ids import group_id
from schemas.services import CONSOLE, NOTIFY, ROLLOUT, SERVICES
from schemas.topics import MODELS
from streams import cluster, reading
from streams.committed import committed, patiently
from streams.settings import Settings

_WITHOUT_A_GROUP: Final = (CONSOLE, NOTIFY, ROLLOUT)
"""They read what they need, from where they need it. `notify` runs only where a target is
configured: it has lag from its first commit on."""
_COUNT_BELOW: Final = 200
"""A lag this small is counted record by record: it may be transaction markers alone."""


@dataclass(frozen=True, slots=True)
class Lag:
    """Where a group stands in one partition.

    `lag` counts records that a read_committed reader has still to see; the marker of a
    transaction takes an offset but is no record. Above a few hundred it is the difference
    of the offsets. `committed` is None where the group has committed nothing yet: then the
    whole partition is before it.
    """

    group: str
    topic: str
    partition: int
    committed: int | None
    end: int
    lag: int


async def lags(
    settings: Settings, *, exact: bool = True, of: Mapping[str, Sequence[str]] | None = None
) -> list[Lag]:
    """Lag of every service in every partition that it reads by a group, and of other groups.

    `of` names groups to look at, and the topics that each reads. Without `exact`, `lag` is the
    difference of the offsets throughout.
    """
    admin = cluster.admin(settings)
    await admin.start()
    try:
        parts = {
            str(topic["topic"]): [
                TopicPartition(topic["topic"], part["partition"]) for part in topic["partitions"]
            ]
            for topic in await admin.describe_topics()
        }
        standing: dict[str, dict[TopicPartition, int | None]] = {
            name: {part: None for topic in topics for part in parts.get(topic, [])}
            for name, topics in (_readers() if of is None else of).items()
        }
        for name in await _groups(admin) if of is None else of:
            standing.setdefault(name, {}).update(
                {
                    part: int(found.offset)
                    for part, found in (await committed(admin, name)).items()
                    if part.topic in parts
                }
            )
    finally:
        await admin.close()
    return await _measure(settings, standing, exact=exact)


async def _groups(admin: AIOKafkaAdminClient) -> list[str]:
    """Headrace's groups that there are."""
    found = [str(name) for name, *_ in await patiently(admin.list_consumer_groups)]
    return sorted(name for name in found if name.startswith(group_id("")))


def _readers() -> dict[str, list[str]]:
    """Topics that each service reads by its group; everybody reads the registry whole."""
    return {
        group_id(service.name): [topic.name for topic in service.reads if topic is not MODELS]
        for service in SERVICES.values()
        if service not in _WITHOUT_A_GROUP
    }


async def _measure(
    settings: Settings, committed: dict[str, dict[TopicPartition, int | None]], *, exact: bool
) -> list[Lag]:
    parts = sorted({part for offsets in committed.values() for part in offsets})
    if not parts:
        return []
    rows = []
    async with reading.assigned(settings, parts) as consumer:
        consumer.pause(*parts)
        begins: dict[TopicPartition, int] = await consumer.beginning_offsets(parts)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(parts)
        for group, offsets in committed.items():
            starts = {part: begins[part] if at is None else at for part, at in offsets.items()}
            gaps = {part: max(ends[part] - at, 0) for part, at in starts.items()}
            unsure = [part for part, gap in gaps.items() if exact and 0 < gap <= _COUNT_BELOW]
            for part in unsure:
                consumer.seek(part, starts[part])
                gaps[part] = 0
            consumer.resume(*unsure)
            async for record in reading.up_to(consumer, unsure, ends):
                gaps[TopicPartition(record.topic, record.partition)] += 1
            consumer.pause(*unsure)
            rows += [
                Lag(group, part.topic, part.partition, at, ends[part], gaps[part])
                for part, at in sorted(offsets.items())
            ]
    return rows
