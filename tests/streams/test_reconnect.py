"""A broker that is away is not worn out by those who want it back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Final

from aiokafka.errors import KafkaError

from streams import cluster as clients
from streams.broker import EmbeddedBroker
from streams.closing import close
from streams.settings import Settings
from tests.support.topics import create, publish, until

LOOK_S: Final = 5.0
MOST: Final = 25
"""In that time by three clients: a few each while the pauses grow, then one a second each."""
BACK_S: Final = 30.0


async def test_clients_of_a_broker_that_is_away_connect_about_once_a_second_and_find_it_again(
    tmp_path: Path,
) -> None:
    broker = EmbeddedBroker(tmp_path / "broker")
    await broker.start()
    settings = Settings(data=tmp_path, bootstrap=broker.bootstrap, session_timeout_ms=2_000)
    await create(settings, "in", partitions=1)
    producer = clients.producer(settings, transactional_id="one")
    reader = clients.consumer(settings, "in", auto_offset_reset="earliest")
    member = clients.consumer(settings, "in", group_id="group", session_timeout_ms=2_000)
    for client in (producer, reader, member):
        await client.start()
    os.kill(broker.pid, signal.SIGKILL)

    async def gone() -> bool:
        return not broker.alive

    await until(gone, "the broker's end")
    tried: list[float] = []

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tried.append(asyncio.get_running_loop().time())
        writer.close()

    async def commit() -> None:
        while True:
            with contextlib.suppress(KafkaError):
                await producer.begin_transaction()
                await producer.send_and_wait("in", b"x")
                await producer.commit_transaction()
            await asyncio.sleep(0.05)

    committing = asyncio.create_task(commit())
    port = int(broker.bootstrap.rpartition(":")[2])
    async with await asyncio.start_server(hang_up, "127.0.0.1", port):
        await asyncio.sleep(LOOK_S)  # what is promised is a number within a time
    assert 0 < len(tried) <= MOST
    committing.cancel()
    await asyncio.gather(committing, return_exceptions=True)

    await broker.start()
    await publish(settings, "in", [(b"key", b"after")])
    async with asyncio.timeout(BACK_S):
        while (await reader.getone()).value != b"after":
            pass
    await close(producer, reader, member)
    await broker.stop()
