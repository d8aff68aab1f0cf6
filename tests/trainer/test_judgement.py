"""Metrics, calibration, leakage and changed texts: what they say can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as reference  # type: ignore[import-untyped]

from trainer import calibration, judgement, leakage, metrics, robustness, slices
from trainer.dataset import Row

LABELS = ("negative", "neutral", "positive")


@given(st.data())
@settings(max_examples=30)
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


def test_intervals_hold_their_figure_and_shrink_with_more_rows() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for rows in (100, 1_600):
        truth = rng.integers(0, 3, rows)
        probabilities = rng.dirichlet((1, 1, 1), rows).astype(np.float32)
        report = metrics.evaluate(probabilities, truth, LABELS)
        low, high = report.ece_interval
        assert 0 <= low <= high <= 1
        for one in report.per_label.values():
            assert one.f1_interval[0] <= one.f1 <= one.f1_interval[1]
            assert one.recall_interval[0] <= one.recall <= one.recall_interval[1]
        widths.append(report.accuracy_interval[1] - report.accuracy_interval[0])
    assert widths[1] < widths[0] / 3
    right = np.array([1.0] * 80 + [0.0] * 20)
    assert metrics.interval_of_mean(right) == pytest.approx((0.72, 0.88), abs=0.02)


def test_a_temperature_mends_a_model_that_is_too_sure_and_moves_no_label() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(4_000, 3))
    truth = np.array([rng.choice(3, p=_softmax(one)) for one in logits])
    sure = np.array([_softmax(one * 3) for one in logits], np.float32)
    rows = [Row(str(n), f"text {n}", None, LABELS[label]) for n, label in enumerate(truth)]
    found = calibration.calibrate(rows, sure, truth)
    assert found.temperature == pytest.approx(3, rel=0.1)
    assert found.fitted_on + found.judged_on == 4_000
    assert found.ece_before is not None
    assert found.ece_after is not None
    assert found.ece_before > 0.2
    assert found.ece_after < 0.03
    mended = calibration.tempered(sure, found.temperature)
    assert (mended.argmax(axis=1) == sure.argmax(axis=1)).all()
    assert calibration.calibrate(rows[:30], sure[:30], truth[:30]).temperature == 1


def _softmax(
    logits: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    exponents = np.exp(logits - logits.max())
    shares: np.ndarray[tuple[int], np.dtype[np.float64]] = exponents / exponents.sum()
    return shares


def row(text: str, label: str = "neutral", target: str | None = "Kelmont") -> Row:
    return Row("1", text, target, label)


def test_a_reworded_twin_on_the_other_side_is_found_and_a_stranger_is_not() -> None:
    learned = [row("Kelmont wins a large order for grain ships from the port of Ostrava")]
    twin = row("Today Kelmont wins a large order for grain ships from the port of Ostrava")
    found = leakage.check(learned, [row("Kelmont cuts jobs after a bad year"), twin])
    assert (found.exact, found.near, found.leaked) == (0, 1, [1])
    assert found.examples == [(twin.text, learned[0].text)]
    assert leakage.check(learned, [row(learned[0].text.upper())]).exact == 1


@given(st.text(max_size=80), st.text(max_size=12) | st.none())
@settings(max_examples=60)
def test_changes_never_fail_and_say_the_same_each_time(text: str, target: str | None) -> None:
    one = row(text, target=target)
    for change in (robustness.PERTURBATIONS | robustness.COUNTERFACTUALS).values():
        assert change(one) == change(one)
        assert change(one).label == one.label


def test_changes_leave_the_target_findable_and_swap_names_everywhere() -> None:
    one = row("Kelmont said that Kelmont shares rose after profits", target="Kelmont")
    misspelt = robustness.typos(one)
    assert misspelt.text != one.text
    assert sorted(misspelt.text) == sorted(one.text)
    assert misspelt.text.count("Kelmont") == 2
    assert robustness.reworded(one).text == (
        "Kelmont stated that Kelmont shares went up following profits"
    )
    named = robustness.renamed("Nordic")(one)
    assert named.target in robustness.NAME_GROUPS["Nordic"]
    assert "Kelmont" not in named.text
    assert named.text.count(named.target or "?") == 2
    assert robustness.gender_swapped(row("He is her father")).text == "She is his mother"
    rows = [row("A beats B", "positive", "A"), row("A beats B", "negative", "B"), row("C")]
    assert robustness.contrasted(rows) == [0, 1]


def test_slices_name_label_length_source_and_whether_the_target_was_learned() -> None:
    rows = [
        row("short text", "positive"),
        Row("2", " ".join(["word"] * 30), "Other", "negative", "desk"),
    ]
    found = slices.of(rows, {"kelmont"})
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "label negative": [False, True],
        "label positive": [True, False],
        "length long": [False, True],
        "length short": [True, False],
        "source desk": [False, True],
        "target known": [True, False],
        "target unknown": [False, True],
        "targets one": [True, True],
    }


def test_the_gap_between_groups_of_names_is_that_of_what_each_costs() -> None:
    def trial(name: str, accuracy: float) -> judgement.Trial:
        share = judgement.Share(n=10, value=accuracy, interval=(0, 1))
        return judgement.Trial(name=name, clean=0.8, accuracy=share, same=1)

    judged = judgement.Judgement(
        calibration=calibration.Calibration(),
        robustness=[],
        contrasted=None,
        fairness=[trial("named as Nordic", 0.8), trial("named as symbols", 0.6)],
        slices={},
        leakage=leakage.check([], []),
        without_leaks=None,
    )
    assert judgement.fairness_gap(judged) == pytest.approx(0.2)
