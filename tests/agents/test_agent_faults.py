"""An agent under faults: after the watermark rule nothing is lost, doubled or out of order.

`finance.trends` is the witness: the update number n of a ticker must say a count of
n, so a state that lost or doubled an event shows at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from agents.runtime.failstop import EXIT_CODE
from schemas.envelope import encode
from schemas.events import KernelResult
from schemas.ids import group_id
from schemas.topics import OUTBOX, RESULTS
from streams import cluster as connect
from streams.reading import Record
from streams.settings import Settings
from tests.support import topics

pytestmark = pytest.mark.timeout(180)

NAME = "finance.trends"
PACE_S = 0.1
"""Between transactions: the feed never ends before the fault."""
PATIENCE_S = 60
CHANGELOG = f"{group_id(NAME)}-state-changelog"
START = datetime(2026, 3, 2, 8, tzinfo=UTC)


def result(ticker: str, number: int) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    event = KernelResult(
        id=f"{ticker}-{number}",
        request_id=f"q-{ticker}-{number}",
        task="sentiment",
        thread=ticker,
        label="positive",
        scores={"negative": 0.1, "neutral": 0.2, "positive": 0.7},
        model_version="1",
        precision="fp32",
        excerpt="",
        published_at=START,
    )
    return ticker.encode(), *encode(event, "kernel")


async def feed(settings: Settings, tickers: list[str], stop: asyncio.Event) -> int:
    """Publish results in transactions, as the kernel does, until told to stop.

    Some transactions are aborted. Returns how many results each ticker has.
    """
    producer = AIOKafkaProducer(**connect.connection(settings), transactional_id="test-kernel")
    await producer.start()
    number = 0
    try:
        while not stop.is_set():
            abort = number % 50 == 25
            await producer.begin_transaction()
            for step in range(1, 6):
                for ticker in tickers:
                    key, value, headers = result(ticker, -1 if abort else number + step)
                    await producer.send(RESULTS.name, value, key, headers=headers)
            if abort:
                await producer.abort_transaction()
                await publish_plainly(producer, tickers, number)
            else:
                await producer.commit_transaction()
            number += 5
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), PACE_S)
    finally:
        await producer.stop()
    return number


async def publish_plainly(producer: AIOKafkaProducer, tickers: list[str], number: int) -> None:
    """The five results that were aborted, now committed."""
    await producer.begin_transaction()
    for step in range(1, 6):
        for ticker in tickers:
            key, value, headers = result(ticker, number + step)
            await producer.send(RESULTS.name, value, key, headers=headers)
    await producer.commit_transaction()


@asynccontextmanager
async def feeding(settings: Settings, tickers: list[str]) -> AsyncIterator[Callable[[], Any]]:
    """Feeds while the block runs; calling what it gives stops that and tells the count."""
    stop = asyncio.Event()
    task = asyncio.create_task(feed(settings, tickers, stop))

    async def finish() -> int:
        stop.set()
        return await task

    try:
        yield finish
    finally:
        await finish()


def kept(records: Iterable[Record]) -> list[dict[str, Any]]:
    """What the relay would let through: nothing at or below its cause's watermark."""
    marks: dict[tuple[Any, ...], tuple[int, int]] = {}
    bodies = []
    for record in records:
        agent, topic, partition, offset, index = orjson.loads(record.header("headrace-cause") or "")
        mark = (record.partition, agent, topic, partition)
        if (offset, index) > marks.get(mark, (-1, -1)):
            marks[mark] = (offset, index)
            bodies.append(record.json())
    return bodies


async def counts(settings: Settings, tickers: Iterable[str]) -> dict[str, list[int]]:
    """By ticker, the counts that its updates say, in order."""
    wanted = set(tickers)
    found = defaultdict(list)
    for body in kept(await topics.read_all(settings, OUTBOX.name)):
        if body["ticker"] in wanted:
            found[body["ticker"]].append(body["windows"]["1d"]["count"])
    return found


async def reaches(settings: Settings, tickers: list[str], per_ticker: int) -> None:
    """Wait until every ticker has at least so many updates."""

    async def enough() -> bool:
        found = await counts(settings, tickers)
        return all(len(found[ticker]) >= per_ticker for ticker in tickers)

    await topics.until(enough, f"{per_ticker} updates for each ticker", PATIENCE_S)


async def goes_on(settings: Settings, tickers: list[str]) -> None:
    """Wait until there are 30 more updates of each ticker than now."""
    found = await counts(settings, tickers)
    await reaches(settings, tickers, 30 + max((len(said) for said in found.values()), default=0))


async def assert_exact(settings: Settings, tickers: list[str], per_ticker: int) -> None:
    for ticker, said in (await counts(settings, tickers)).items():
        assert said == list(range(1, per_ticker + 1)), ticker


async def committed_to_the_end(settings: Settings) -> None:
    admin: AIOKafkaAdminClient = connect.admin(settings)
    consumer = connect.consumer(settings)
    await admin.start()
    await consumer.start()
    try:

        async def at_end() -> bool:
            offsets = await admin.list_consumer_group_offsets(group_id(NAME))
            tps = [TopicPartition(RESULTS.name, number) for number in range(settings.partitions)]
            ends = await consumer.end_offsets(tps)
            return all(
                end == 0 or (tp in offsets and offsets[tp].offset == end)
                for tp, end in ends.items()
            )

        await topics.until(at_end, "the committed offsets are at the end", 20)
    finally:
        await admin.close()
        await consumer.stop()


async def test_state_survives_restart_and_offsets_reach_the_end_past_transaction_markers(
    cluster: Settings, start: Callable[..., Any]
) -> None:
    tickers = [f"A{number}" for number in range(6)]
    worker = start(cluster, NAME)
    async with feeding(cluster, tickers) as finish:
        await goes_on(cluster, tickers)
        await is_written_more_than_once(cluster, "A0")
        first = await finish()
    await reaches(cluster, tickers, first)
    await committed_to_the_end(cluster)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0

    older = await write_late_state(cluster, "A0")
    start(cluster, NAME)

    async def repaired() -> bool:
        return await last_state_offset(cluster, "A0") > older

    await topics.until(repaired, "the newer state is written again", PATIENCE_S)
    async with feeding(cluster, tickers) as finish:
        await goes_on(cluster, tickers)
        second = await finish()
    await reaches(cluster, tickers, first + second)
    await assert_exact(cluster, tickers, first + second)


async def states(settings: Settings, ticker: str) -> list[Record]:
    """The changelog's records of a ticker."""
    found = await topics.read_all(settings, CHANGELOG)
    return [record for record in found if record.key == ticker.encode()]


async def is_written_more_than_once(settings: Settings, ticker: str) -> None:
    """Wait until the changelog holds two states: only then is one of them the older one."""

    async def twice() -> bool:
        return len({record.json()[0] for record in await states(settings, ticker)}) > 1

    await topics.until(twice, f"two states of {ticker}", PATIENCE_S)


async def last_state_offset(settings: Settings, ticker: str) -> int:
    """Source offset of the last state of a ticker on the changelog."""
    return int((await states(settings, ticker))[-1].json()[0])


async def write_late_state(settings: Settings, ticker: str) -> int:
    """Append a ticker's first state after its last, as a zombie that wakes up can."""
    first = (await states(settings, ticker))[0]
    producer = connect.producer(settings)
    await producer.start()
    try:
        await producer.send_and_wait(CHANGELOG, first.value, first.key, partition=first.partition)
    finally:
        await producer.stop()
    newer = (await states(settings, ticker))[-2].json()[0]
    older = await last_state_offset(settings, ticker)
    assert older == first.json()[0] < newer
    return older


async def test_workers_that_are_killed_or_come_and_go_lose_and_double_nothing(
    cluster: Settings, start: Callable[..., Any]
) -> None:
    tickers = [f"B{number}" for number in range(6)]
    worker = start(cluster, NAME)
    async with feeding(cluster, tickers) as finish:
        await goes_on(cluster, tickers)
        worker.kill()
        worker.wait()
        worker = start(cluster, NAME)
        await goes_on(cluster, tickers)
        start(cluster, NAME)
        await goes_on(cluster, tickers)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 60) == 0
        await goes_on(cluster, tickers)
        count = await finish()
    await reaches(cluster, tickers, count)
    await assert_exact(cluster, tickers, count)


async def test_a_zombie_that_wakes_up_harms_nothing_even_after_the_owner_restarts(
    cluster: Settings, start: Callable[..., Any]
) -> None:
    tickers = [f"C{number}" for number in range(6)]
    zombie = start(cluster, NAME)
    async with feeding(cluster, tickers) as finish:
        await goes_on(cluster, tickers)
        zombie.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        owner = start(cluster, NAME)
        await goes_on(cluster, tickers)
        assert time.monotonic() - stopped > cluster.session_timeout_ms / 1000

        zombie.send_signal(signal.SIGCONT)
        await asyncio.to_thread(zombie.wait, 60)
        assert zombie.returncode == EXIT_CODE
        owner.kill()
        owner.wait()
        start(cluster, NAME)
        await goes_on(cluster, tickers)
        count = await finish()
    await reaches(cluster, tickers, count)
    await assert_exact(cluster, tickers, count)
