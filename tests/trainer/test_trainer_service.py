"""The trainer service over a real broker: labels in, a live version out, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kernel import artefact, registry
from kernel.drivers.classifier import Classifier
from kernel.registry import Registry
from schemas.topics import LABELS
from streams.settings import Settings
from tests.support.easy_labels import easy_rows, publish_labels
from tests.support.topics import publish, read_all, until
from trainer import progress, runs
from trainer.service import serve

WITHIN_S = 240
"""For machines that do other things besides; alone on two cores it takes some 30 s."""


@pytest.fixture
def settings(cluster: Settings, quick_recipe: Path) -> Settings:
    return cluster.model_copy(
        update={"recipe": str(quick_recipe), "train_settle_s": 0.5, "train_idle_s": 2.0}
    )


@asynccontextmanager
async def trainer(settings: Settings) -> AsyncIterator[None]:
    """The service; on the way out it and its training process end."""
    task = asyncio.create_task(serve(settings))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def status(settings: Settings) -> progress.Status | None:
    path = runs.folder(settings.data) / runs.CURRENT
    return await asyncio.to_thread(progress.read, path)


async def versions(settings: Settings) -> Registry:
    return await registry.read(settings)


async def test_labels_become_a_live_version_though_the_store_was_away_and_two_trainers_started(
    settings: Settings, tmp_path: Path
) -> None:
    store = Path(settings.models)
    store.write_text("a file where the store's folder should be")  # noqa: ASYNC240
    await publish(settings, LABELS.name, [(b"bad", b"{not json")])
    await publish_labels(settings, easy_rows())
    async with trainer(settings), trainer(settings):
        built = runs.folder(settings.data)
        await until(lambda: _any(built, f"*/{runs.OUTCOME}"), "a trained version", WITHIN_S)
        store.unlink()  # noqa: ASYNC240
        status_done = await until(lambda: _done(settings), "the run is done", WITHIN_S)

    live = (await versions(settings)).live("sentiment")
    assert live is not None
    assert live.version == status_done.version
    assert len((await versions(settings)).versions) == 1
    assert "beats the majority label's" in live.reason

    folder = artefact.fetch(live.artefact, live.digest, tmp_path)
    driver = Classifier.load(folder)
    scores = driver.probabilities(
        driver.tokenize(["Kelmont shares plunge on weak sales"], ["Kelmont"])
    )
    assert driver.labels[scores[0].argmax()] == "negative"
    manifest = artefact.read(folder)
    assert manifest.agreement["fp32"] >= 0.999
    assert {
        "card.md",
        "checkpoint/model.safetensors",
        "checkpoint/head.safetensors",
        "model.int8.onnx",
    } <= set(manifest.files)

    letters = await read_all(settings, "dead-letters")
    assert [letter.json()["error_class"] for letter in letters] == ["not-json"]
    record = await asyncio.to_thread(runs.load, built / live.version)
    assert sum(one.end - one.start for one in record.ranges) == len(easy_rows()) + 1


async def test_a_trainer_ended_in_the_middle_goes_on_with_the_same_version(
    settings: Settings,
) -> None:
    before = await versions(settings)
    async with trainer(settings):
        await publish(settings, LABELS.name, [(easy_rows()[0].id.encode(), None)])
        begun = await until(lambda: _training(settings, 8), "training", WITHIN_S)
    async with trainer(settings):
        done = await until(lambda: _done(settings), "the run is done", WITHIN_S)

    assert done.version == begun.version
    verdict = (await versions(settings)).versions[f"sentiment/{done.version}"]
    live = (await versions(settings)).live("sentiment")
    # The live version knows these rows by heart: there is nothing to be better at.
    assert live == before.live("sentiment")
    assert verdict.state == "refused"
    assert "does not beat the live version's" in verdict.reason


async def test_labels_that_cannot_be_learned_from_are_passed_and_the_next_ones_are_not(
    settings: Settings,
) -> None:
    ids = [row.id for row in easy_rows()]
    async with trainer(settings):
        await publish(settings, LABELS.name, [(name.encode(), None) for name in ids])
        failed = await until(lambda: _failed(settings), "the run fails", WITHIN_S)
    assert "publish 4 more of 'negative'" in failed.message


async def _done(settings: Settings) -> progress.Status | None:
    found = await status(settings)
    return found if found is not None and found.phase == "done" else None


async def _failed(settings: Settings) -> progress.Status | None:
    found = await status(settings)
    return found if found is not None and found.phase == "failed" else None


async def _training(settings: Settings, step: int) -> progress.Status | None:
    found = await status(settings)
    return found if found is not None and found.phase == "training" and found.step > step else None


async def _any(folder: Path, pattern: str) -> bool:
    return bool(await asyncio.to_thread(lambda: list(folder.glob(pattern))))
