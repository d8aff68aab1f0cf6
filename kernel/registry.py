"""The registry: which version of which task is in which state, read from `kernel.models`.

The topic is compacted and has one partition: reading it from the start gives the
present, reading on gives every change, and every reader sees the same order.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from schemas.envelope import Position, decode
from schemas.errors import Unanswerable
from schemas.events import ModelState, ModelVersion
from schemas.ids import model_key
from schemas.topics import MODELS
from streams import cluster
from streams.message import Message
from streams.settings import Settings

log = logging.getLogger(__name__)

_PARTITION: Final = TopicPartition(MODELS.name, 0)


class Registry:
    """The state of every version, as far as it was read."""

    def __init__(self) -> None:
        self.versions: dict[str, ModelVersion] = {}
        """By `task/version`; in order of the latest change, oldest first."""

    def apply(self, key: str, change: ModelVersion | None) -> None:
        """Take in one record; None is a tombstone."""
        self.versions.pop(key, None)
        if change is not None:
            self.versions[key] = change

    def of_task(self, task: str) -> list[ModelVersion]:
        """Versions of a task, in order of their latest change."""
        return [version for version in self.versions.values() if version.task == task]

    def live(self, task: str) -> ModelVersion | None:
        """The version that answers a task: the one that became live last."""
        found = [version for version in self.of_task(task) if version.state == "live"]
        return found[-1] if found else None

    def tasks(self) -> list[str]:
        """Every task that any version answers, sorted."""
        return sorted({version.task for version in self.versions.values()})


async def changes(
    settings: Settings, *, follow: bool
) -> AsyncIterator[Sequence[tuple[str, ModelVersion | None]]]:
    """Batches of registry changes from the start; the first batch ends at the present.

    Without `follow` that first batch is the only one. Records that are not model
    versions are logged and passed over: one bad writer must not stop every kernel.
    """
    consumer = cluster.consumer(settings)
    await consumer.start()
    try:
        consumer.assign([_PARTITION])
        await consumer.seek_to_beginning(_PARTITION)
        end = (await consumer.end_offsets([_PARTITION]))[_PARTITION]
        present: list[tuple[str, ModelVersion | None]] = []
        while await consumer.position(_PARTITION) < end:
            present += await _next_changes(consumer)
        yield present
        while follow:
            batch = await _next_changes(consumer)
            if batch:
                yield batch
    finally:
        await consumer.stop()


async def _next_changes(
    consumer: AIOKafkaConsumer,
) -> list[tuple[str, ModelVersion | None]]:
    batch = []
    for record in (await consumer.getmany(timeout_ms=500)).get(_PARTITION, []):
        key = (record.key or b"").decode("utf-8", "replace")
        position = Position(record.topic, record.partition, record.offset, record.timestamp)
        try:
            change = (
                None
                if record.value is None
                else decode(ModelVersion, record.value, record.headers, position)
            )
        except Unanswerable as verdict:
            log.error("registry record %s passed over: %s", position, verdict.reason)  # noqa: TRY400
            continue
        batch.append((key, change))
    return batch


async def read(settings: Settings) -> Registry:
    """The registry as it stands now."""
    registry = Registry()
    async for batch in changes(settings, follow=False):
        for key, change in batch:
            registry.apply(key, change)
    return registry


async def announce(
    producer: AIOKafkaProducer, versions: Iterable[ModelVersion], service: str
) -> None:
    """Write changes in order; give a producer in a transaction to make them one step."""
    deliveries = []
    for version in versions:
        key = model_key(version.task, version.version).encode()
        message = Message.of(MODELS, key, version, service)
        deliveries.append(await message.send(producer))
    for delivery in deliveries:
        await delivery


def moved(version: ModelVersion, state: ModelState, reason: str) -> ModelVersion:
    """`version` in another state, now."""
    return msgspec.structs.replace(
        version,
        state=state,
        reason=reason,
        changed_at=datetime.now(UTC),
    )


def promotion(registry: Registry, version: ModelVersion, reason: str) -> list[ModelVersion]:
    """The changes that make `version` live: it, then the retiring of what was.

    In this order a reader between the two sees two live versions, of which the
    later one counts, and never none.
    """
    retired = [
        moved(other, "retired", f"replaced by {version.version}")
        for other in registry.of_task(version.task)
        if other.state == "live" and other.version != version.version
    ]
    return [moved(version, "live", reason), *retired]
