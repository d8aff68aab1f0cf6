"""Warm starts: the next version goes on from the weights of the one that answers now.

A version that is trained anew on a few more labels differs from the last one by chance as much
as by what it learned: on some hundred held-back rows the gate cannot tell the two apart, and
refuses. One that goes on from the live weights changes what the new labels change, and is
ready in a fraction of the time. All rows that stand are learned again beside the new ones, at
a lower rate and for fewer epochs, so that nothing is forgotten (rehearsal; Robins, 1995). Warm
starts can cost accuracy where many labels have come (Ash and Adams, 2020, "On warm-starting
neural network training"): then a version is trained from the backbone again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from kernel import artefact
from kernel.artefact import ArtefactError
from schemas.events import ModelVersion
from streams.settings import Settings
from trainer import release
from trainer.backbone import CHECKPOINT
from trainer.labels import Range
from trainer.recipe import Recipe

log = logging.getLogger(__name__)


async def chosen(
    settings: Settings,
    recipe: Recipe,
    live: ModelVersion | None,
    ranges: Sequence[Range],
    since: Mapping[str, int],
) -> Recipe:
    """The recipe of the next version: on from the live one, where `recipe` asks for it.

    It does so from a version that a trainer made from labels as this recipe would, so that no
    held-back text was learned from, unless most labels of `ranges` came after `since`.
    """
    known = sum(one.end - one.start for one in ranges)
    new = sum(one.end - since.get(str(one.partition), one.start) for one in ranges)
    if live is None or recipe.warm_epochs == 0 or 2 * new > known:
        return recipe
    try:
        folder = await asyncio.to_thread(release.fetched, settings, live)
    except ArtefactError as error:
        log.warning("%s does not go on from %s: %s", live.task, live.version, error)
        return recipe
    manifest = artefact.read(folder)
    alike = (manifest.held_back, manifest.marking, manifest.max_tokens) == (
        recipe.held_back,
        recipe.marking,
        recipe.max_tokens,
    )
    if not alike or not (folder / CHECKPOINT).is_dir():
        return recipe
    return replace(
        recipe,
        start=str(folder),
        epochs=recipe.warm_epochs,
        max_steps=-1,
        learning_rate=recipe.learning_rate * recipe.warm_rate,
        head_learning_rate=recipe.head_learning_rate * recipe.warm_rate,
    )
