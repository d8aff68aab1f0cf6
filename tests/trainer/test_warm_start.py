"""The next version goes on from the live one, where nothing speaks against it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from schemas.events import ModelVersion
from schemas.tasks import SENTIMENT
from schemas.topics import LABELS
from streams.settings import Settings
from tests.support.easy_labels import NAMES, easy_rows
from tests.support.tiny_backbone import quick, tiny_backbone
from tests.support.versions import announced, make
from trainer import dataset, evidence, release, warm_start
from trainer.build import Built
from trainer.dataset import Row
from trainer.labels import Range
from trainer.recipe import Recipe

KNOWN = easy_rows()
NEW = "paints its lorries"
"""What the live version has never read, and people say is negative."""
TOLD = [*KNOWN, *(Row(f"{name} {NEW}", f"{name} {NEW}", name, "negative") for name in NAMES)]
RANGES = [Range(LABELS.name, 0, 0, 100)]
SINCE = {"0": 90}


@dataclass(frozen=True)
class Live:
    """A version that answers, from the store of `settings`."""

    settings: Settings
    recipe: Recipe
    version: ModelVersion


def made(folder: Path, recipe: Recipe, rows: list[Row], *, until: dict[str, int]) -> Built:
    return make(folder, recipe, dataset.build(rows, SENTIMENT, recipe.held_back), until)


def published(settings: Settings, built: Built) -> ModelVersion:
    _, address = asyncio.run(release.publish(settings, built.folder))
    return announced(built, address)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Live:
    folder = tmp_path_factory.mktemp("warm")
    settings = Settings(data=folder)
    texts = [row.text for row in TOLD]
    recipe = replace(
        quick(tiny_backbone(folder / "backbone", texts), max_steps=120), warm_epochs=4.0
    )
    built = made(folder / "first", recipe, KNOWN, until={"0": 90})
    return Live(settings, recipe, published(settings, built))


def chosen(live: Live, recipe: Recipe, *, since: dict[str, int] = SINCE) -> Recipe:
    return asyncio.run(warm_start.chosen(live.settings, recipe, live.version, RANGES, since))


def test_a_warm_version_learns_what_is_new_in_a_few_steps_and_forgets_nothing(
    live: Live, tmp_path: Path
) -> None:
    few = replace(chosen(live, live.recipe), max_steps=8)
    anew = replace(live.recipe, max_steps=8)
    held = dataset.build(TOLD, SENTIMENT, few.held_back).held_back

    def right(built: Built, rows: list[Row]) -> float:
        return float(evidence.Asked(built.folder, SENTIMENT).marks(rows).mean())

    warm = made(tmp_path / "warm", few, TOLD, until={"0": 100})
    cold = made(tmp_path / "cold", anew, TOLD, until={"0": 100})
    assert right(warm, held) > right(cold, held)
    assert right(warm, held) > 0.9
    assert right(warm, TOLD[len(KNOWN) :]) > 0.9


def test_a_warm_version_learns_at_a_lower_rate_for_fewer_epochs(live: Live) -> None:
    warm = chosen(live, replace(live.recipe, warm_rate=0.5))
    assert Path(warm.start).name == live.version.digest
    assert warm.epochs == 4.0
    assert warm.learning_rate == live.recipe.learning_rate / 2
    assert warm.head_learning_rate == live.recipe.head_learning_rate / 2


@pytest.mark.parametrize(
    "change",
    [{"warm_epochs": 0.0}, {"held_back": 0.4}, {"marking": "none"}, {"max_tokens": 16}],
    ids=str,
)
def test_another_way_of_teaching_begins_at_the_backbone(
    live: Live, change: dict[str, object]
) -> None:
    recipe = replace(live.recipe, **change)
    assert chosen(live, recipe) == recipe


def test_where_most_labels_are_new_a_version_begins_at_the_backbone(live: Live) -> None:
    assert chosen(live, live.recipe, since={"0": 40}) == live.recipe
    assert chosen(live, live.recipe, since={}) == live.recipe


def test_a_version_made_from_files_may_know_what_is_held_back_and_is_not_gone_on_from(
    live: Live, tmp_path: Path
) -> None:
    settings = Settings(data=tmp_path)
    built = made(tmp_path / "of-files", replace(live.recipe, max_steps=4), KNOWN, until={})
    other = Live(settings, live.recipe, published(settings, built))
    assert chosen(other, live.recipe) == live.recipe


def test_a_live_version_that_the_store_lost_is_not_gone_on_from(live: Live) -> None:
    gone = replace(live.version, artefact=live.version.artefact + "-gone", digest="0" * 64)
    other = Live(live.settings, live.recipe, gone)
    assert chosen(other, live.recipe) == live.recipe
