"""A key stays on one version while a canary's share grows; a target finds the version it names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.routing import Route, Servable, select
from schemas.events import Target

keys = st.text(max_size=20)
shares = st.floats(min_value=0, max_value=1)


@given(keys, shares, shares)
def test_a_key_that_came_to_the_canary_stays_with_it_while_the_share_grows(
    key: str, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    if Route("v1", "v2", low).choose(key) == "v2":
        assert Route("v1", "v2", high).choose(key) == "v2"
    assert Route("v1", "v2", 1.0).choose(key) == "v2"
    assert Route("v1", "v2", 0.0).choose(key) == "v1"
    assert Route("v1").choose(key) == "v1"


def test_the_share_is_that_of_the_keys_and_another_canary_meets_other_keys() -> None:
    names = [f"T{number}" for number in range(4_000)]
    first = {name for name in names if Route("v1", "v2", 0.25).choose(name) == "v2"}
    second = {name for name in names if Route("v1", "v3", 0.25).choose(name) == "v3"}
    assert len(first) / len(names) == pytest.approx(0.25, abs=0.03)
    assert len(first & second) / len(names) == pytest.approx(0.0625, abs=0.02)


BIG, SMALL, TINY = (
    Servable("big", 0.93, 12.0),
    Servable("small", 0.90, 5.0),
    Servable("tiny", 0.80, 1.0),
)


@pytest.mark.parametrize(
    ("target", "version"),
    [
        (Target(max_ms=6), "small"),
        (Target(max_ms=100), "big"),
        (Target(max_ms=0.5), "tiny"),
        (Target(min_accuracy=0.85), "small"),
        (Target(min_accuracy=0.99), "big"),
        (Target(min_accuracy=0.85, max_ms=100), "big"),
        (Target(min_accuracy=0.85, max_ms=2), "small"),
        (Target(), "tiny"),
    ],
)
def test_a_target_finds_the_version_that_meets_it_best(target: Target, version: str) -> None:
    assert select([BIG, SMALL, TINY], target).version == version
    assert select([TINY, BIG, SMALL], target).version == version
