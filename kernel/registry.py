"""The registry: which version of which task is in which state, read from `kernel.models`.

The topic is compacted and has one partition: reading it from the start gives the
present, reading on gives every change, and every reader sees the same order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from kernel.routing import Route
from schemas.envelope import Position, decode
from schemas.errors import Unanswerable
from schemas.events import ModelState, ModelVersion
from schemas.ids import model_key
from schemas.topics import MODELS
from streams import cluster
from streams.closing import close
from streams.message import Message
from streams.settings import Settings

log = logging.getLogger(__name__)

_PARTITION: Final = TopicPartition(MODELS.name, 0)


class Registry:
    """The state of every version, as far as it was read."""

    def __init__(self) -> None:
        self.versions: dict[str, ModelVersion] = {}
        """By `task/version`; in order of the latest change, oldest first."""
        self.position = 0
        """Offset behind the last record that was read: it orders what two readers have seen."""

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

    def in_state(self, task: str, state: ModelState) -> list[ModelVersion]:
        """Versions of a task in one state, in order of their latest change."""
        return [version for version in self.of_task(task) if version.state == state]

    def canary(self, task: str) -> ModelVersion | None:
        """The version that answers a share of a task's keys."""
        found = self.in_state(task, "canary")
        return found[-1] if found else None

    def route(self, task: str) -> Route | None:
        """Which version answers which keys of a task; None while none is live."""
        live, canary = self.live(task), self.canary(task)
        if live is None:
            return None
        return Route(live.version, canary.version, canary.share) if canary else Route(live.version)

    def tasks(self) -> list[str]:
        """Every task that any version answers, sorted."""
        return sorted({version.task for version in self.versions.values()})


async def states(settings: Settings, *, follow: bool) -> AsyncGenerator[Registry, None]:
    """The registry as it stands now, and with `follow` again after each change; always the same.

    Records that are not model versions are logged and passed over: one bad writer must
    not stop every kernel.
    """
    known = Registry()
    consumer = cluster.consumer(settings)
    try:
        await consumer.start()
        consumer.assign([_PARTITION])
        await consumer.seek_to_beginning(_PARTITION)
        end = (await consumer.end_offsets([_PARTITION]))[_PARTITION]
        while await consumer.position(_PARTITION) < end:
            await _read_on(consumer, known)
        yield known
        while follow:
            if await _read_on(consumer, known):
                yield known
    finally:
        await close(consumer)


async def _read_on(consumer: AIOKafkaConsumer, known: Registry) -> bool:
    """Take in what has come; whether anything has."""
    records = (await consumer.getmany(timeout_ms=500)).get(_PARTITION, [])
    for record in records:
        known.position = record.offset + 1
        key = (record.key or b"").decode("utf-8", "replace")
        position = Position(record.topic, record.partition, record.offset, record.timestamp)
        try:
            known.apply(
                key,
                None
                if record.value is None
                else decode(ModelVersion, record.value, record.headers, position),
            )
        except Unanswerable as verdict:
            log.error("registry record %s passed over: %s", position, verdict.reason)  # noqa: TRY400
    return bool(records)


async def read(settings: Settings) -> Registry:
    """The registry as it stands now."""
    known = Registry()
    async for known in states(settings, follow=False):  # noqa: B007  (once)
        pass
    return known


async def announce(
    producer: AIOKafkaProducer, versions: Iterable[ModelVersion], service: str
) -> None:
    """Write changes in order; give a producer in a transaction to make them one step."""
    deliveries = []
    for version in versions:
        key = model_key(version.task, version.version).encode()
        message = Message.of(MODELS, key, version, service)
        delivery = await message.send(producer)
        delivery.add_done_callback(_seen)  # where the next send fails, nobody asks for it
        deliveries.append(delivery)
    await asyncio.gather(*deliveries)


def _seen(delivery: asyncio.Future[Any]) -> None:
    if not delivery.cancelled():
        delivery.exception()


def moved(
    version: ModelVersion, state: ModelState, reason: str, *, share: float = 0.0, held: bool = False
) -> ModelVersion:
    """`version` in another state, now."""
    return msgspec.structs.replace(
        version, state=state, reason=reason, changed_at=datetime.now(UTC), share=share, held=held
    )


def promotion(registry: Registry, version: ModelVersion, reason: str) -> list[ModelVersion]:
    """The changes that make `version` live: it, then the retiring of what was.

    In this order a reader between the two sees two live versions, of which the
    later one counts, and never none.
    """
    retired = [
        moved(other, "retired", f"replaced by {version.version}")
        for other in registry.in_state(version.task, "live")
        if other.version != version.version
    ]
    return [moved(version, "live", reason), *retired]


def passed(
    settings: Settings, registry: Registry, version: ModelVersion, reason: str
) -> list[ModelVersion]:
    """The changes for a version that has passed the gate, which `reason` tells of.

    The first version of a task goes live at once; a later one goes into shadow, from where the
    roll-out takes it on, and takes the place of one that waits there. With
    `rollout = "direct"` every one goes live at once.
    """
    if settings.rollout == "direct" or registry.live(version.task) is None:
        return promotion(registry, version, reason)
    superseded = [
        moved(other, "refused", f"{version.version} came before its turn")
        for other in registry.in_state(version.task, "shadow")
        if other.version != version.version and not other.held
    ]
    return [moved(version, "shadow", reason), *superseded]
