"""The state that survives is the one with the highest source offset, whatever the log's order."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.runtime.state import StateStore
from agents.service import NAMES, load
from streams.settings import Settings


class _Table:
    """What a store knows of its table."""

    name = "state"
    changelog_topic_name = "changelog"


def store() -> StateStore:
    return StateStore("memory://", None, _Table(), state_type=list[int])


@given(st.lists(st.integers(0, 20), min_size=1))
def test_the_highest_source_offset_wins_and_a_last_lower_one_is_a_conflict(
    offsets: list[int],
) -> None:
    states = store()
    for position, offset in enumerate(offsets):
        states.apply(3, position, b"ABC", json.dumps([offset, [offset]]).encode())
    entry = states.get_entry(3, "ABC")
    assert entry is not None
    assert (entry.offset, entry.state) == (max(offsets), [max(offsets)])
    assert states.conflicts == ({(3, "ABC")} if offsets[-1] < max(offsets) else set())
    assert states.applied == {3: len(offsets) - 1}


async def test_only_partitions_that_are_ours_are_kept() -> None:
    states = store()
    for partition in (0, 1, 2):
        states.apply(partition, 0, b"ABC", b"[7,[1]]")
    await states.on_rebalance(set(), {("changelog", 0), ("other", 1)}, set())
    await states.on_recovery_completed({("changelog", 1)}, set())
    assert list(states) == [(1, "ABC")]


def test_every_agent_of_the_registry_can_be_made_and_has_its_own_name() -> None:
    agents = [load(Settings(), name) for name in NAMES]
    assert tuple(agent.name for agent in agents) == NAMES
    with pytest.raises(KeyError, match=r"there are finance\.reader"):
        load(Settings(), "finance.nothing")
