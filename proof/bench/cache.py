"""`headrace bench cache`: what the result cache brings at shares of repeats, and what it may not.

On and off take turns on the same questions. A repeat that comes while its first copy
still waits joins that pass, with or without a cache (`shared`); lanes hold few requests
here, so that most repeats come later, as in a live feed.
"""

from __future__ import annotations

import random
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from proof.bench import answers, facts, texts
from proof.bench.answers import Seen
from proof.bench.kernel import Round, replay
from proof.bench.rounds import compared, median
from proof.bench.stand import Say, Stand, request, stand, tiny
from proof.bench.texts import Question

SHARES: Final = (0.0, 0.2, 0.5)
CACHE_MB: Final = 64
SMALL_MB: Final = 4
"""Of the test of the bound: some 8,000 answers."""
IN_FLIGHT: Final = 128
"""Requests that a lane holds: less than a repeat's distance, and enough to sort by length."""


async def main(
    model: Path,
    folder: Path,
    say: Say,
    *,
    feed: Path | None = None,
    limit: int = 3_000,
    rounds: int = 1,
) -> dict[str, Any]:
    """Measure in the empty `folder`; the figures, as `headrace bench cache` prints them."""
    rows = []
    async with stand(folder, say) as where:
        await where.announce(model)
        for place, share in enumerate(SHARES):
            fresh = texts.questions(feed, limit, skip=limit * place)
            asked = list(texts.with_repeats(fresh, share, random.Random(texts.SEED)))
            rows.append(await _compare(where, share, asked, rounds, say))
        await where.announce(tiny(folder))
        memory = await _bound(where, limit * 10, say)
    without_repeats = rows[0]["off_per_s"]
    for row in rows:
        row["gain"] = round(row["on_per_s"] / without_repeats, 3)
    return {
        "machine": facts.machine(),
        "texts": limit,
        "lane_in_flight": IN_FLIGHT,
        "shares": rows,
        "memory": memory,
    }


async def _compare(
    where: Stand, share: float, asked: list[Question], rounds: int, say: Say
) -> dict[str, Any]:
    off: list[Round] = []
    on: list[Round] = []
    same = different = 0
    furthest = 0.0
    for number in range(rounds):
        said: list[dict[int, Seen]] = []
        for megabytes, into in ((0, off), (CACHE_MB, on)):
            run = f"s{share}.{number}.{megabytes}"
            seen: list[Seen] = []
            environment = {
                "HEADRACE_CACHE_MB": str(megabytes),
                "HEADRACE_LANE_IN_FLIGHT": str(IN_FLIGHT),
            }
            into.append(await replay(where, run, asked, environment, into=seen))
            said.append({int(one.answer.request_id.rpartition("-")[2]): one for one in seen})
            say(f"{share:.0%} repeats, cache {megabytes} MB: {into[-1].per_s} texts/s")
        for place, one in said[0].items():
            other = said[1].get(place)
            if other is None or other.answer.label != one.answer.label:
                different += 1
                continue
            same += 1
            scores = one.answer.scores
            furthest = max(
                [furthest, *(abs(scores[name] - other.answer.scores[name]) for name in scores)]
            )
    return {
        "repeats": share,
        "off_per_s": median([one.per_s for one in off]),
        "on_per_s": median([one.per_s for one in on]),
        **compared([one.per_s for one in off], [one.per_s for one in on]),
        "cache_hits": on[-1].counters["cache_hits"],
        "shared_off": off[-1].counters["shared"],
        "shared_on": on[-1].counters["shared"],
        "same_label": same,
        "other_label": different,
        "largest_difference_of_a_score": round(furthest, 6),
        "lost": sum(one.lost for one in (*off, *on)),
        "rounds": [
            {"off": asdict(one), "on": asdict(two)} for one, two in zip(off, on, strict=True)
        ],
    }


async def _bound(where: Stand, count: int, say: Say) -> dict[str, Any]:
    """Resident memory after the cache is full, and after many more different texts."""
    asked = texts.questions(None, 1_000)
    async with (
        answers.reader(where.settings) as reader,
        where.kernel({"HEADRACE_CACHE_MB": str(SMALL_MB)}) as kernel,
    ):
        sizes = []
        for part in range(3):
            await where.publish(
                [
                    request(
                        f"fill{part}-{number}",
                        Question(f"{number} {part} {one.text}", one.target, one.ticker),
                    )
                    for number in range(count // 3)
                    for one in [asked[number % len(asked)]]
                ]
            )
            await reader.collect(count // 3)
            sizes.append(round(kernel.rss_mb(), 1))
    say(f"memory with a cache of {SMALL_MB} MB: {sizes}")
    return {
        "cache_mb": SMALL_MB,
        "different_texts": count,
        "rss_mb": sizes,
        "growth_mb": round(sizes[-1] - sizes[0], 1),
    }
