"""Schedules can be played again, and recovery is measured at the slowest partition."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from proof.chaos.faults import schedule
from proof.chaos.history import Fault, Isolation, Seen
from proof.chaos.pipeline_system import MENU
from proof.chaos.recovery import percentile, recoveries, summary


@given(seed=st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_faults(seed: int) -> None:
    assert schedule(seed, 600, 9, MENU) == schedule(seed, 600, 9, MENU)


def test_another_seed_gives_other_faults() -> None:
    assert schedule(1, 600, 9, MENU) != schedule(2, 600, 9, MENU)


@given(seed=st.integers(0, 2**32))
def test_every_kind_comes_before_any_comes_again(seed: int) -> None:
    plan = schedule(seed, 600, 9, MENU)
    for first in range(0, len(plan) - len(MENU), len(MENU)):
        assert {one.name for one in plan[first : first + len(MENU)]} == set(MENU)
    assert all(one.target in MENU[one.name] for one in plan)


@given(seed=st.integers(0, 2**32))
def test_targets_of_a_kind_take_turns(seed: int) -> None:
    kills = [one.target for one in schedule(seed, 1_200, 9, MENU) if one.name == "kill"]
    counts = Counter(kills)
    assert max(counts.values()) - min(counts.values()) <= 1 or len(counts) < len(MENU["kill"])


def test_nothing_on_the_menu_is_a_run_without_faults() -> None:
    assert schedule(1, 600, 9, {}) == []


def seen(partition: int, at: int, isolation: Isolation = "committed") -> Seen:
    return Seen("r", isolation, True, "out", partition, at, f"{partition}:{at}", "k", at)


def test_recovery_is_that_of_the_slowest_partition() -> None:
    fault = Fault(1, "kill", "kernel", began=1_000, ended=1_100, watched="out")
    records = [seen(0, 900), seen(0, 1_200), seen(1, 1_000), seen(1, 4_500), seen(1, 4_600)]
    (found,) = recoveries([fault], records)
    assert found.seconds == 3.5


def test_a_partition_without_later_records_does_not_count() -> None:
    fault = Fault(1, "kill", "kernel", began=1_000, ended=1_100, watched="out")
    (found,) = recoveries([fault], [seen(0, 1_200), seen(1, 900)])
    assert found.seconds == 0.2
    assert recoveries([fault], [seen(0, 900)]) == []


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([7.0], 0.99) == 7
    assert summary([]) == {"count": 0, "p50": None, "p99": None, "max": None}
