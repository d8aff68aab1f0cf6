"""The arithmetic of scale, and the simulation, against what can be worked out by hand."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest

from kernel.scheduler import Scheduler
from proof.bench.capacity import Assumptions, Hops, mean_wait, plan
from proof.bench.scale import predict
from proof.bench.simulation import Costs, Simulation
from proof.bench.traces import Arrival, poisson

HOPS = Hops(reader_us=60, kernel_us=150, model_us=2_000, trends_us=90, relay_us=70, broker_us=20)
TOKENS = 10
SERVICE_S = 0.01


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_request_at_a_time_waits_as_a_queue_m_d_1_does(load: float) -> None:
    """Pollaczek-Khinchine. Only the scoring is looked at: commits are no part of that queue."""
    costs = Costs(
        pass_ms=0, token_ms=SERVICE_S * 1000 / TOKENS, passes=1, budget=TOKENS, lane_in_flight=10**9
    )
    arrivals = poisson(5, load / SERVICE_S, 600, "standard")
    trace = [replace_tokens(one) for one in arrivals]
    run = Simulation(trace, Scheduler(), costs).run(until=float("inf"))
    waits = [
        one.scored - one.arrival.at - SERVICE_S for one in run.flights if one.scored is not None
    ]
    assert len(waits) == len(trace)
    expected = mean_wait(len(trace) / 600, SERVICE_S)
    assert statistics.mean(waits) == pytest.approx(expected, rel=0.15)


def replace_tokens(one: Arrival) -> Arrival:
    return Arrival(at=one.at, tokens=TOKENS, urgency=one.urgency, thread=one.thread)


def test_two_passes_side_by_side_do_twice_as_much() -> None:
    tokens = [30] * 2_000
    one = predict(Costs(passes=1), 50, 5, tokens, hop_ms=0)
    two = predict(Costs(passes=2), 50, 5, tokens, hop_ms=0)
    assert two["capacity_per_s"] == pytest.approx(2 * one["capacity_per_s"], rel=0.1)
    assert two["p99"] <= one["p99"]


def test_a_load_above_one_has_no_mean_wait() -> None:
    with pytest.raises(ValueError, match=r"1\.50"):
        mean_wait(150, SERVICE_S)


def test_a_plan_has_room_in_every_process() -> None:
    given = Assumptions()
    for rate in (1, 1_000, 100_000, 1_000_000):
        found = plan(HOPS, rate, given)
        questions = rate * given.questions
        for name, cost_us, events in (
            ("readers", HOPS.reader_us, rate),
            ("kernels", HOPS.kernel_us, questions),
            ("trends", HOPS.trends_us, questions),
            ("relays", HOPS.relay_us, questions),
        ):
            assert events * cost_us / 1e6 <= given.utilisation * found[name]
            assert found["partitions"] >= found[name]
        assert questions <= given.utilisation * given.gpu_per_s * found["gpus"]
        assert found["brokers"] >= given.replication


def test_what_costs_more_takes_more() -> None:
    before, after = plan(HOPS, 100_000), plan(replace(HOPS, kernel_us=300), 100_000)
    assert after["kernels"] > before["kernels"]
    assert after["readers"] == before["readers"]
