"""Task definitions on their topic: who reads them has what the trainer has."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.tasks import TASKS, Task
from streams import cluster as clients
from streams.settings import Settings
from tests.support.topics import until
from trainer import definitions


async def until_read(cluster: Settings, expected: Mapping[str, Task]) -> None:
    """A commit is answered before its markers are written: readers have it a moment later."""

    async def read() -> bool:
        return await definitions.read(cluster) == expected

    await until(read, "the definitions are read")


async def test_what_the_trainer_defines_is_what_others_read_and_the_latest_holds(
    cluster: Settings,
) -> None:
    producer = clients.producer(
        cluster, transactional_id="definitions", transaction_timeout_ms=10_000
    )
    await producer.start()
    try:
        await definitions.announce(producer, TASKS.values(), "test")
        await until_read(cluster, TASKS)
        wider = Task(name="intents", inputs="text", labels=("pay", "leave"))
        await definitions.announce(producer, [wider], "test")
        await until_read(cluster, {**TASKS, "intents": wider})
    finally:
        await producer.stop()
