"""A search leaves a recipe that can be used, a model made by it, and a report that says why."""

from __future__ import annotations

import csv
from pathlib import Path

import optuna
import pytest

from kernel import artefact
from tests.support.easy_labels import easy_rows
from tests.support.tiny_backbone import tiny_backbone
from trainer import recipe_files, search, search_space, searching
from trainer.errors import TrainerError


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "target", "label"])
        writer.writerows([(row.text, row.target, row.label) for row in easy_rows()])
    return path


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the search leaves as it is: a tiny backbone and few steps."""
    folder = tmp_path_factory.mktemp("start")
    path = folder / "start.toml"
    path.write_text(
        f'backbone = "{tiny_backbone(folder / "backbone")}"\nmax_steps = 12\nmax_tokens = 32\n'
        'held_back = 0.25\nmixed_precision = "off"\n'
    )
    return path


def test_a_search_leaves_recipe_report_and_model(labels: Path, start: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    told: list[str] = []
    found = searching.search(
        "sentiment",
        labels,
        out=out,
        minutes=0.25,
        max_ms=10_000,
        recipe=str(start),
        tell=told.append,
    )
    assert told[0].startswith("trial 0: ")
    assert found.trials >= 1
    assert 0 <= found.value <= 1
    manifest = artefact.read(out / "model")
    assert manifest.task == "sentiment"
    assert manifest.metrics["accuracy"] == found.report.accuracy
    chosen = recipe_files.load(str(out / "recipe.toml"))
    study = optuna.load_study(study_name="sentiment", storage=f"sqlite:///{out / search.STORE}")
    winner = search_space.recipe_of(study.trials[found.trial])
    assert chosen.learning_rate == winner.learning_rate
    assert (chosen.strategy, chosen.options) == (winner.strategy, winner.options)
    report = (out / "report.md").read_text()
    assert f"Trial {found.trial} has the highest accuracy" in report
    assert all(f"| {one.number} | " in report for one in search.tried(study))
    assert (out / "plots" / "search.svg").exists()
    assert not list(out.glob("trial-*"))
    with pytest.raises(TrainerError, match="finished search"):
        searching.search("sentiment", labels, out=out, minutes=0.25, recipe=str(start))


def test_what_is_too_slow_to_serve_is_refused_with_the_figure_and_a_search_goes_on(
    labels: Path, start: Path, tmp_path: Path
) -> None:
    def ask() -> None:
        searching.search(
            "sentiment", labels, out=tmp_path, minutes=0.05, max_ms=0.001, recipe=str(start)
        )

    with pytest.raises(TrainerError, match=r"no recipe was found within 0.001 ms \(takes .* ms"):
        ask()
    study = optuna.load_study(
        study_name="sentiment", storage=f"sqlite:///{tmp_path / search.STORE}"
    )
    trials = len(search.tried(study))
    assert study.user_attrs["seconds"] > 0
    with pytest.raises(TrainerError, match="allow more --minutes or --max-ms"):
        ask()  # the first call has used up the time, also by trials that it refused at once
    assert len(search.tried(study)) <= trials + 1
