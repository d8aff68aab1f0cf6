"""What the engine does when a driver fails: each request is answered once, or refused once."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from kernel import passes
from kernel.cache import ResultCache
from kernel.drivers.base import DeviceLostError, DriverError, ExhaustedError, Outcome, Output
from kernel.drivers.classifier import Classifier
from kernel.drivers.encoding import Encoding
from kernel.drivers.graph import GraphDriver
from kernel.drivers.tokens import TokenClassifier
from kernel.engine import MIN_BUDGET, Engine
from kernel.jobs import Job, Scoring, Verdict
from kernel.passes import StuckError
from kernel.scheduler import Request
from schemas.errors import ErrorClass, Unanswerable
from schemas.events import KernelRequest
from schemas.topics import Urgency
from tests.support import tiny_kinds, topics

pytestmark = pytest.mark.timeout(60)
TIMEOUT_S = 1.0


class Faulty(Classifier):
    """A real driver whose forward pass can be made to fail."""

    fail: Callable[[Sequence[Encoding]], None] = staticmethod(lambda _: None)

    def forward(self, batch: Sequence[Encoding]) -> list[Output]:
        self.fail(batch)
        return super().forward(batch)


@pytest.fixture
def driver(tmp_path: Path) -> Faulty:
    folder = tiny_kinds.make(tmp_path / "m", "text-classifier", task="sentiment")
    return Faulty.load(folder, threads=1)


class One:
    """One driver for everything."""

    def __init__(self, driver: GraphDriver) -> None:
        self._driver = driver

    def driver_for(self, request: KernelRequest) -> GraphDriver:
        del request
        return self._driver

    async def wait_for(self, request: KernelRequest) -> GraphDriver:
        del request
        return self._driver


def job(text: str, urgency: Urgency = "standard", lane: str = "lane") -> Job:
    request = KernelRequest(id=text, task="sentiment", text=text, thread="T")
    future: asyncio.Future[Verdict | None] = asyncio.get_running_loop().create_future()
    return Job(request, urgency, lane, time.monotonic(), None, future)


@asynccontextmanager
async def running(driver: GraphDriver, **options: Any) -> AsyncIterator[Engine]:
    engine = Engine(One(driver), ResultCache(1), **({"timeout_s": TIMEOUT_S} | options))
    task = asyncio.create_task(engine.run())
    await asyncio.sleep(0)
    try:
        yield engine
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def answers(engine: Engine, texts: Sequence[str]) -> dict[str, str]:
    """Label or error class of each text."""
    jobs = [job(text) for text in texts]
    engine.enter(jobs)
    found = {}
    for one in jobs:
        try:
            verdict = await one.verdict
        except Unanswerable as reason:
            found[one.request.text] = reason.error_class.value
        else:
            assert verdict is not None
            found[one.request.text] = verdict.outcome.label
    return found


GOOD = [f"good {number}" for number in range(20)]


async def true(condition: Callable[[], bool]) -> None:
    async def holds_now() -> bool:
        return condition()

    await topics.until(holds_now, "the engine is so far", 20)


def holds(batch: Sequence[Encoding], word: str) -> bool:
    return any(word in encoding.text for encoding in batch)


@pytest.mark.parametrize("error", [DriverError("no"), ValueError("unforeseen"), KeyError()])
async def test_an_input_on_which_a_driver_raises_is_refused_alone(
    driver: Faulty, error: Exception
) -> None:
    def fail(batch: Sequence[Encoding]) -> None:
        if holds(batch, "poison"):
            raise error

    driver.fail = fail
    async with running(driver) as engine:
        found = await answers(engine, [*GOOD, "poison"])
    assert found == dict.fromkeys(GOOD, "positive") | {"poison": "driver-failed"}


async def test_an_input_that_gives_nan_is_refused_alone(driver: Faulty) -> None:
    async with running(driver) as engine:
        found = await answers(engine, [*GOOD, "explode 1"])
    assert found == dict.fromkeys(GOOD, "positive") | {"explode 1": "driver-failed"}


async def test_an_input_that_keeps_the_model_busy_for_ever_is_interrupted_and_refused_alone(
    driver: Faulty,
) -> None:
    async with running(driver) as engine:
        found = await answers(engine, [*GOOD, "forever 1"])
        assert found == dict.fromkeys(GOOD, "positive") | {"forever 1": "driver-failed"}
        assert engine.stats.hung == 2
        assert engine._forwarding.abandoned == 0
        assert await answers(engine, ["bad 1"]) == {"bad 1": "negative"}


async def test_a_pass_that_cannot_even_be_interrupted_is_given_up_and_the_lane_goes_on(
    driver: Faulty,
) -> None:
    release = threading.Event()

    def fail(batch: Sequence[Encoding]) -> None:
        if holds(batch, "stuck"):
            release.wait()

    driver.fail = fail
    async with running(driver) as engine:
        found = await answers(engine, [*GOOD, "stuck"])
        assert found == dict.fromkeys(GOOD, "positive") | {"stuck": "driver-failed"}
        assert await answers(engine, ["bad 1"]) == {"bad 1": "negative"}
        assert engine._forwarding.abandoned == 2
        release.set()  # what a pass that was given up says later is never looked at
        await true(lambda: engine._forwarding.abandoned == 0)
        assert await answers(engine, ["bad 2"]) == {"bad 2": "negative"}


async def test_a_kernel_in_which_too_many_passes_hang_ends_and_says_so(
    driver: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "MAX_ABANDONED", 1)
    release = threading.Event()

    def fail(batch: Sequence[Encoding]) -> None:
        del batch
        release.wait()

    driver.fail = fail
    engine = Engine(One(driver), ResultCache(1), timeout_s=0.1)
    task = asyncio.create_task(engine.run())
    await asyncio.sleep(0)
    waiting = job("good")
    engine.enter([waiting])
    with pytest.raises(ExceptionGroup) as raised:
        await task
    release.set()
    assert raised.group_contains(StuckError, match="another takes over")
    assert not waiting.verdict.done() or waiting.verdict.exception() is not None


async def test_want_of_memory_lowers_the_budget_and_nothing_is_refused(driver: Faulty) -> None:
    def fail(batch: Sequence[Encoding]) -> None:
        if sum(encoding.tokens for encoding in batch) > 40:
            raise ExhaustedError("out of memory")

    driver.fail = fail
    async with running(driver, budget=512) as engine:
        first = [f"good {number}" for number in range(200)]
        assert await answers(engine, first) == dict.fromkeys(first, "positive")
        lowered = engine.stats.exhausted
        assert lowered > 0
        assert engine._budget <= 64
        second = [f"bad {number}" for number in range(200)]
        assert await answers(engine, second) == dict.fromkeys(second, "negative")
        assert engine.stats.exhausted - lowered <= 2, "the next batches are small from the start"


async def test_an_input_that_wants_too_much_memory_by_itself_does_not_lower_the_budget(
    driver: Faulty,
) -> None:
    def fail(batch: Sequence[Encoding]) -> None:
        if holds(batch, "glutton"):
            raise ExhaustedError("out of memory")

    driver.fail = fail
    async with running(driver, budget=512) as engine:
        found = await answers(engine, [*GOOD, "glutton"])
        assert found == dict.fromkeys(GOOD, "positive") | {"glutton": "driver-failed"}
        assert engine._budget == 512


async def test_a_long_text_is_scored_in_smaller_parts_where_memory_wants(driver: Faulty) -> None:
    def fail(batch: Sequence[Encoding]) -> None:
        if sum(len(encoding.windows) for encoding in batch) > 2:
            raise ExhaustedError("out of memory")

    driver.fail = fail
    text = " ".join(["good"] * 300)
    async with running(driver, budget=512) as engine:
        assert await answers(engine, [text]) == {text: "positive"}
        assert MIN_BUDGET <= engine._budget < 64


async def test_a_lost_gpu_ends_the_kernel_and_answers_nothing(
    driver: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(batch: Sequence[Encoding]) -> None:
        raise DeviceLostError(f"the GPU is lost with {len(batch)} texts")

    driver.fail = fail
    engine = Engine(One(driver), ResultCache(1))
    task = asyncio.create_task(engine.run())
    await asyncio.sleep(0)
    jobs = [job("good 1"), job("good 2")]
    engine.enter(jobs)
    with pytest.raises(ExceptionGroup) as raised:
        await task
    assert raised.group_contains(DeviceLostError)
    assert "another takes over" in caplog.text
    assert not any(one.verdict.done() for one in jobs)


async def test_a_tokenizer_that_fails_on_one_text_refuses_that_one(driver: Faulty) -> None:
    real = driver.tokenize

    def tokenize(texts: Sequence[str], targets: Sequence[str | None]) -> list[Encoding]:
        if "poison" in texts:
            raise DriverError("cannot be tokenised")
        return real(texts, targets)

    driver.tokenize = tokenize  # type: ignore[method-assign]
    async with running(driver) as engine:
        found = await answers(engine, [*GOOD, "poison"])
    assert found == dict.fromkeys(GOOD, "positive") | {"poison": "driver-failed"}


async def test_an_answer_that_cannot_be_put_together_is_refused_alone(driver: Faulty) -> None:
    real = driver.post

    def post(encoding: Encoding, output: Output) -> Outcome:
        if encoding.text == "poison":
            raise ZeroDivisionError
        return real(encoding, output)

    driver.post = post  # type: ignore[method-assign]
    async with running(driver) as engine:
        found = await answers(engine, [*GOOD, "poison"])
    assert found == dict.fromkeys(GOOD, "positive") | {"poison": "driver-failed"}


async def test_texts_that_cannot_be_read_are_refused_with_their_reason(driver: Faulty) -> None:
    endless = " ".join(["good"] * 300_000)
    async with running(driver) as engine:
        found = await answers(engine, ["\u200b", endless, "good"])
    assert found == {
        "\u200b": ErrorClass.EMPTY_TEXT.value,
        endless: ErrorClass.TEXT_TOO_LONG.value,
        "good": "positive",
    }


async def test_what_is_urgent_does_not_wait_for_the_whole_of_a_long_text(driver: Faulty) -> None:
    begun, release = threading.Event(), threading.Event()

    def fail(batch: Sequence[Encoding]) -> None:
        del batch
        begun.set()
        release.wait(10)

    driver.fail = fail
    async with running(driver, budget=64, timeout_s=30) as engine:
        long = job(" ".join(["good"] * 5_000), "bulk", "slow lane")
        engine.enter([long])
        await asyncio.to_thread(begun.wait, 10)
        urgent = job("bad", "interactive", "fast lane")
        engine.enter([urgent])
        await true(lambda: engine.stats.queued > 0)
        release.set()
        verdict = await urgent.verdict
        assert verdict is not None
        assert verdict.outcome.label == "negative"
        assert not long.verdict.done()
        whole = await long.verdict
        assert whole is not None
        assert whole.outcome.label == "positive"


async def test_a_long_text_that_many_ask_for_is_scored_once(tmp_path: Path) -> None:
    folder = tiny_kinds.make(tmp_path / "m", "token-classifier", task="sentiment")
    text = " ".join(["other"] * 500 + ["ada", "lovelace"] + ["other"] * 500)
    async with running(TokenClassifier.load(folder, threads=1), budget=64) as engine:
        jobs = [job(text) for _ in range(5)]
        engine.enter(jobs)
        said = [await one.verdict for one in jobs]
        batches = engine.stats.batches
        late = job(text)
        engine.enter([late])
        said.append(await late.verdict)
    for verdict in said:
        assert verdict is not None
        assert [one.text for one in verdict.outcome.entities] == ["ada lovelace"]
    assert engine.stats.batches == batches
    assert sum(verdict.cached for verdict in said if verdict) == 5
    assert engine.stats.tokens < 2 * 1_002, "every window went through the model once"


async def test_a_lane_that_closes_in_the_middle_of_a_long_text_leaves_nothing_behind(
    driver: Faulty,
) -> None:
    begun, release = threading.Event(), threading.Event()

    def fail(batch: Sequence[Encoding]) -> None:
        del batch
        begun.set()
        release.wait(10)

    driver.fail = fail
    async with running(driver, budget=64, timeout_s=30) as engine:
        long = job(" ".join(["good"] * 5_000))
        engine.enter([long])
        await asyncio.to_thread(begun.wait, 10)
        long.verdict.cancel()
        release.set()
        assert await answers(engine, ["bad"]) == {"bad": "negative"}
        await true(lambda: not engine._scorings)
        assert len(engine._scheduler) == 0
        assert engine.stats.batches < 10


async def test_answered_requests_leave_nothing_to_the_garbage_collector(driver: Faulty) -> None:
    def held() -> int:
        return sum(type(one) in {Job, Scoring, Request} for one in gc.get_objects())

    gc.collect()
    before = held()
    gc.disable()
    try:
        async with running(driver) as engine:
            await answers(engine, GOOD + GOOD)
        del engine
        await true(lambda: held() == before)
    finally:
        gc.enable()
