"""Metrics and the gate: what they say can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as reference  # type: ignore[import-untyped]

from trainer import gate, metrics

LABELS = ("negative", "neutral", "positive")


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_figures_are_those_of_scikit_learn(data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 60))
    truth = data.draw(arrays.arrays(np.int64, rows, elements=st.integers(0, 2)))
    raw = data.draw(arrays.arrays(np.float32, (rows, 3), elements=st.floats(0, 1, width=32)))
    probabilities = (raw + 0.1) / (raw + 0.1).sum(axis=1, keepdims=True)
    said = probabilities.argmax(axis=1)
    report = metrics.evaluate(probabilities, truth, LABELS)
    expected = reference.classification_report(
        truth, said, labels=[0, 1, 2], target_names=LABELS, output_dict=True, zero_division=0
    )
    assert report.accuracy == pytest.approx(reference.accuracy_score(truth, said))
    assert report.macro_f1 == pytest.approx(expected["macro avg"]["f1-score"])
    for label, found in report.per_label.items():
        assert found.precision == pytest.approx(expected[label]["precision"])
        assert found.recall == pytest.approx(expected[label]["recall"])
    assert report.accuracy_interval[0] <= report.accuracy <= report.accuracy_interval[1]
    assert 0 <= report.ece <= 1


def test_a_confident_and_wrong_model_is_badly_calibrated() -> None:
    probabilities = np.tile(np.array([[1.0, 0.0, 0.0]], np.float32), (10, 1))
    assert metrics.calibration_error(probabilities, np.zeros(10, np.int64)) == pytest.approx(0)
    assert metrics.calibration_error(probabilities, np.ones(10, np.int64)) == pytest.approx(1)


def test_the_first_version_must_beat_the_majority_label() -> None:
    truth = np.array([0] * 60 + [1] * 40)
    majority = np.zeros(100, np.int64)
    assert not gate.judge(truth, majority, None).promote
    verdict = gate.judge(truth, truth, None)
    assert verdict.promote
    assert (verdict.accuracy, verdict.baseline, verdict.n) == (1.0, 0.6, 100)


def test_a_later_version_must_be_right_more_often_than_the_live_one() -> None:
    truth = np.arange(90) % 3
    live, better, worse = truth.copy(), truth.copy(), truth.copy()
    live[:30] = (live[:30] + 1) % 3
    better[:10] = (better[:10] + 1) % 3
    worse[:50] = (worse[:50] + 1) % 3
    assert gate.judge(truth, better, live).promote
    assert not gate.judge(truth, live, live).promote
    refused = gate.judge(truth, worse, live)
    assert not refused.promote
    assert "does not beat the live version's 0.667 on 90 held-back rows" in refused.reason


def test_without_rows_nothing_is_promoted() -> None:
    none = np.zeros(0, np.int64)
    assert not gate.judge(none, none, None).promote


def test_labels_that_the_live_version_does_not_know_count_as_wrong() -> None:
    truth = np.array([0, 1, 2, 2])
    assert gate.judge(truth, truth, np.array([0, 1, -1, -1])).baseline == 0.5
