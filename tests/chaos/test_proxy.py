"""The proxy stands between a client and a real broker, and does what its toxic says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proof.chaos.proxy import Proxy
from streams import cluster
from streams.broker import EmbeddedBroker
from streams.settings import Settings
from tests.support import topics


@asynccontextmanager
async def producer(broker: EmbeddedBroker, topic: str) -> AsyncIterator[tuple[Proxy, Any]]:
    """A producer whose every connection goes through a proxy."""
    await topics.create(Settings(bootstrap=broker.bootstrap), topic, partitions=1)
    async with Proxy(broker.bootstrap) as proxy:
        client = cluster.producer(Settings(bootstrap=proxy.bootstrap))
        await client.start()
        try:
            await client.send_and_wait(topic, b"before")
            yield proxy, client
        finally:
            proxy.set("none")
            await client.stop()


async def test_while_it_is_cut_nothing_arrives_and_afterwards_everything(
    broker: EmbeddedBroker,
) -> None:
    async with producer(broker, "proxy.cut") as (proxy, client):
        proxy.set("cut")
        delivery = await client.send("proxy.cut", b"during")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(delivery), 1)
        proxy.set("none")
        await asyncio.wait_for(delivery, 20)
    settings = Settings(bootstrap=broker.bootstrap)
    values = [record.value for record in await topics.read_all(settings, "proxy.cut")]
    assert values == [b"before", b"during"]


async def test_half_open_keeps_the_connection_and_says_nothing(broker: EmbeddedBroker) -> None:
    async with producer(broker, "proxy.half") as (proxy, client):
        proxy.set("half-open")
        delivery = await client.send("proxy.half", b"during")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(delivery), 1)
        proxy.set("none")
        assert (await asyncio.wait_for(delivery, 20)).offset == 1


async def test_a_delay_holds_back_both_ways(broker: EmbeddedBroker) -> None:
    async with producer(broker, "proxy.delay") as (proxy, client):
        proxy.set("delay", delay_s=0.2)
        began = time.monotonic()
        await client.send_and_wait("proxy.delay", b"during")
        assert time.monotonic() - began >= 0.4
