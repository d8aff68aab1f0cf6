"""What is done is remembered exactly, in whatever order and overlap it was done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.coverage import Coverage, CoverageError

spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


@given(spans, st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_what_is_missing_is_what_no_span_holds(
    done: list[tuple[int, int]], asked: tuple[int, int]
) -> None:
    covered = Coverage(done)
    held = {offset for begin, end in done for offset in range(begin, end)}
    missing = [offset for begin, end in covered.missing(*asked) for offset in range(begin, end)]
    assert missing == [offset for offset in range(*asked) if offset not in held]


@given(spans)
def test_spans_are_apart_and_survive_a_commit(done: list[tuple[int, int]]) -> None:
    covered = Coverage(done)
    edges = [edge for span in covered.spans for edge in span]
    assert edges == sorted(set(edges))
    assert Coverage.load(covered.dump()).spans == covered.spans


def test_foreign_metadata_and_too_many_ranges_are_told() -> None:
    with pytest.raises(CoverageError, match="another program"):
        Coverage.load('{"w":{}}')
    with pytest.raises(CoverageError, match="one range that spans"):
        Coverage((10**9 + 2 * n, 10**9 + 2 * n + 1) for n in range(300)).dump()
