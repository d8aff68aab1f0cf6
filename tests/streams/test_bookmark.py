from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Cause
from streams.bookmark import Bookmark, BookmarkError

causes = st.builds(
    Cause,
    agent=st.sampled_from(["finance.reader", "finance.trends"]),
    topic=st.sampled_from(["feed.events", "kernel.results"]),
    partition=st.integers(0, 3),
    offset=st.integers(0, 2**40),
    index=st.integers(0, 64),
)


@given(st.lists(causes, max_size=30))
def test_a_bookmark_read_back_from_its_commit_covers_the_same_causes(seen: list[Cause]) -> None:
    bookmark = Bookmark(versions={"sentiment": "v1"})
    for cause in seen:
        if not bookmark.covers(cause):
            bookmark.advance(cause)
    again = Bookmark.load(bookmark.dump())
    assert all(again.covers(cause) for cause in seen)
    assert again.versions == {"sentiment": "v1"}


def test_only_what_lies_at_or_below_the_watermark_of_its_own_source_is_a_replay() -> None:
    bookmark = Bookmark()
    bookmark.advance(Cause("a", "t", 0, 7, 1))
    assert bookmark.covers(Cause("a", "t", 0, 7, 1))
    assert bookmark.covers(Cause("a", "t", 0, 6, 9))
    assert not bookmark.covers(Cause("a", "t", 0, 7, 2))
    assert not bookmark.covers(Cause("a", "t", 1, 0, 0))
    assert not bookmark.covers(Cause("b", "t", 0, 0, 0))


@given(st.lists(st.builds(Cause, st.text(), st.text(), st.integers(0),
                          st.integers(0), st.integers(0)), max_size=150))  # fmt: skip
def test_whatever_causes_are_admitted_the_metadata_fits(causes: list[Cause]) -> None:
    bookmark = Bookmark()
    for cause in causes:
        if bookmark.admits(cause):
            bookmark.advance(cause)
    bookmark.dump()


def test_a_hundred_partitions_of_one_agent_are_admitted() -> None:
    bookmark = Bookmark()
    for partition in range(100):
        cause = Cause("finance.reader", "feed.events", partition, 10**13, 63)
        assert bookmark.admits(cause)
        bookmark.advance(cause)
    bookmark.dump()


def test_metadata_over_the_brokers_limit_is_refused_with_what_to_do() -> None:
    bookmark = Bookmark()
    for partition in range(1_000):
        bookmark.advance(Cause("agent", "topic", partition, 10**9, 0))
    with pytest.raises(BookmarkError, match="fewer source partitions"):
        bookmark.dump()


def test_metadata_that_another_program_committed_is_refused() -> None:
    with pytest.raises(BookmarkError, match="group of its own"):
        Bookmark.load("consumer-1 was here")
