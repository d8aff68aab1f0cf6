"""From labels to a verdict, over real trainings of a tiny backbone: what goes live and what not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from kernel.registry import Registry
from schemas.ids import model_key
from schemas.tasks import SENTIMENT
from streams.settings import Settings
from tests.support.easy_labels import NAMES, SAYINGS
from tests.support.tiny_backbone import quick, tiny_backbone
from tests.support.versions import announced, make
from trainer import dataset, evidence, release, scoring
from trainer.build import Built
from trainer.dataset import Row
from trainer.gate import Verdict
from trainer.recipe import Recipe

STRANGE = ("recalls umbrellas", "paints its lorries", "hums a tune", "moves to the coast")
"""What the first version has never read a word of."""
UNTIL = {"0": 1}
"""Offsets of the labels that each version knew."""


def rows() -> list[Row]:
    """Easy rows, in several wordings of each."""
    found = []
    for label, sayings in SAYINGS.items():
        for name in (*NAMES, "Ivystone", "Jarrow", "Kelmont", "Lindal", "Moorgate", "Norwold"):
            for saying in sayings:
                for end in ("", " this week"):
                    text = f"{name} {saying}{end}"
                    found.append(Row(text, text, name, label))
    return found


@dataclass(frozen=True)
class World:
    """A live version, and what it takes to make and judge the next one."""

    settings: Settings
    recipe: Recipe
    live: Built
    known: Registry

    def next(self, name: str, said: list[Row]) -> tuple[Verdict, Built]:
        """The verdict on a version taught by what it knew and what was `said` since."""
        now = dataset.clean(dataset.latest((row.id, row) for row in [*rows(), *said]), SENTIMENT)
        data = dataset.build(now, SENTIMENT, self.recipe.held_back)
        made = make(self.settings.data / name, self.recipe, data, UNTIL)

        def until(offsets: Mapping[str, int]) -> Sequence[Row]:
            assert offsets == UNTIL
            return dataset.clean(rows(), SENTIMENT)

        new = release.Built(SENTIMENT, made.folder, data, self.recipe.held_back, until)
        return asyncio.run(release.judge(self.settings, self.known, new)), made


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder: Path = tmp_path_factory.mktemp("promotion")
    settings = Settings(data=folder)
    texts = [*(row.text for row in rows()), *STRANGE]
    chosen = quick(tiny_backbone(folder / "backbone", texts), max_steps=120)
    data = dataset.build(rows(), SENTIMENT, chosen.held_back)
    made = make(folder / "v1", chosen, data, UNTIL)
    first = release.Built(SENTIMENT, made.folder, data, chosen.held_back, lambda _: [])
    verdict = asyncio.run(release.judge(settings, Registry(), first))
    assert verdict.promote, verdict.reason
    assert verdict.ground == "first"
    known = Registry()
    _, address = asyncio.run(release.publish(settings, made.folder))
    known.apply(model_key("sentiment", "v1"), announced(made, address))
    return World(settings, chosen, made, known)


def accuracy(made: Built, asked: Sequence[Row]) -> float:
    return float(evidence.Asked(made.folder, SENTIMENT).marks(asked).mean())


def test_a_person_corrects_verdicts_and_the_next_version_gets_them_right(world: World) -> None:
    asked = [
        Row(f"{name} {saying}", f"{name} {saying}", name, "neutral")
        for name in NAMES[:3]
        for saying in STRANGE
    ]
    driver = scoring.load(world.live.folder, "auto")
    said = scoring.ask(driver, asked).argmax(axis=1)
    # The person says something else than the live version, and the same of a saying each time.
    wrong = {
        row.text: driver.labels[(index + 1) % 3] for row, index in zip(asked, said, strict=True)
    }
    meant = {saying: wrong[f"{NAMES[0]} {saying}"] for saying in STRANGE}
    corrections = [
        Row(row.id, row.text, row.target, meant[row.text.split(" ", 1)[1]]) for row in asked
    ]
    assert accuracy(world.live, corrections) < 0.6
    verdict, made = world.next("v2", corrections)
    assert verdict.promote, verdict.reason
    assert verdict.ground in {"repairs", "better"}
    assert accuracy(made, corrections) > accuracy(world.live, corrections) + 0.3
    learned = [row for row in corrections if not dataset.is_held_back(row.text, 0.25)]
    assert accuracy(made, learned) == 1


def test_a_burst_of_wrong_labels_is_refused_and_live_quality_does_not_move(world: World) -> None:
    before = accuracy(world.live, rows())
    rng = random.Random(1)
    flipped = {"positive": "negative", "negative": "neutral", "neutral": "positive"}
    # What is known is labelled anew, wrongly, held-back texts too; the rest is new.
    burst = [Row(row.id, row.text, row.target, flipped[row.label]) for row in rows()]
    while len(burst) < 2_000:
        row = rng.choice(rows())
        text = f"{row.text} {rng.randrange(10**9)}"
        burst.append(Row(text, text, row.target, flipped[row.label]))
    verdict, made = world.next("v3", burst)
    assert accuracy(made, burst) > 0.7  # it was taught the poison, and learned it
    assert not verdict.promote
    assert verdict.better > 0.95  # on all held-back rows, poisoned ones too, it even wins
    assert "a loss of" in verdict.reason
    (refused,) = release.changes(world.settings, world.known, announced(made, "x"), verdict)
    assert refused.state == "refused"
    assert refused.reason == verdict.reason
    live = world.known.live("sentiment")
    assert live is not None
    assert live.version == "v1"
    assert accuracy(world.live, rows()) == before


def test_the_same_labels_again_are_no_reason_for_another_version(world: World) -> None:
    verdict, _ = world.next("v4", [])
    assert not verdict.promote
    assert "does not beat the live version's" in verdict.reason
