"""Three brokers: the leader may be killed; what was acknowledged stays and work goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest
from aiokafka.admin import NewTopic

from proof.chaos.brokers import BROKERS, Brokers
from proof.chaos.leaders import leading, whole
from proof.chaos.proxy import Proxy
from streams import cluster
from streams.settings import Settings
from tests.support import topics

TOPIC = "cluster.in"
_MEMORY = 1_200 * 1_048_576


def silent(_line: str) -> None:
    """Nobody watches a test."""


async def create(settings: Settings) -> None:
    admin = cluster.admin(settings)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, 2, BROKERS)])
    finally:
        await admin.close()


@pytest.mark.timeout(300)
async def test_a_leader_may_die_at_any_time(tmp_path: Path) -> None:
    async with Brokers(tmp_path, silent) as brokers:
        settings = Settings(bootstrap=brokers.bootstrap, partitions=2)
        await create(settings)
        await whole(settings)
        pids = [brokers.pid(node) or 0 for node in range(1, BROKERS + 1)]
        assert sum(psutil.Process(pid).memory_info().rss for pid in pids) < _MEMORY

        async with Proxy(brokers.bootstrap) as proxy:  # every one of them through it
            producer = cluster.producer(Settings(bootstrap=proxy.bootstrap))
            await producer.start()
            sent = 0
            try:
                node, _ = await leading(settings, TOPIC, 0.0)
                for number in range(200):
                    if number == 100:
                        os.kill(brokers.pid(node) or 0, signal.SIGKILL)
                    await producer.send_and_wait(TOPIC, b"%d" % number, partition=0)
                    sent += 1
            finally:
                await producer.stop()
        after, _ = await leading(settings, TOPIC, 0.0)
        assert after != node, "another one leads"
        async with asyncio.timeout(90):
            await whole(settings)  # the dead one was started again and has caught up
        values = [int(record.value or b"") for record in await topics.read_all(settings, TOPIC)]
        assert values == list(range(sent))
