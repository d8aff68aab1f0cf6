"""The trainer service: of all trainers of a cluster one works, the others stand by.

The consumer group of the labels elects: whoever is given the first partition works, on all of
them. Election only decides who tries; that two never write is decided by the producer's epoch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from aiokafka.structs import TopicPartition

from schemas.topics import LABELS
from streams.exposition import exposed
from streams.membership import heartbeat_s, membership
from streams.running import run_service
from streams.settings import Settings
from streams.watchdog import watch
from trainer import recipe_files, standstill
from trainer.counters import TrainerStats
from trainer.term import SERVICE, Term

log = logging.getLogger(__name__)

_SEAT: Final = TopicPartition(LABELS.name, 0)


def run(settings: Settings) -> None:
    """Run the trainer until SIGTERM or SIGINT.

    Raises:
        TrainerError: the settings name a recipe that there is not.
    """
    recipe_files.load(settings.recipe)
    run_service(lambda: serve(settings))


async def serve(settings: Settings) -> None:
    """Stand for election, and work while elected, until cancelled."""
    elected = asyncio.Event()

    async def own(assigned: Collection[TopicPartition]) -> None:
        if _SEAT in assigned:
            elected.set()
        else:
            elected.clear()

    async with membership(settings, SERVICE, [LABELS.name], own) as member:
        stats = TrainerStats()
        terms: list[Term] = []
        work = asyncio.create_task(_work_while(settings, elected, stats, terms))
        watching = asyncio.create_task(
            watch(
                lambda: standstill.work(settings, SERVICE, terms[-1] if terms else None),
                standstill.PATIENCE * settings.standstill_s,
            )
        )
        try:
            with exposed(settings, SERVICE, stats.samples):
                while not work.done() and not watching.done():
                    await member.beat()
                    stats.elected = elected.is_set()
                await (work if work.done() else watching)
        finally:
            for task in (work, watching):
                task.cancel()
            await asyncio.gather(work, watching, return_exceptions=True)


async def _work_while(
    settings: Settings, elected: asyncio.Event, stats: TrainerStats, terms: list[Term]
) -> None:
    """One term after another while `elected` is set, each in `terms` as long as it lasts."""
    beat_s = heartbeat_s(settings)
    while True:
        await elected.wait()
        terms[:] = [Term(settings, stats)]
        term = asyncio.create_task(terms[-1].run())
        try:
            while elected.is_set() and not term.done():
                await asyncio.wait([term], timeout=beat_s)
        finally:
            term.cancel()
            (ended,) = await asyncio.gather(term, return_exceptions=True)
            terms.clear()
        if isinstance(ended, Exception):
            log.warning("the trainer begins anew: %s: %s", type(ended).__name__, ended)
        # A trainer that was replaced must learn so before it opens again and fences its heir.
        await asyncio.sleep(beat_s)
