"""`headrace bench main`: the whole product over a feed, against the offline ceiling.

In one run: a first start teaches the starter model and answers one event; the
ceiling is measured alone; a second start replays the feed as fast as it can be
published; the ceiling is measured again. The ratio is between figures of this run.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from agents.finance.entities import STARTER
from kernel import artefact, registry
from proof.bench import ceiling, facts
from proof.bench import feed as feeds
from proof.installation import Installation
from schemas.events import FeedEvent, ModelVersion
from schemas.tasks import SENTIMENT
from schemas.topics import DEAD_LETTERS, FEED_EVENTS, RESULTS
from streams.message import Message
from streams.reading import Record

LABELS: Final = STARTER.parent / "labels.csv"
CEILING_TEXTS: Final = 6_000
STALL_S: Final = 120.0
"""No answer for this long ends the replay: what is missing then counts as lost."""

Say = Callable[[str], None]


@dataclass(slots=True)
class Tally:
    """What came back."""

    results: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    cached: int = 0
    precision: str = ""
    first_at: float = 0.0
    last_at: float = 0.0
    _seen: set[str] = field(default_factory=set)
    _last: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)

    def take(self, record: Record) -> None:
        """Count one answer; order is that of the feed, within a ticker."""
        self.last_at = time.monotonic()
        self.first_at = self.first_at or self.last_at
        body = record.json()
        name = body["id"]
        if name in self._seen:
            self.duplicates += 1
            return
        self._seen.add(name)
        if record.topic == DEAD_LETTERS.name:
            self.dead_letters += 1
            return
        self.results += 1
        self.cached += bool(body.get("cached"))
        self.precision = body["precision"]
        _, _, partition, offset, index = body["cause"]
        source = (body["thread"], partition)
        if self._last.get(source, (-1, -1)) >= (offset, index):
            self.out_of_order += 1
        self._last[source] = (offset, index)


class Memory:
    """Resident memory of the kernel and the broker, watched once a second."""

    def __init__(self, headrace: Installation) -> None:
        self._headrace = headrace
        self.kernel: list[float] = []
        self.broker: list[float] = []

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Watch while the block runs."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _watch(self) -> None:
        while True:
            for series, pid in (
                (self.kernel, self._headrace.pid("kernel")),
                (self.broker, self._headrace.broker_pid),
            ):
                if pid is not None:
                    series.append(facts.resident_mb(pid))
            await asyncio.sleep(1)

    def growth(self) -> float:
        """Share by which the kernel's last tenth lies above its second tenth."""
        tenth = max(1, len(self.kernel) // 10)
        early, late = self.kernel[tenth : 2 * tenth], self.kernel[-tenth:]
        return statistics.mean(late) / statistics.mean(early) - 1 if early else 0.0


async def main(feed: Path, limit: int | None, folder: Path, say: Say) -> dict[str, Any]:
    """Run the benchmark in the empty `folder`; the figures, as `headrace bench main` prints them.

    Raises:
        ValueError: the feed lacks a column.
        InstallationError: `headrace up` does not start.
    """
    loaded = feeds.load(feed, limit)
    say(f"{loaded.events} events cause {len(loaded.pairs)} questions; teaching the first model")
    first_verdict_s, live = await _first_start(folder)
    say(f"first verdict after {first_verdict_s:.1f} s; measuring the ceiling")
    sample = loaded.pairs[:: max(1, len(loaded.pairs) // CEILING_TEXTS)]
    model = await asyncio.to_thread(
        artefact.fetch, live.artefact, live.digest, folder / "cache" / "models"
    )
    before = await asyncio.to_thread(ceiling.measure, model, sample)
    say(f"ceiling {before.per_s} texts/s ({before.precision}); replaying")
    replay = await _replay(folder, loaded, limit, say)
    after = await asyncio.to_thread(ceiling.measure, model, sample)
    per_s_ceiling = (before.per_s + after.per_s) / 2
    return {
        "machine": facts.machine(),
        "events": loaded.events,
        "requests": len(loaded.pairs),
        **replay,
        "ceiling_per_s": round(per_s_ceiling, 1),
        "ceiling": [asdict(before), asdict(after)],
        "ratio": round(replay["per_s"] / per_s_ceiling, 3),
        "first_verdict_s": round(first_verdict_s, 1),
        "model": {"version": live.version, "metrics": live.metrics},
    }


async def _first_start(folder: Path) -> tuple[float, ModelVersion]:
    """Teach the starter model from nothing; seconds until an event was answered, and the model."""
    began = time.monotonic()
    async with Installation(folder) as headrace:
        await asyncio.to_thread(
            headrace.run, "publish", str(LABELS), "--topic", "labels.examples", "--json"
        )
        await headrace.publish([_probe("first")])
        async for _ in headrace.follow(RESULTS.name):
            break
        seconds = time.monotonic() - began
        live = (await registry.read(headrace.settings)).live(SENTIMENT.name)
    if live is None:
        raise ValueError("a verdict came, and yet no model is live")
    return seconds, live


async def _replay(folder: Path, feed: feeds.Feed, limit: int | None, say: Say) -> dict[str, Any]:
    tally = Tally()
    began = time.monotonic()
    async with Installation(folder) as headrace:
        memory = Memory(headrace)
        await headrace.publish([_probe("second")])
        answers = headrace.follow(RESULTS.name, DEAD_LETTERS.name)
        for _ in range(2):  # the probes of this start and of the first one
            await anext(answers)
        second_start_s = time.monotonic() - began
        published_from = time.monotonic()
        async with memory.watched():
            publishing = asyncio.create_task(
                asyncio.to_thread(headrace.run, *feed.publish_command(limit), timeout_s=24 * 3600.0)
            )
            await _count(answers, tally, len(feed.pairs), say)
            published = await publishing
    return {
        "results": tally.results,
        "dead_letters": tally.dead_letters,
        "lost": len(feed.pairs) - tally.results - tally.dead_letters,
        "duplicates": tally.duplicates,
        "out_of_order": tally.out_of_order,
        "cached": tally.cached,
        "publish_exit": published.returncode,
        "seconds": round(tally.last_at - published_from, 1),
        "per_s": round((tally.results + tally.dead_letters) / (tally.last_at - published_from), 1),
        "precision": tally.precision,
        "second_start_s": round(second_start_s, 1),
        "kernel_rss_mb": max(memory.kernel, default=0.0),
        "kernel_rss_growth": round(memory.growth(), 3),
        "broker_rss_mb": max(memory.broker, default=0.0),
    }


async def _count(answers: AsyncIterator[Record], tally: Tally, expected: int, say: Say) -> None:
    step = max(1, expected // 20)
    with contextlib.suppress(TimeoutError):
        while tally.results + tally.dead_letters < expected:
            tally.take(await asyncio.wait_for(anext(answers), STALL_S))
            done = tally.results + tally.dead_letters
            if done % step == 0:
                say(f"{done} of {expected} answered")


def _probe(name: str) -> Message:
    """An event that shows whether the whole way is open."""
    event = FeedEvent(id=f"probe-{name}", text="Probe of the pipeline.", tickers=["PROBE"])
    return Message.of(FEED_EVENTS, b"probe", event, "bench")
