from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.cache import KEY_BYTES, ResultCache, input_key
from kernel.drivers.base import Outcome
from schemas.events import Entity

parts = st.tuples(st.text(), st.text(), st.text(), st.text(), st.none() | st.text())


@dataclass(frozen=True)
class Said:
    nbytes: int


@given(parts, parts)
def test_two_inputs_share_a_key_only_if_they_are_the_same(
    one: tuple[str, str, str, str, str | None], other: tuple[str, str, str, str, str | None]
) -> None:
    assert (input_key(*one) == input_key(*other)) == (one == other)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(0, 1_500)), max_size=200))
def test_the_cache_keeps_its_bound_and_forgets_the_least_recently_used_first(
    steps: list[tuple[bool, int, int]],
) -> None:
    room = 4_000
    cache: ResultCache[Said] = ResultCache(room / 1e6)
    recent: dict[int, Said] = {}
    for write, number, size in steps:
        key = number.to_bytes(16, "big")
        if write:
            cache.put(key, Said(size))
            recent.pop(number, None)
            recent[number] = Said(size)
        else:
            assert cache.get(key) == recent.get(number)
            if number in recent:
                recent[number] = recent.pop(number)
        while sum(KEY_BYTES + said.nbytes for said in recent.values()) > room:
            del recent[next(iter(recent))]
        assert len(cache) == len(recent)
        assert cache.nbytes == sum(KEY_BYTES + said.nbytes for said in recent.values()) <= room


def test_what_is_larger_than_the_cache_drives_out_nothing() -> None:
    cache: ResultCache[Said] = ResultCache(0.001)
    cache.put(b"small", Said(100))
    cache.put(b"large", Said(5_000))
    assert cache.get(b"small") is not None
    assert cache.get(b"large") is None


def test_a_cache_of_no_memory_keeps_nothing() -> None:
    cache: ResultCache[Said] = ResultCache(0)
    cache.put(b"k", Said(0))
    assert cache.get(b"k") is None


def _scored(number: int) -> Outcome:
    return Outcome("positive", {"negative": number / 7, "neutral": number / 3, "positive": 0.1})


def _found(number: int) -> Outcome:
    names = [f"name {number} {place}" for place in range(20)]
    return Outcome(
        entities=[
            Entity(label="PER", start=number + 300, end=number + 400, text=name, score=number / 7)
            for name in names
        ]
    )


def _embedded(number: int) -> Outcome:
    return Outcome(embedding=np.full(384, number, np.float32))


@pytest.mark.parametrize("make", [_scored, _found, _embedded])
def test_answers_take_about_the_memory_that_they_are_booked_with(make: object) -> None:
    assert callable(make)
    cache: ResultCache[Outcome] = ResultCache(100)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(2_000):
            cache.put(number.to_bytes(16, "big"), make(number))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.7 < taken / cache.nbytes < 1.1
