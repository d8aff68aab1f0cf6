"""How benchmarks count: percentiles, rates, ratios, what is lost, what metrics say."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proof.bench.answers import Answer, Seen, counted, rate
from proof.bench.percentiles import buckets, offer, percentile, schedule, summary
from proof.bench.rounds import alternated, compared
from proof.bench.scrape import Readings, kernel_figures, quantile
from proof.bench.texts import made_up, with_repeats
from streams import metrics

latencies = st.lists(st.floats(0, 1e6), min_size=1, max_size=300)


@given(latencies, st.floats(0.01, 1))
def test_a_percentile_is_the_least_value_that_enough_do_not_exceed(
    values: list[float], share: float
) -> None:
    ascending = sorted(values)
    found = percentile(ascending, share)
    assert sum(one <= found for one in ascending) >= share * len(ascending)
    assert sum(one < found for one in ascending) < share * len(ascending)


@given(latencies)
def test_every_latency_is_in_a_bucket_that_is_not_far_above_it(values: list[float]) -> None:
    found = buckets(values)
    assert sum(count for _, count in found) == len(values)
    assert found[-1][0] >= max(values) / 1.001
    assert found[-1][0] <= max(1.0, *values) * 1.2


def test_nothing_measured_is_no_error() -> None:
    assert summary([])["p99"] == 0.0
    assert rate([]) == 0.0


async def test_a_stall_makes_late_all_who_wait_for_it() -> None:
    """No coordinated omission: the intended times do not move when sending is held up."""
    intended: list[float] = []

    async def send(number: int, at: float) -> None:
        intended.append(at)
        if number == 0:
            time.sleep(0.2)  # noqa: ASYNC251  (it is the whole client that stalls)

    late = await offer([0.0, 0.05, 0.1, 0.25], send)
    assert [round(at - intended[0], 3) for at in intended] == [0.0, 0.05, 0.1, 0.25]
    assert late[1] >= 140
    assert late[2] >= 90


def test_arrivals_are_as_many_as_the_rate_says_and_the_same_for_a_seed() -> None:
    found = schedule(100, 60, seed=3)
    assert found == schedule(100, 60, seed=3)
    assert found == sorted(found)
    assert found[-1] < 60
    assert 6_000 * 0.95 < len(found) < 6_000 * 1.05


async def test_ceiling_and_subject_take_turns() -> None:
    turns: list[str] = []

    async def one(name: str, number: int) -> float:
        await asyncio.sleep(0)
        turns.append(f"{name}{number}")
        return number + (2.0 if name == "b" else 1.0)

    pairs = await alternated(3, lambda n: one("a", n), lambda n: one("b", n))
    assert turns == ["a0", "b0", "a1", "b1", "a2", "b2"]
    ratios = compared([a for a, _ in pairs], [b for _, b in pairs])
    assert ratios["ratios"] == [2.0, 1.5, 1.333]
    assert ratios["ratio"] == 1.5


def test_the_first_commit_is_not_counted_in_a_rate() -> None:
    written = [0.0] * 500 + [0.02] * 100 + [0.05 + number / 100 for number in range(1, 101)]
    assert rate(written) == 100.0


def seen(name: str, thread: str = "T") -> Seen:
    return Seen(Answer(request_id=name, thread=thread), 0.0, 0.0)


def test_what_is_lost_doubled_or_out_of_order_is_counted() -> None:
    asked = ["a", "b", "c", "d"]
    fine = counted(asked, [seen(name) for name in asked])
    assert (fine.lost, fine.duplicates, fine.out_of_order) == (0, 0, 0)
    bad = counted(asked, [seen("b"), seen("a"), seen("a"), seen("d", "U"), seen("of others")])
    assert (bad.lost, bad.duplicates, bad.out_of_order) == (1, 1, 1)


METRICS = """
# TYPE headrace_kernel_batches counter
headrace_kernel_batches_total 4
# TYPE headrace_kernel_tokens counter
headrace_kernel_tokens_total 90
# TYPE headrace_kernel_padded_tokens counter
headrace_kernel_padded_tokens_total 100
# TYPE headrace_lane_commit_seconds histogram
headrace_lane_commit_seconds_bucket{service="kernel",le="0.01"} 50
headrace_lane_commit_seconds_bucket{service="kernel",le="0.02"} 100
headrace_lane_commit_seconds_bucket{service="kernel",le="+Inf"} 100
headrace_lane_commit_seconds_sum{service="kernel"} 1.2
headrace_lane_commit_seconds_count{service="kernel"} 100
"""


def test_a_kernels_counters_are_read_from_its_metrics() -> None:
    figures = kernel_figures(Readings.parse(METRICS))
    assert figures["padding_waste"] == 0.1
    assert (figures["batches"], figures["commits"], figures["cache_hits"]) == (4, 100, 0)
    assert figures["commit_ms"] == {"p50": 10.0, "p99": 19.8}


def test_the_metrics_that_benchmarks_read_are_those_that_services_tell() -> None:
    told = set(metrics.METRICS)
    assert {metrics.BATCHES.name, metrics.COMMIT.name, metrics.CACHE_HITS.name} <= told


def test_a_quantile_beyond_the_last_edge_is_that_edge() -> None:
    assert quantile([(1.0, 1), (float("inf"), 10)], 0.99) == 1.0
    assert quantile([], 0.5) == 0.0


def test_made_up_texts_are_all_different_and_of_the_lengths_of_tweets() -> None:
    first, second = made_up(500), made_up(500, skip=500)
    assert len({*first, *second}) == 1_000
    words = sorted(len(one.text.split()) for one in first)
    assert 15 <= words[250] <= 30


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_repeats_are_as_many_as_asked_for(share: float) -> None:
    asked = made_up(1_000)
    said = list(with_repeats(asked, share, random.Random(1)))
    assert len(said) == 1_000
    assert 1 - len(set(said)) / 1_000 == pytest.approx(share, abs=0.05)
