"""`headrace bench scale`: kernels from 1 to N, and a simulation put to the test.

Each kernel has one core to itself, so that a second one brings what a second machine of
one core would; broker and client are on the same cores. The simulation is given costs
that are measured in the same run, plays the same arrivals with the same lengths, and its
capacity and latencies stand beside the measured ones.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np

from kernel.drivers.classifier import Classifier
from kernel.scheduler import Scheduler
from proof.bench import answers, facts, texts
from proof.bench.kernel import Wanted
from proof.bench.latency import Bench, Plan
from proof.bench.open_loop import Load
from proof.bench.percentiles import schedule, summary
from proof.bench.simulation import Costs, Simulation
from proof.bench.stand import Say, Service, Stand, lanes_open, requests, stand
from proof.bench.texts import Question
from proof.bench.traces import Arrival
from schemas.topics import TRENDS
from streams import cluster, metrics, reading
from streams.settings import Settings

_PROBES: Final = 200
_PROBE_PAUSE_S: Final = 0.02
_SETTLE_S: Final = 3.0
_SHAPES: Final = ((1, 4), (1, 28), (2, 36), (4, 36), (8, 36), (8, 52), (12, 36), (6, 76))
"""Texts and words of the batches by which the costs of a pass are fitted."""
_PASSES: Final = 6


async def main(
    model: Path,
    folder: Path,
    say: Say,
    *,
    feed: Path | None = None,
    limit: int = 3_000,
    seconds: float = 25.0,
    kernels: int | None = None,
    precision: Wanted = "auto",
) -> dict[str, Any]:
    """Measure in the empty `folder`; the figures, as `headrace bench scale` prints them."""
    most = kernels or facts.cores()
    plan = Plan(feed=feed, precision=precision, seconds=seconds, burst=limit)
    costs = await asyncio.to_thread(fit, model, precision)
    say(f"a pass costs {costs.pass_ms:.2f} ms and {costs.token_ms:.4f} ms a padded token")
    async with stand(folder, say) as where:
        await where.announce(model)
        rows = [await _kernels(where, number, plan, say) for number in range(1, most + 1)]
        check = await _check(where, plan, model, costs, say)
    return {"machine": facts.machine(), "texts": limit, "kernels": rows, "simulation": check}


async def _kernels(where: Stand, count: int, plan: Plan, say: Say) -> dict[str, Any]:
    asked = texts.questions(plan.feed, plan.burst, skip=plan.burst * (count - 1))
    names, messages = requests(f"n{count}", asked)
    environment = {"HEADRACE_PRECISION": plan.precision}
    async with AsyncExitStack() as held:
        running: list[Service] = []
        for number in range(count):
            cores = [number % facts.cores()]
            running.append(await held.enter_async_context(where.kernel(environment, cores)))
            await lanes_open(running[-1], 1)
        await asyncio.sleep(_SETTLE_S)  # moved lanes open with a backoff
        reader = await held.enter_async_context(answers.reader(where.settings))
        await where.publish(messages)
        seen = await reader.collect(len(names))
        seen += await reader.rest()
        shares = [(await one.readings()).total(metrics.MESSAGES) for one in running]
    found = answers.counted(names, seen)
    per_s = answers.rate([one.written for one in seen])
    say(f"{count} kernels of one core each: {per_s} texts/s")
    return {
        "kernels": count,
        "per_s": per_s,
        "answered_by_each": [int(one) for one in shares],
        "lost": found.lost,
        "duplicates": found.duplicates,
        "out_of_order": found.out_of_order,
    }


def fit(model: Path, precision: Wanted) -> Costs:
    """Costs of a pass, as many side by side as the kernel runs: a line through measured ones."""
    passes = facts.cores()
    driver = Classifier.load(model, precision, threads=1)
    driver.warm_up()
    padded, milliseconds = [], []
    with ThreadPoolExecutor(passes) as pool:
        for count, words in _SHAPES:
            one = driver.tokenize([" ".join(["market"] * words)], ["gain"])[0]
            jobs = [[one] * count] * (passes * _PASSES)
            list(pool.map(driver.forward, jobs[:passes]))
            taken = list(pool.map(lambda batch: _timed(driver, batch), jobs))
            padded.append(count * one.tokens)
            milliseconds.append(statistics.median(taken) * 1000)
    token_ms, pass_ms = np.polyfit(padded, milliseconds, 1)
    return Costs(pass_ms=max(0.0, float(pass_ms)), token_ms=float(token_ms), passes=passes)


def _timed(driver: Classifier, batch: list[Any]) -> float:
    began = time.perf_counter()
    driver.forward(batch)
    return time.perf_counter() - began


async def _check(where: Stand, plan: Plan, model: Path, costs: Costs, say: Say) -> dict[str, Any]:
    hop_ms = await _hop_ms(where.settings)
    bench = Bench(where, plan, say)
    async with bench.kernel() as kernel:
        asked = texts.questions(plan.feed, plan.burst)
        capacity = await bench.capacity("standard")
        readings = await kernel.readings()
        per_s = round(0.5 * capacity, 1)
        measured = await bench.case("50 %", Load("standard", per_s))
    commit_ms = readings.quantile(metrics.COMMIT, 0.5) * 1000
    costs = Costs(
        pass_ms=costs.pass_ms,
        token_ms=costs.token_ms,
        passes=costs.passes,
        commit_ms=commit_ms,
        commit_interval_ms=where.settings.commit_interval_ms,
    )
    tokens = await asyncio.to_thread(_tokens, model, asked)
    predicted = predict(costs, per_s, plan.seconds, tokens, hop_ms)
    say(
        f"capacity {capacity}, predicted {predicted['capacity_per_s']}; at 50 % p50 "
        f"{measured['p50']}, predicted {predicted['p50']} ms; p99 {measured['p99']}, "
        f"predicted {predicted['p99']} ms"
    )
    return {
        "costs": {
            "pass_ms": round(costs.pass_ms, 3),
            "token_ms": round(costs.token_ms, 4),
            "passes": costs.passes,
            "commit_ms": round(commit_ms, 1),
            "commit_interval_ms": costs.commit_interval_ms,
            "hop_ms": round(hop_ms, 2),
        },
        "measured": {
            "capacity_per_s": capacity,
            **{name: measured[name] for name in ("offered_per_s", "p50", "p90", "p99")},
        },
        "predicted": predicted,
    }


def predict(
    costs: Costs, per_s: float, seconds: float, tokens: list[int], hop_ms: float
) -> dict[str, float]:
    """Capacity, and latencies at `per_s`: those of the simulation, and the way to it and back."""
    burst = [_arrival(0.0, number, tokens) for number in range(len(tokens))]
    all_at_once = Simulation(burst, Scheduler(), costs).run(until=float("inf"))
    times = schedule(per_s, seconds, seed=1)
    trace = [_arrival(at, number, tokens) for number, at in enumerate(times)]
    run = Simulation(trace, Scheduler(), costs).run(until=float("inf"))
    found = summary(
        [
            (one.committed - one.arrival.at) * 1000 + hop_ms
            for one in run.flights
            if one.committed is not None
        ],
        histogram=False,
    )
    return {
        "capacity_per_s": round(len(tokens) / all_at_once.ended, 1),
        "offered_per_s": per_s,
        **{name: found[name] for name in ("p50", "p90", "p99")},
    }


def _arrival(at: float, number: int, tokens: list[int]) -> Arrival:
    return Arrival(at=at, tokens=tokens[number % len(tokens)], thread=f"T{number % 200}")


def _tokens(model: Path, asked: list[Question]) -> list[int]:
    driver = Classifier.load(model, "auto", threads=1)
    encodings = driver.tokenize([one.text for one in asked], [one.target for one in asked])
    return [one.tokens for one in encodings]


async def _hop_ms(settings: Settings) -> float:
    """Median time from the sending of a record to its reading, on a topic that nobody serves."""
    parts = await reading.partitions(settings, [TRENDS.name])
    producer = cluster.producer(settings)
    await producer.start()
    taken = []
    try:
        async with reading.assigned(settings, parts) as consumer:
            await consumer.seek_to_end(*parts)
            for part in parts:
                await consumer.position(part)
            for number in range(_PROBES):
                began = time.monotonic()
                sending = asyncio.create_task(producer.send(TRENDS.name, b"probe", b"%d" % number))
                while not await consumer.getmany(timeout_ms=1_000):
                    pass
                taken.append((time.monotonic() - began) * 1000)
                await sending
                await asyncio.sleep(_PROBE_PAUSE_S)
    finally:
        await producer.stop()
    return statistics.median(taken)
