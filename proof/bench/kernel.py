"""`headrace bench kernel`: one kernel over preloaded requests, against the offline ceiling.

Each round takes texts of its own, so that no cache answers. The requests lie on their
topic before the kernel starts; the ceiling of the same texts is measured while no
kernel runs. The rate is from the first commit to the last one (`answers.rate`);
`from_open_per_s` counts from the opening of the first lane and is a lower bound.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from kernel.artefact import Precision
from proof.bench import answers, ceiling, facts, scrape, texts
from proof.bench.answers import Seen
from proof.bench.ceiling import Ceiling
from proof.bench.rounds import alternated, compared, median
from proof.bench.stand import Say, Stand, requests, stand
from proof.bench.texts import Question

Wanted = Precision | Literal["auto"]


@dataclass(frozen=True)
class Round:
    """What one kernel did with one round's texts."""

    per_s: float
    from_open_per_s: float
    seconds: float
    """From the opening of the first lane to the last commit."""
    watched_s: float
    """From the first answer to the last, as the reader saw them; CPU times are of this span."""
    cpu_s: float
    broker_cpu_s: float
    rss_mb: float
    precision: str
    cached: int
    lost: int
    duplicates: int
    out_of_order: int
    counters: dict[str, Any]


async def main(
    model: Path,
    folder: Path,
    say: Say,
    *,
    feed: Path | None = None,
    limit: int = 4_000,
    rounds: int = 3,
    precision: Wanted = "auto",
) -> dict[str, Any]:
    """Measure in the empty `folder`; the figures, as `headrace bench kernel` prints them."""
    asked = [texts.questions(feed, limit, skip=limit * number) for number in range(rounds)]
    environment = {"HEADRACE_PRECISION": precision}
    async with stand(folder, say) as where:
        await where.announce(model)

        async def first(number: int) -> Ceiling:
            pairs = [(one.text, one.target) for one in asked[number]]
            found = await asyncio.to_thread(ceiling.measure, model, pairs, precision)
            say(f"round {number + 1}: ceiling {found.per_s} texts/s ({found.precision})")
            return found

        async def second(number: int) -> Round:
            found = await replay(where, f"k{number}", asked[number], environment)
            say(f"round {number + 1}: kernel {found.per_s} texts/s")
            return found

        pairs = await alternated(rounds, first, second)
        beside = await asyncio.to_thread(
            ceiling.measure,
            model,
            [(one.text, one.target) for one in asked[-1]],
            precision,
            side_by_side=True,
        )
    ceilings, kernels = [one for one, _ in pairs], [one for _, one in pairs]
    last = kernels[-1]
    return {
        "machine": facts.machine(),
        "texts": limit,
        "mean_tokens": ceilings[0].mean_tokens,
        "precision": last.precision,
        "ceiling_per_s": median([one.per_s for one in ceilings]),
        "kernel_per_s": median([one.per_s for one in kernels]),
        **compared([one.per_s for one in ceilings], [one.per_s for one in kernels]),
        "ceiling_side_by_side_per_s": beside.per_s,
        "from_open_per_s": median([one.from_open_per_s for one in kernels]),
        **{name: last.counters[name] for name in ("padding_waste", "batches", "cache_hits")},
        "commit_ms": last.counters["commit_ms"],
        "rss_mb": max(one.rss_mb for one in kernels),
        "lost": sum(one.lost for one in kernels),
        "duplicates": sum(one.duplicates for one in kernels),
        "out_of_order": sum(one.out_of_order for one in kernels),
        "rounds": [{"ceiling": asdict(one), "kernel": asdict(two)} for one, two in pairs],
    }


async def replay(
    where: Stand,
    run: str,
    asked: list[Question],
    environment: Mapping[str, str] | None = None,
    *,
    module: str = "",
    into: list[Seen] | None = None,
) -> Round:
    """Preload questions, start a kernel, and hold it to what it answers until all is said.

    `module` is run in place of `headrace serve kernel`; answers are added to `into`.
    """
    names, messages = requests(run, asked)
    await where.publish(messages)
    given = {"HEADRACE_CACHE_MB": "0"} | dict(environment or {})
    async with (
        answers.reader(where.settings) as reader,
        where.service("kernel", environment=given, module=module) as kernel,
    ):
        seen = await reader.collect(1)
        began, cpu, broker_cpu = time.monotonic(), kernel.cpu_s(), where.broker_cpu_s()
        seen += await reader.collect(len(names) - len(seen))
        cpu, broker_cpu = kernel.cpu_s() - cpu, where.broker_cpu_s() - broker_cpu
        watched = time.monotonic() - began
        rss = kernel.rss_mb()
        readings = await kernel.readings()
        seen += await reader.rest()
        opened = min(kernel.opened(), default=0.0)
    if into is not None:
        into += seen
    count = answers.counted(names, seen)
    written = [one.written for one in seen]
    seconds = max(written) - opened if seen and opened else 0.0
    return Round(
        per_s=answers.rate(written),
        from_open_per_s=round(len(seen) / seconds, 1) if seconds else 0.0,
        seconds=round(seconds, 2),
        watched_s=round(watched, 2),
        cpu_s=round(cpu, 2),
        broker_cpu_s=round(broker_cpu, 2),
        rss_mb=round(rss, 1),
        precision=count.precision,
        cached=count.cached,
        lost=count.lost,
        duplicates=count.duplicates,
        out_of_order=count.out_of_order,
        counters=scrape.kernel_figures(readings),
    )
