"""A label that says that no other fits: said more readily than learned, at a bounded cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernel import artefact
from tests.trainer.test_parts import labelled, write_csv
from trainer import commands, out_of_scope, tasks
from trainer.errors import TrainerError

LABELS = 4
OUTSIDE = 3


def said(
    rng: np.random.Generator, rows: int, outside: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities of a model that is mostly right in scope and shy of saying out of scope."""
    truth = np.concatenate([rng.integers(0, OUTSIDE, rows), np.full(outside, OUTSIDE)])
    logits = rng.normal(size=(rows + outside, LABELS))
    logits[np.arange(len(truth)), truth] += np.where(truth == OUTSIDE, 1.0, 5.0)
    odds = np.exp(logits)
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32), truth.astype(np.int64)


def shares(
    probabilities: NDArray[np.float32], truth: NDArray[np.int64], added: float
) -> tuple[float, float]:
    """Accuracy in scope and recall out of scope, once the label's logit is raised."""
    logits = np.log(probabilities.astype(np.float64) + 1e-12)
    logits[:, OUTSIDE] += added
    right = logits.argmax(axis=1) == truth
    return float(right[truth != OUTSIDE].mean()), float(right[truth == OUTSIDE].mean())


@given(st.integers(0, 10_000), st.integers(20, 400), st.integers(20, 200))
def test_others_lose_no_more_than_the_bound_and_recall_never_falls(
    seed: int, rows: int, outside: int
) -> None:
    probabilities, truth = said(np.random.default_rng(seed), rows, outside)
    added = out_of_scope.shift(probabilities, truth, OUTSIDE)
    accuracy, recall = shares(probabilities, truth, 0.0)
    raised_accuracy, raised_recall = shares(probabilities, truth, added)
    assert added >= 0
    assert accuracy - raised_accuracy <= out_of_scope.MOST_LOST + 1e-9
    assert raised_recall >= recall


def test_what_a_shy_model_gains_is_worth_what_it_costs() -> None:
    probabilities, truth = said(np.random.default_rng(1), 3_000, 200)
    accuracy, recall = shares(probabilities, truth, 0.0)
    added = out_of_scope.shift(probabilities, truth, OUTSIDE)
    raised_accuracy, raised_recall = shares(probabilities, truth, added)
    assert raised_recall > recall + 0.2
    assert raised_accuracy > accuracy - 0.011


@pytest.mark.parametrize("outside", [0, 19])
def test_with_too_few_rows_out_of_scope_nothing_is_raised(outside: int) -> None:
    assert out_of_scope.shift(*said(np.random.default_rng(2), 300, outside), OUTSIDE) == 0


def test_a_trained_model_names_its_label_and_reports_both_kinds(
    quick_recipe: Path, tmp_path: Path
) -> None:
    data = labelled(tmp_path / "rows.csv")
    words = ("weather", "dinner", "train", "song", "garden")
    strange = write_csv(
        tmp_path / "strange.csv",
        {
            "text": [f"{one} {other} {n}" for n, one in enumerate(words) for other in words] * 4,
            "target": [""] * 100,
            "label": ["oos"] * 100,
        },
    )
    both = tmp_path / "both.csv"
    both.write_text(data.read_text() + strange.read_text().partition("\n")[2])
    report = commands.train("intents", both, out=tmp_path / "out", recipe=str(quick_recipe))
    assert report is not None
    assert report.scope is not None
    assert report.scope.label == "oos"
    manifest = artefact.read(tmp_path / "out")
    assert manifest.out_of_scope == "oos"
    assert manifest.metrics["out_of_scope_recall"] == report.scope.out_of_scope_recall
    assert "out of scope (oos): recall" in (tmp_path / "out" / "card.md").read_text()
    found = commands.evaluate(tmp_path / "out", both).scope
    assert found is not None
    assert found.in_scope + found.out_of_scope == commands.evaluate(tmp_path / "out", both).n


def test_data_without_the_label_know_no_scope(quick_recipe: Path, tmp_path: Path) -> None:
    report = commands.train(
        "intents", labelled(tmp_path / "rows.csv"), out=tmp_path / "out", recipe=str(quick_recipe)
    )
    assert report is not None
    assert report.scope is None
    assert artefact.read(tmp_path / "out").out_of_scope == ""


def test_a_task_file_whose_label_is_not_among_its_labels_is_refused(tmp_path: Path) -> None:
    task = tmp_path / "task.toml"
    task.write_text(
        'name = "a"\ninputs = "text"\nlabels = ["pay", "leave"]\nout_of_scope = "none"\n'
    )
    with pytest.raises(TrainerError, match="out_of_scope must be one of the labels, not 'none'"):
        tasks.find(str(task))
