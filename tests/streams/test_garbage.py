"""The collector passes over what is alive, and circles are still freed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from streams import garbage
from streams.garbage import Aside


class Circle:
    """Refers to itself, so that only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def only_by_us() -> Iterator[None]:
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


def test_a_collection_visits_only_what_came_since() -> None:
    alive = [[number] for number in range(50_000)]
    Aside().tick(0.0)
    since = [[number] for number in range(100)]
    visited = {id(one) for one in gc.get_objects()}
    assert all(id(one) in visited for one in since)
    assert not any(id(one) in visited for one in alive)


def test_what_goes_by_its_references_goes_at_once_although_it_was_set_aside() -> None:
    once = Circle()
    once.itself = None  # type: ignore[assignment]
    gone = weakref.ref(once)
    Aside().tick(0.0)
    del once
    assert gone() is None


def test_a_circle_that_was_set_aside_goes_after_ten_minutes() -> None:
    aside = Aside()
    aside.tick(0.0)
    gone = weakref.ref(Circle())
    aside.tick(1.0)
    gc.collect()
    assert gone() is not None
    aside.tick(garbage.WHOLE_S)
    assert gone() is None


def test_many_circles_go_before_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "SPARE", 0)
    aside = Aside()
    aside.tick(0.0)
    gone = weakref.ref(Circle())
    many = [[number] for number in range(2 * gc.get_freeze_count())]
    aside.tick(1.0)
    assert gone() is None
    assert len(many) > 0
