"""A broker that was killed: what groups had committed is there from its first answer on.

A broker alone that starts after a kill finds itself leader in its own metadata, is fenced and
elected anew. Kafka (4.2 to 4.4) then loads the offsets of groups twice at once, and takes the end
of the first loading for the end of the second: who asks is told that nothing was committed.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Final

from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streams import cluster as clients
from streams.broker import EmbeddedBroker
from streams.committed import committed
from streams.settings import Settings
from tests.support.topics import create, until

PARTS: Final = [TopicPartition("in", number) for number in range(50)]
GROUPS: Final = [f"group-{number}" for number in range(8)]
COMMITS: Final = 200
STARTS: Final = "Starting controller"
LOADED: Final = re.compile(r"Scheduling loading of metadata from (__consumer_offsets-\d+)")


async def commit(settings: Settings, group: str) -> None:
    """Commit in every partition, again and again: the offsets' topic takes a while to be read."""
    consumer = clients.consumer(settings, group_id=group)
    consumer.assign(PARTS)
    await consumer.start()
    try:
        for number in range(1, COMMITS + 1):
            await consumer.commit({part: OffsetAndMetadata(number, "") for part in PARTS})
    finally:
        await consumer.stop()


async def told(settings: Settings, group: str) -> dict[TopicPartition, int]:
    """What the first answer says that the group has committed."""
    while True:
        admin = clients.admin(settings)
        try:
            await admin.start()
            found = await committed(admin, group, PARTS)
            return {part: one.offset for part, one in found.items()}
        except KafkaError:
            await asyncio.sleep(0.05)
        finally:
            await admin.close()


async def test_offsets_committed_before_a_kill_are_told_from_the_first_answer_on(
    tmp_path: Path,
) -> None:
    broker = EmbeddedBroker(tmp_path / "broker")
    async with broker:
        settings = Settings(data=tmp_path, bootstrap=broker.bootstrap)
        await create(settings, "in", partitions=len(PARTS))
        await asyncio.gather(*(commit(settings, group) for group in GROUPS))

        async def gone() -> bool:
            return not broker.alive

        os.kill(broker.pid, signal.SIGKILL)
        await until(gone, "the broker is gone")

        asking = [asyncio.create_task(told(settings, group)) for group in GROUPS]
        await broker.start()
        assert broker.bootstrap == settings.bootstrap
        async with asyncio.timeout(60):
            assert await asyncio.gather(*asking) == [dict.fromkeys(PARTS, COMMITS)] * len(GROUPS)

        last_start = broker.log.read_text("utf-8", "replace").rpartition(STARTS)[2]
        loads = Counter(LOADED.findall(last_start))
        assert set(loads.values()) == {1}, "the broker that answers reads the offsets once"
