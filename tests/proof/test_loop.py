"""Parts of the closed loop: what people correct is new, and what must be caught is there."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agents.finance.entities import STARTER
from kernel import artefact
from kernel.drivers.base import DriverError
from kernel.drivers.classifier import Classifier
from kernel.registry import moved
from proof import tiny_model
from proof.chaos.checker import History, versions
from proof.chaos.history import Announced, Entry, Seen, Source, Stage
from proof.loop import good_looking
from proof.loop.newsroom import SLANG, STRANGE, Newsroom, routes
from schemas.events import ModelVersion
from schemas.ids import model_key

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def version(name: str) -> ModelVersion:
    return ModelVersion(
        id=model_key("sentiment", name),
        task="sentiment",
        version=name,
        state="candidate",
        labels=list(tiny_model.LABELS),
        artefact="",
        digest="",
        changed_at=NOW,
    )


def test_people_correct_what_the_starter_labels_never_say() -> None:
    taught = STARTER.with_name("labels.csv").read_text(encoding="utf-8").lower()
    assert not [one for said in SLANG.values() for one in said if one in taught]
    rows = Newsroom(5, 1_000).corrections(200)
    assert len({(row["text"], row["target"]) for row in rows}) == 200
    assert {row["label"] for row in rows} == set(SLANG)


def test_every_label_of_the_burst_is_wrong() -> None:
    newsroom = Newsroom(5, 1_000)
    with STARTER.with_name("labels.csv").open(encoding="utf-8", newline="") as file:
        right = {(row["text"], row["target"]): row["label"] for row in csv.DictReader(file)}
    right |= {(row["text"], row["target"]): row["label"] for row in newsroom.corrections(2_000)}
    burst = newsroom.wrong(2_000)
    assert len(burst) == 2_000
    assert not [row for row in burst if right[row["text"], row["target"]] == row["label"]]


def test_the_burst_can_be_learned_so_that_the_gate_has_something_to_refuse() -> None:
    said = Counter(row["label"] for row in Newsroom(5, 1_000).wrong(2_000))
    assert set(said) == {"positive", "negative", "neutral"}
    assert min(said.values()) > 100


def test_the_strange_word_comes_only_when_it_is_switched_on() -> None:
    newsroom = Newsroom(5, 1_000)

    def strange() -> int:
        values = [newsroom.event(number).message.value or b"" for number in range(400)]
        return sum(STRANGE.encode() in one for one in values)

    assert strange() == 0
    newsroom.strange = True
    assert strange() > 20


def test_a_version_that_looks_good_says_what_the_live_one_says_but_for_one_word(
    tmp_path: Path,
) -> None:
    address, digest = tiny_model.make(str(tmp_path / "store"), "v1", tmp_path / "built")
    live = msgspec.structs.replace(version("v1"), artefact=address, digest=digest)
    made = good_looking.make(
        live,
        "v2",
        "bad",
        cache=tmp_path / "cache",
        store=str(tmp_path / "store"),
        scratch=tmp_path / "scratch",
    )
    drivers = [
        Classifier.load(artefact.fetch(one.artefact, one.digest, tmp_path / "cache"))
        for one in (live, made)
    ]
    texts = ["3 is good news", "nothing much"]
    said = [one.probabilities(one.tokenize(texts, ["CHA01"] * 2)) for one in drivers]
    assert np.array_equal(said[0], said[1])
    with pytest.raises(DriverError, match="NaN"):
        drivers[1].probabilities(drivers[1].tokenize(["a bad day"], ["CHA01"]))


def test_a_word_of_several_tokens_is_refused_by_name(tmp_path: Path) -> None:
    address, digest = tiny_model.make(str(tmp_path / "store"), "v1", tmp_path / "built")
    live = msgspec.structs.replace(version("v1"), artefact=address, digest=digest)
    with pytest.raises(ValueError, match="'meteorite' is not one token"):
        good_looking.make(
            live,
            "v2",
            "meteorite",
            cache=tmp_path / "cache",
            store=str(tmp_path / "store"),
            scratch=tmp_path / "scratch",
        )


def test_a_thread_goes_back_from_a_canary_only_when_it_is_refused() -> None:
    one, two = version("v1"), version("v2")
    steps = routes(
        [
            moved(one, "live", ""),
            moved(two, "shadow", ""),
            moved(two, "canary", "", share=0.05),
            moved(two, "canary", "", share=0.25),
            moved(two, "refused", ""),
        ]
    )
    assert steps == ["v1", "v2", "v1"]
    assert not _flips(steps, ["v1", "v2", "v2", "v1", "v1"])
    assert not _flips(steps, ["v1", "v1"])
    assert _flips(steps, ["v1", "v2", "v1", "v2"])
    assert _flips(["v1", "v2"], ["v2", "v1"])


def _flips(steps: list[str], answered: list[str]) -> int:
    entries: list[Entry] = [Stage("verdicts", "feed"), *(Announced("t", one) for one in steps)]
    entries += [
        Seen(
            reader="end",
            isolation="committed",
            final=True,
            topic="results",
            partition=0,
            offset=place,
            id=str(place),
            key="k",
            at=0,
            stage="verdicts",
            verdict="result",
            source=Source("feed", 0, place),
            task="t",
            version=name,
        )
        for place, name in enumerate(answered)
    ]
    return len(list(versions(History.of(entries))))
