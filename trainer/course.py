"""A course: one run of one task, from fixed offsets to the gate's verdict. It can be resumed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from kernel import registry
from schemas.events import ModelVersion
from schemas.tasks import Task
from streams.settings import Settings
from trainer import dataset, labels, recipe_files, release, runs, tasks, warm_start
from trainer.dataset import Dataset, Row
from trainer.errors import DataError, RefusedError, TrainerError
from trainer.labels import Range
from trainer.progress import Progress
from trainer.runs import Outcome, Run

log = logging.getLogger(__name__)

_CRASHES: Final = 3
"""Times that a training process may die without a word before its run is given up."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that came to its end, and the registry records of its verdict, not yet sent."""

    run: Run
    changes: list[ModelVersion] = field(default_factory=list)


async def take(
    settings: Settings,
    task: Task,
    *,
    ranges: list[Range],
    since: dict[str, int],
    records: Sequence[Any],
    announce: Callable[[ModelVersion], Awaitable[None]],
) -> Finished:
    """Train `task` on `records`, the content of `ranges`, or go on where a kill ended it.

    Raises:
        TrainerError: what may pass when tried again.
    """
    run = await asyncio.to_thread(runs.unfinished, settings.data, task.name, since)
    if run is None:
        live = (await registry.read(settings)).live(task.name)
        asked = recipe_files.load(settings.recipe, task)
        chosen = await warm_start.chosen(settings, asked, live, ranges, since)
        run = await asyncio.to_thread(runs.begin, settings.data, task, chosen, ranges, since)
    else:
        log.info("run %s goes on", run.version)
    try:
        # A resumed run may know fewer labels than were published since.
        own = records if run.ranges == ranges else await labels.read(settings, run.ranges)
        rows = dataset.latest(labels.rows(own, run.task.name))
        run = replace(run, task=tasks.with_labels(run.task, rows))
        data = dataset.build(rows, run.task, run.recipe.held_back)
        outcome = await _outcome(runs.folder(settings.data) / run.version, data)
        return await _release(settings, run, outcome, data, announce, records=own)
    except TrainerError as error:
        if not error.lasting:
            raise
        log.error("run %s is given up: %s", run.version, error)  # noqa: TRY400
        return Finished(replace(run, state="failed", reason=str(error)))


async def close(settings: Settings, finished: Finished) -> None:
    """Keep the record of a run whose verdict is committed; drop what it no longer needs."""
    run = finished.run
    folder = runs.folder(settings.data) / run.version
    await asyncio.to_thread(runs.save, settings.data, run)
    await asyncio.to_thread(runs.tidy, folder)
    progress = Progress(folder.parent / runs.CURRENT, run.version, run.task.name)
    progress.say("failed" if run.state == "failed" else "done", message=run.reason)


async def _release(
    settings: Settings,
    run: Run,
    outcome: Outcome,
    data: Dataset,
    announce: Callable[[ModelVersion], Awaitable[None]],
    *,
    records: Sequence[Any],
) -> Finished:
    """Publish and announce, then judge."""

    def until(offsets: Mapping[str, int]) -> list[Row]:
        then = labels.before(records, offsets or run.since)
        return dataset.clean(dataset.latest(labels.rows(then, run.task.name)), run.task)

    folder = runs.folder(settings.data) / run.version
    built = folder / "artefact"
    manifest, address = await release.publish(settings, built)
    version = release.candidate(manifest, address, outcome.digest)
    if run.state == "training":
        await announce(version)
        run = replace(run, state="published")
        await asyncio.to_thread(runs.save, settings.data, run)
    known = await registry.read(settings)
    new = release.Built(run.task, built, data, run.recipe.held_back, until)
    verdict = await release.judge(settings, known, new)
    log.info("%s %s: %s", run.task.name, run.version, verdict.reason)
    return Finished(
        replace(
            run,
            state="done",
            reason=verdict.reason,
            verdict=verdict,
            metrics=manifest.metrics,
        ),
        release.changes(settings, known, version, verdict),
    )


async def _outcome(folder: Path, data: Dataset) -> Outcome:
    """What the training process leaves; it is started as often as it takes.

    Raises:
        TrainerError: it said why it cannot go on, or it dies again and again.
    """
    found = await asyncio.to_thread(runs.outcome, folder)
    if found is None:
        await asyncio.to_thread(runs.save_dataset, folder, data)
    for _ in range(_CRASHES):
        if found is not None:
            break
        await _in_child(folder)
        found = await asyncio.to_thread(runs.outcome, folder)
        if found is None:
            log.warning("the process of run %s died; it goes on from its checkpoint", folder.name)
    else:
        if found is None:
            raise RefusedError(
                f"the training process died {_CRASHES} times without a word: look for it in the "
                "system's log (out of memory?), then publish one more label to try again"
            )
    if found.error:
        await asyncio.to_thread((folder / runs.OUTCOME).unlink)
        raise DataError(found.error) if found.lasting else TrainerError(found.error)
    return found


async def _in_child(folder: Path) -> None:
    """Run the training process until it ends; it goes with us, however we go."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "trainer.child", str(folder), stdin=asyncio.subprocess.PIPE
    )
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()  # its checkpoints are what the next one goes on from
            await process.wait()
