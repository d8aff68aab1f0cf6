"""`headrace bench agents`: how fast each agent is, one process each, over a preloaded topic.

The rate is between the first tenth and the last of what the agent says, by the end
offsets of the topic to which it says it; so its start is left out and its checkpoints,
changelog and deliveries are in it. Per core is by the CPU time of its process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from agents.finance.reader import Reader
from agents.finance.trends import Trends
from proof import tiny_model
from proof.bench import facts, texts
from proof.bench.rounds import median
from proof.bench.stand import Say, Service, Stand, stand
from proof.bench.texts import Question
from schemas.events import Cause, FeedEvent, KernelResult
from schemas.ids import result_id
from schemas.tasks import SENTIMENT
from schemas.topics import FEED_EVENTS, OUTBOX, REQUESTS, RESULTS, Topic
from streams import reading
from streams.message import Message

BOUNDS: Final = {Reader.name: 8_000, Trends.name: 5_000}
"""Events a second: of the reader's process, and of a core that trends has."""
_BEGAN: Final = datetime(2026, 3, 2, 7, 0, tzinfo=UTC)
_LOOK_S: Final = 0.1
_STALL_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Subject:
    """An agent, where its words lie, and one of the events that make it say one."""

    name: str
    says: Topic
    event: Callable[[str, int, Question], Message]


def feed_event(run: str, number: int, asked: Question) -> Message:
    """An event of a feed, about one company."""
    event = FeedEvent(
        id=f"{run}-{number}",
        text=asked.text,
        tickers=[asked.ticker],
        source="bench",
        published_at=_BEGAN + timedelta(seconds=number / 100),
    )
    return Message.of(FEED_EVENTS, event.id.encode(), event, "bench")


def result(run: str, number: int, asked: Question) -> Message:
    """A kernel's answer to such an event."""
    share = number % 100 / 100
    event = KernelResult(
        id=result_id(f"{run}-{number}"),
        request_id=f"{run}-{number}",
        task=SENTIMENT.name,
        thread=asked.ticker,
        label="neutral",
        scores=dict(zip(tiny_model.LABELS, (share / 2, 0.5, (1 - share) / 2), strict=True)),
        model_version="bench",
        precision="int8",
        excerpt=asked.text[:200],
        target=asked.target,
        published_at=_BEGAN + timedelta(seconds=number / 100),
        cause=Cause(Reader.name, FEED_EVENTS.name, 0, number, 0),
    )
    return Message.of(RESULTS, asked.ticker.encode(), event, "bench")


SUBJECTS: Final = (
    Subject(Reader.name, REQUESTS["standard"], feed_event),
    Subject(Trends.name, OUTBOX, result),
)


async def main(folder: Path, say: Say, *, limit: int = 40_000, rounds: int = 2) -> dict[str, Any]:
    """Measure in the empty `folder`; the figures, as `headrace bench agents` prints them."""
    asked = texts.questions(None, min(limit, 5_000))
    found = {}
    async with stand(folder, say) as where:
        for subject in SUBJECTS:
            runs = []
            for number in range(rounds):
                run = f"{subject.name}.{number}"
                events = [
                    subject.event(run, place, asked[place % len(asked)]) for place in range(limit)
                ]
                runs.append(await _measure(where, subject, events))
                say(f"{subject.name}: {runs[-1]}")
            found[subject.name] = {
                "bound": BOUNDS[subject.name],
                "per_s": median([one["per_s"] for one in runs]),
                "per_core_s": median([one["per_core_s"] for one in runs]),
                "cores": round(sum(one["cores"] for one in runs) / len(runs), 2),
                "broker_us_per_event": median([one["broker_us_per_event"] for one in runs]),
                "rss_mb": max(one["rss_mb"] for one in runs),
                "runs": runs,
            }
    return {"machine": facts.machine(), "events": limit, "agents": found}


async def _measure(where: Stand, subject: Subject, events: list[Message]) -> dict[str, Any]:
    await where.publish(events)
    parts = await reading.partitions(where.settings, [subject.says.name])
    async with reading.assigned(where.settings, parts) as consumer:

        async def said() -> int:
            return sum((await consumer.end_offsets(parts)).values())

        before = await said()
        async with where.service("agent", subject.name) as agent:
            samples = [(time.monotonic(), 0, agent.cpu_s(), where.broker_cpu_s())]
            while samples[-1][1] < len(events) and _moves(samples, agent):
                await asyncio.sleep(_LOOK_S)
                now = time.monotonic()
                samples.append((now, await said() - before, agent.cpu_s(), where.broker_cpu_s()))
            rss = agent.rss_mb()
    return {**_rates(samples, len(events)), "rss_mb": round(rss, 1), "said": samples[-1][1]}


Sample = tuple[float, int, float, float]
"""When, how much was said, and the CPU time of the agent and of the broker until then."""


def _moves(samples: list[Sample], agent: Service) -> bool:
    since = next(one[0] for one in samples if one[1] == samples[-1][1])
    return samples[-1][0] - since < _STALL_S and agent.pid > 0


def _rates(samples: list[Sample], count: int) -> dict[str, float]:
    began = next((one for one in samples if one[1] >= count / 10), samples[0])
    ended = next((one for one in samples if one[1] >= count * 9 / 10), samples[-1])
    events = ended[1] - began[1]
    seconds, cpu_s, broker_s = (ended[place] - began[place] for place in (0, 2, 3))
    if not events or not seconds or not cpu_s:
        return dict.fromkeys(("per_s", "per_core_s", "cores", "broker_us_per_event"), 0.0)
    return {
        "per_s": round(events / seconds, 1),
        "per_core_s": round(events / cpu_s, 1),
        "cores": round(cpu_s / seconds, 2),
        "broker_us_per_event": round(broker_s / events * 1e6, 1),
    }
