from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kernel.cache import ENTRY_BYTES, ResultCache, input_key

parts = st.tuples(st.text(), st.text(), st.text(), st.none() | st.text())


@given(parts, parts)
def test_two_inputs_share_a_key_only_if_they_are_the_same(
    one: tuple[str, str, str, str | None], other: tuple[str, str, str, str | None]
) -> None:
    assert (input_key(*one) == input_key(*other)) == (one == other)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=200))
def test_the_cache_keeps_its_bound_and_forgets_the_least_recently_used_first(
    steps: list[tuple[bool, int]],
) -> None:
    room = 8
    cache = ResultCache(room * ENTRY_BYTES / 1e6)
    recent: list[int] = []
    for write, number in steps:
        key = number.to_bytes(16, "big")
        known = number in recent
        if write:
            cache.put(key, [float(number)])
        else:
            assert cache.get(key) == ([float(number)] if known else None)
        if write or known:
            if known:
                recent.remove(number)
            recent = [*recent, number][-room:]
        assert len(cache) == len(recent) <= room


def test_a_cache_of_no_memory_keeps_nothing() -> None:
    cache = ResultCache(0)
    cache.put(b"k", [1.0])
    assert cache.get(b"k") is None
