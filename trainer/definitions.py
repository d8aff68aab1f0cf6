"""Task definitions on the bus: the trainer says what it learns, everybody else reads it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

from schemas.envelope import Position, decode
from schemas.events import TaskDefinition
from schemas.tasks import Task
from schemas.topics import TASK_DEFINITIONS
from streams.message import Message
from streams.reading import read as read_topic
from streams.settings import Settings


async def announce(producer: AIOKafkaProducer, tasks: Iterable[Task], service: str) -> None:
    """Say what each of `tasks` is, in one transaction of `producer`."""
    now = datetime.now(UTC)
    async with producer.transaction():
        for task in tasks:
            said = TaskDefinition(id=task.name, task=task, defined_at=now)
            message = Message.of(TASK_DEFINITIONS, task.name.encode(), said, service)
            await (await message.send(producer))


async def read(settings: Settings) -> dict[str, Task]:
    """The tasks as last defined, by name."""
    found: dict[str, Task] = {}
    async for record in read_topic(settings, [TASK_DEFINITIONS.name]):
        if record.value is not None:
            position = Position(record.topic, record.partition, record.offset, record.timestamp_ms)
            definition = decode(TaskDefinition, record.value, record.headers, position)
            found[definition.task.name] = definition.task
    return found
