"""Task definitions on their topic: who reads them has what the trainer has."""

from __future__ import annotations

from schemas.tasks import TASKS, Task
from streams import cluster as clients
from streams.settings import Settings
from trainer import definitions


async def test_what_the_trainer_defines_is_what_others_read_and_the_latest_holds(
    cluster: Settings,
) -> None:
    producer = clients.producer(
        cluster, transactional_id="definitions", transaction_timeout_ms=10_000
    )
    await producer.start()
    try:
        await definitions.announce(producer, TASKS.values(), "test")
        assert await definitions.read(cluster) == TASKS
        wider = Task(name="intents", inputs="text", labels=("pay", "leave"))
        await definitions.announce(producer, [wider], "test")
        assert await definitions.read(cluster) == {**TASKS, "intents": wider}
    finally:
        await producer.stop()
