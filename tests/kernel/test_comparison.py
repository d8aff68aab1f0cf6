"""How far apart two answers are, for every kind of model."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.comparison import Said
from schemas.events import Entity


def classified(positive: float) -> Said:
    scores = {"negative": 1 - positive, "positive": positive}
    return Said(max(scores, key=scores.__getitem__), scores)


def tagged(*spans: tuple[str, int, int]) -> Said:
    found = [
        Entity(label=label, start=start, end=end, text="x", score=0.9)
        for label, start, end in spans
    ]
    return Said("", {}, entities=found)


def embedded(angle: float) -> Said:
    return Said("", {}, vector=[math.cos(angle), math.sin(angle)])


answers = st.one_of(
    st.tuples(*[st.floats(0, 1).map(classified)] * 2),
    st.tuples(*[st.floats(-9, 9).map(embedded)] * 2),
    st.tuples(*[st.floats(-1e6, 1e6).map(lambda odds: Said("", {}, score=odds))] * 2),
    st.tuples(
        *[
            st.lists(
                st.tuples(st.sampled_from("AB"), st.integers(0, 3), st.integers(4, 6)), max_size=4
            ).map(lambda spans: tagged(*spans))
        ]
        * 2
    ),
)


@given(answers)
def test_distance_is_between_0_and_1_the_same_both_ways_and_0_for_the_same(
    two: tuple[Said, Said],
) -> None:
    one, other = two
    assert 0 <= one.distance(other) <= 1
    assert one.distance(other) == pytest.approx(other.distance(one), abs=1e-9)
    assert one.distance(one) == pytest.approx(0, abs=1e-9)
    assert one.agrees(one)


@pytest.mark.parametrize(
    ("one", "other", "distance", "agree"),
    [
        (classified(0.9), classified(0.6), 0.3, True),
        (classified(0.9), classified(0.1), 0.8, False),
        (tagged(("ORG", 0, 4)), tagged(("ORG", 0, 4), ("PER", 5, 8)), 0.5, False),
        (tagged(), tagged(), 0.0, True),
        (embedded(0), embedded(math.pi / 2), 0.5, False),
        (embedded(0), embedded(math.pi), 1.0, False),
        (Said("", {}, score=0.0), Said("", {}, score=800.0), 0.5, False),
    ],
)
def test_distance_says_what_its_kind_means(
    one: Said, other: Said, distance: float, agree: bool
) -> None:
    assert one.distance(other) == pytest.approx(distance)
    assert one.agrees(other) is agree
