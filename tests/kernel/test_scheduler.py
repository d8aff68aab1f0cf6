from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.scheduler import (
    BUCKET_TOKENS,
    FILL_TOKENS,
    RECENT_S,
    ROUND_TOKENS,
    URGENCIES,
    Request,
    Scheduler,
)
from proof.bench.policies import Flight
from proof.bench.simulation import Costs, Run, Simulation
from proof.bench.traces import Arrival, backlog, merged, poisson
from schemas.topics import Urgency

BUDGET = 1_024
PER_S = Costs().per_s * 0.9
"""Requests a second that the simulated kernel can score."""

rows = st.lists(
    st.fixed_dictionaries(
        {
            "tokens": st.integers(1, 512),
            "urgency": st.sampled_from(URGENCIES),
            "lane": st.integers(0, 5),
            "tenant": st.sampled_from(["", "a", "b"]),
            "model": st.sampled_from(["model a", "model b"]),
            "deadline": st.none() | st.floats(0, 50),
            "withdrawn": st.booleans() | st.just(False),
        }
    ),
    max_size=150,
)


def _request(row: dict[str, Any], number: int) -> Request[str, int]:
    fields: dict[str, Any] = {"model": "m", "urgency": "standard", "lane": 0, "work": number, **row}
    fields.pop("withdrawn", None)
    return Request(**fields)


def _played(trace: list[Arrival], seconds: float, **costs: Any) -> Run:
    return Simulation(trace, Scheduler[str, Flight](), Costs(**costs)).run(seconds)


def _p99_ms(run: Run, flights: Iterable[Flight]) -> float:
    ages = sorted(
        (run.ended if one.committed is None else one.committed) - one.arrival.at for one in flights
    )
    return ages[int(0.99 * len(ages))] * 1000


@given(rows, st.integers(1, 2_048), st.integers(0, 100))
def test_every_request_leaves_exactly_once_as_scored_or_expired_or_withdrawn(
    wild: list[dict[str, Any]], budget: int, every: int
) -> None:
    scheduler: Scheduler[str, int] = Scheduler({"a": 3.0})
    left: Counter[tuple[str, int]] = Counter()
    now = 0.0
    requests = [_request(row, number) for number, row in enumerate(wild)]
    for number, request in enumerate(requests):
        scheduler.enter(request)
        if wild[number]["withdrawn"]:
            scheduler.withdraw(request)
            scheduler.withdraw(request)  # a second time is once too many, and harmless
            left["withdrawn", number] += 1
        if every and number % every == 0:
            now += 1
            left.update(("scored", one.work) for one in scheduler.take(now, budget))
            left.update(("expired", one.work) for one in scheduler.expired(now))
    while len(scheduler):
        now += 1
        for one in scheduler.take(now, budget):
            assert one.deadline is None or one.deadline > now, "an expired one is not scored"
            left["scored", one.work] += 1
        for one in scheduler.expired(now):
            assert one.deadline is not None
            assert one.deadline <= now
            left["expired", one.work] += 1
    left.update(("expired", one.work) for one in scheduler.expired(now))
    assert sorted(number for _, number in left.elements()) == list(range(len(wild)))
    assert scheduler.next_deadline() is None


@given(rows, st.integers(1, 2_048))
def test_a_batch_is_of_one_model_within_the_budget_and_of_about_one_length(
    wild: list[dict[str, Any]], budget: int
) -> None:
    scheduler: Scheduler[str, int] = Scheduler()
    for number, row in enumerate(wild):
        scheduler.enter(_request(row | {"deadline": None}, number))
    while batch := scheduler.take(0.0, budget):
        longest = max(one.tokens for one in batch)
        assert len({one.model for one in batch}) == 1
        assert len(batch) == 1 or longest * len(batch) <= budget
        assert min(one.tokens for one in batch) > longest - 2 * BUCKET_TOKENS


@given(rows)
def test_a_batch_holds_the_oldest_request_of_its_lane_and_class(
    wild: list[dict[str, Any]],
) -> None:
    scheduler: Scheduler[str, int] = Scheduler()
    waiting = {}
    for number, row in enumerate(wild):
        waiting[number] = _request(row | {"deadline": None}, number)
        scheduler.enter(waiting[number])
    while batch := scheduler.take(0.0, BUDGET):
        heads: dict[tuple[Urgency, Any], int] = {}
        for number, one in waiting.items():
            heads.setdefault((one.urgency, one.lane), number)
        assert {one.work for one in batch} & set(heads.values()), "some lane can commit"
        for one in batch:
            del waiting[one.work]


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 512), st.integers(0, 5)), min_size=1, max_size=60))
def test_nothing_starves_whatever_the_others_do(wild: list[tuple[int, int]]) -> None:
    """Bulk requests leave in bounded time under interactive and standard load without end."""
    scheduler: Scheduler[str, int] = Scheduler()
    numbers = count()
    for tokens, lane in wild:
        scheduler.enter(_request({"tokens": tokens, "urgency": "bulk", "lane": lane}, -1))
    served = 0
    # A lane may stand a round behind each of the others; then one batch in eight is bulk's,
    # and it takes at least the leader of its lowest lane.
    bound = 10 * BUDGET * (len(wild) + 1) + 10 * ROUND_TOKENS * 6
    while scheduler.waiting("bulk"):
        for urgency in ("interactive", "standard"):
            while scheduler.waiting(urgency) < 60:
                number = next(numbers)
                row = {"tokens": 20 + number % 40, "urgency": urgency, "lane": 10 + number % 4}
                scheduler.enter(_request(row, number))
        batch = scheduler.take(0.0, BUDGET)
        served += len(batch) * max(one.tokens for one in batch)
        assert served <= bound


def test_the_most_urgent_class_leads_and_takes_little_of_the_others_with_it() -> None:
    scheduler: Scheduler[str, int] = Scheduler()
    for number in range(200):
        scheduler.enter(_request({"tokens": 8, "urgency": "bulk", "lane": "b"}, number))
    scheduler.enter(_request({"tokens": 8, "urgency": "interactive", "lane": "i"}, -1))
    batch = scheduler.take(0.0, BUDGET)
    assert batch[0].work == -1
    assert len(batch) == FILL_TOKENS // 2 // 8


def test_batches_of_bulk_are_small_while_urgent_work_keeps_coming() -> None:
    scheduler: Scheduler[str, int] = Scheduler()
    for number in range(400):
        scheduler.enter(_request({"tokens": 8, "urgency": "bulk", "lane": "b"}, number))
    assert len(scheduler.take(0.0, BUDGET)) == BUDGET // 8
    scheduler.enter(_request({"tokens": 8, "urgency": "interactive", "lane": "i"}, -1))
    assert scheduler.take(1.0, BUDGET)[0].work == -1
    assert len(scheduler.take(1.1, BUDGET)) == FILL_TOKENS // 2 // 8
    assert len(scheduler.take(1.1 + RECENT_S, BUDGET)) == BUDGET // 8


@pytest.mark.parametrize(
    "weights", [{"a": 3.0, "b": 2.0, "c": 1.0}, {"a": 1.0, "b": 10.0, "c": 1.0}, {}]
)
def test_tenants_on_lanes_of_their_own_share_by_weight_however_many_lanes_they_use(
    weights: dict[str, float],
) -> None:
    scheduler: Scheduler[str, int] = Scheduler(weights)
    lanes = {"a": [0, 1, 2, 3], "b": [4], "c": [5, 6]}
    numbers = count()
    had: Counter[str] = Counter()
    for _ in range(400):
        for tenant, own in lanes.items():
            for lane in own:
                for _ in range(30):
                    tokens = 16 + next(numbers) * 7 % 48
                    scheduler.enter(_request({"tokens": tokens, "tenant": tenant, "lane": lane}, 0))
        for one in scheduler.take(0.0, BUDGET):
            had[one.tenant] += one.tokens
    total = sum(weights.get(tenant, 1.0) for tenant in lanes)
    for tenant in lanes:
        share = had[tenant] / had.total()
        assert share == pytest.approx(weights.get(tenant, 1.0) / total, rel=0.1)


def test_an_idle_tenant_saves_nothing_up() -> None:
    scheduler: Scheduler[str, int] = Scheduler()
    for number in range(2_000):
        scheduler.enter(_request({"tokens": 32, "tenant": "busy", "lane": 0}, number))
    for _ in range(30):
        scheduler.take(0.0, BUDGET)
    for number in range(1_000):
        scheduler.enter(_request({"tokens": 32, "tenant": "late", "lane": 1}, number))
    had = Counter(one.tenant for _ in range(20) for one in scheduler.take(0.0, BUDGET))
    assert had["late"] == pytest.approx(had["busy"], abs=2 * ROUND_TOKENS / 32)


def test_interactive_latency_holds_behind_fifty_thousand_bulk_requests() -> None:
    interactive = poisson(1, 60, 20, "interactive")
    unloaded = _played(interactive, 40)
    loaded = _played(merged(interactive, backlog(2, 50_000, "bulk")), 20)
    bound = 1.5 * _p99_ms(unloaded, unloaded.flights) + Costs().seconds(BUDGET) * 1000
    of_interest = [one for one in loaded.flights if one.arrival.urgency == "interactive"]
    assert _p99_ms(loaded, of_interest) <= bound
    assert loaded.busy_s >= 0.99 * loaded.ended * Costs().passes, "and bulk has all the rest"


def test_bulk_gets_a_tenth_of_the_capacity_under_a_standing_load() -> None:
    run = _played(
        merged(
            poisson(1, 0.6 * PER_S, 20, "interactive"),
            poisson(2, 0.7 * PER_S, 20, "standard"),
            backlog(3, 50_000, "bulk"),
        ),
        20,
    )
    assert 0.1 <= run.padded_by["bulk"] / run.padded <= 0.15


@pytest.mark.parametrize("load", [0.5, 0.7])
def test_a_key_with_nine_tenths_of_the_traffic_at_most_doubles_the_latency_of_others(
    load: float,
) -> None:
    others = poisson(1, 0.1 * load * PER_S, 60, "standard")
    hot = poisson(2, 0.9 * load * PER_S, 60, "standard", thread="hot")
    without = _played(others, 120)
    run = _played(merged(others, hot), 120)
    of_interest = [one for one in run.flights if one.arrival.thread != "hot"]
    assert _p99_ms(run, of_interest) <= 2 * _p99_ms(without, without.flights)


def test_a_key_that_asks_for_more_than_there_is_delays_other_partitions_by_a_few_batches() -> None:
    others = poisson(1, 0.1 * PER_S, 30, "standard")
    hot = poisson(2, 1.5 * PER_S, 30, "standard", thread="hot")
    without = _played(others, 60)
    run = _played(merged(others, hot), 30)
    elsewhere = [
        one
        for one in run.flights
        if one.arrival.thread != "hot" and one.arrival.lane != hot[0].lane
    ]
    allowed = _p99_ms(without, without.flights) + 3 * Costs().seconds(BUDGET) * 1000
    assert _p99_ms(run, elsewhere) <= allowed


def test_what_expires_is_answered_at_its_deadline_and_does_not_hold_its_lane() -> None:
    trace = [
        Arrival(at=0.0, tokens=40, thread="t", partition=0, deadline=0.2) for _ in range(2_000)
    ]
    run = _played(trace, 60)
    assert any(one.expired for one in run.flights)
    assert not all(one.expired for one in run.flights)
    assert all(one.scored is not None and one.scored <= 0.3 for one in run.flights)
    assert all(one.committed is not None for one in run.flights)


def test_withdrawn_and_timed_requests_leave_no_memory_behind() -> None:
    scheduler: Scheduler[str, int] = Scheduler()
    scheduler.enter(_request({"tokens": 30, "deadline": 2e6}, -1))
    for number in range(20_000):
        request = _request({"tokens": 30, "lane": number % 3, "deadline": 1e6}, number)
        scheduler.enter(request)
        scheduler.withdraw(request)
    assert len(scheduler) == 1
    one = scheduler._classes["standard"]
    kept = sum(len(queue) for bucket in one._buckets.values() for queue in bucket._queues.values())
    assert kept + len(scheduler._deadlines) + sum(len(x.queue) for x in one._lanes.values()) < 500


def test_ten_thousand_requests_a_second_are_no_burden() -> None:
    requests = [
        _request({"tokens": 6 + n * 31 % 90, "lane": n % 12, "urgency": URGENCIES[n % 3]}, n)
        for n in range(20_000)
    ]
    scheduler: Scheduler[str, int] = Scheduler()
    began = time.process_time()
    for request in requests:
        scheduler.enter(request)
    while scheduler.take(0.0, BUDGET):
        pass
    assert len(requests) / (time.process_time() - began) > 10_000
