"""`headrace bench transactions`: what exactly once costs, in the same run.

The subject is the kernel as it is; what it is compared with is the same kernel whose
lanes commit without transactions (`proof.bench.plain_kernel`). They take turns on one
broker, each round on texts of its own, once with the real model and once with one of
no cost, which shows what the lanes alone can carry.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka.structs import TopicPartition

from kernel.service import SERVICE
from proof.bench import facts, plain_kernel, texts
from proof.bench.kernel import Round, Wanted, replay
from proof.bench.rounds import alternated, compared, median
from proof.bench.stand import Say, Stand, stand, tiny
from schemas.ids import group_id
from schemas.topics import REQUESTS
from streams import cluster
from streams.reading import partitions

BOUND: Final = 0.93


async def main(
    model: Path,
    folder: Path,
    say: Say,
    *,
    feed: Path | None = None,
    limit: int = 4_000,
    light_limit: int = 20_000,
    rounds: int = 3,
    precision: Wanted = "auto",
) -> dict[str, Any]:
    """Measure in the empty `folder`; the figures, as `headrace bench transactions` prints them."""
    async with stand(folder, say) as where:
        await where.announce(model)
        real = await _compare(_Part(where, "real", say, feed, limit, precision), rounds)
        await where.announce(tiny(folder))
        light = await _compare(_Part(where, "light", say, None, light_limit, "auto"), rounds)
    return {
        "machine": facts.machine(),
        "bound": BOUND,
        "with_model": real,
        "model_of_no_cost": light,
    }


@dataclass(frozen=True)
class _Part:
    where: Stand
    name: str
    say: Say
    feed: Path | None
    limit: int
    precision: Wanted


async def _compare(part: _Part, rounds: int) -> dict[str, Any]:
    async def without(number: int) -> Round:
        return await one(2 * number, plain_kernel.GROUP, "without", plain_kernel.__name__)

    async def having(number: int) -> Round:
        return await one(2 * number + 1, group_id(SERVICE), "with", "")

    async def one(number: int, group: str, how: str, module: str) -> Round:
        await skip(part.where, group)
        asked = texts.questions(part.feed, part.limit, skip=part.limit * number)
        environment = {"HEADRACE_PRECISION": part.precision}
        run = f"{part.name}{number}"
        found = await replay(part.where, run, asked, environment, module=module)
        part.say(f"{part.name}: {how} transactions {found.per_s} texts/s")
        return found

    pairs = await alternated(rounds, without, having)
    plain, ours = [one for one, _ in pairs], [one for _, one in pairs]
    return {
        "texts": part.limit,
        "precision": ours[-1].precision,
        "without_per_s": median([one.per_s for one in plain]),
        "with_per_s": median([one.per_s for one in ours]),
        **compared([one.per_s for one in plain], [one.per_s for one in ours]),
        "lost": sum(one.lost for one in ours),
        "duplicates": sum(one.duplicates for one in ours),
        "rounds": [{"without": asdict(one), "with": asdict(two)} for one, two in pairs],
    }


async def skip(where: Stand, group: str) -> None:
    """Move the offsets of a group without members to the end of every request topic."""
    parts = await partitions(where.settings, [topic.name for topic in REQUESTS.values()])
    consumer = cluster.consumer(where.settings, group_id=group)
    consumer.assign(parts)
    await consumer.start()
    try:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(parts)
        await consumer.commit(ends)
    finally:
        await consumer.stop()
