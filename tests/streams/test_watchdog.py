"""Work that stands still ends the process, over a real broker too; waiting and rest do not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from streams import watchdog
from streams.lane import Answer
from streams.lanes import Lanes
from streams.message import Message
from streams.settings import Settings
from streams.watchdog import EXIT_CODE, Work, watch
from tests.streams.test_lanes import Copying, numbered
from tests.support import topics

pytestmark = pytest.mark.timeout(60)

LIMIT_S = 0.2
PROGRESS: list[Work] = [{"orders": number} for number in range(100)]
BETWEEN: list[Work] = [{"orders": 3}, {}] * 50


class EndedError(Exception):
    """The process would have ended."""


@pytest.fixture(autouse=True)
def _the_process_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(reason: str) -> None:
        raise EndedError(reason)

    monkeypatch.setattr(watchdog, "fail_stop", end)


def saying(*works: Work | None) -> Callable[[], Awaitable[Work | None]]:
    """Says one after another, then the last for ever."""
    left = list(works)

    async def look() -> Work | None:
        return left.pop(0) if len(left) > 1 else left[0]

    return look


async def survives(look: Callable[[], Awaitable[Work | None]]) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(watch(look, LIMIT_S), 4 * LIMIT_S)
    return True


async def test_work_that_stands_still_ends_the_process_and_is_named() -> None:
    with pytest.raises(EndedError, match="no progress of orders"):
        await watch(saying({"orders": 3}), LIMIT_S)


async def test_one_partition_that_stands_still_is_not_hidden_by_others() -> None:
    looks: list[Work] = [{"hung": 7, "busy": number} for number in range(100)]
    with pytest.raises(EndedError, match="no progress of hung"):
        await watch(saying(*looks), LIMIT_S)


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(saying({}), id="nothing to do"),
        pytest.param(saying(None), id="the brokers do not answer"),
        pytest.param(saying(*PROGRESS), id="progress"),
        pytest.param(saying(*BETWEEN), id="small work, done at once"),
    ],
)
async def test_this_is_no_standstill(look: Callable[[], Awaitable[Work | None]]) -> None:
    assert await survives(look)


def test_the_supervisor_sees_an_exit_code_other_than_zero() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from streams.watchdog import fail_stop; fail_stop('hung')"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == EXIT_CODE
    assert "hung" in done.stderr


class Never(Copying):
    """Takes requests and never answers."""

    def submit(self, items: Sequence[Message]) -> Sequence[asyncio.Future[Answer]]:
        return [asyncio.get_running_loop().create_future() for _ in items]


class NeverReady(Copying):
    """Its lanes never get beyond opening."""

    async def prepare(self, _versions: dict[str, str]) -> None:
        await asyncio.Event().wait()


def quick(cluster: Settings) -> Settings:
    return cluster.model_copy(update={"standstill_s": 2.0})


@pytest.mark.parametrize("kind", [Never, NeverReady])
async def test_lanes_that_stand_still_before_records_end_their_service(
    cluster: Settings, kind: type[Copying]
) -> None:
    name = f"hang.{kind.__name__}"
    await topics.create(cluster, f"{name}.in", f"{name}.out")
    await topics.publish(cluster, f"{name}.in", numbered(10))
    lanes = Lanes(quick(cluster), [f"{name}.in"], kind(name, f"{name}.out"))
    with pytest.raises(EndedError, match="no progress of"):
        await asyncio.wait_for(lanes.run(), 30)


async def test_lanes_that_rest_or_wait_for_a_model_do_not_end_their_service(
    cluster: Settings,
) -> None:
    await topics.create(cluster, "rest.in", "rest.out", "wait.in", "wait.out")
    await topics.publish(cluster, "rest.in", numbered(10))
    await topics.publish(cluster, "wait.in", numbered(10))
    resting: Lanes[Any] = Lanes(quick(cluster), ["rest.in"], Copying("rest", "rest.out"))
    waiting: Lanes[Any] = Lanes(
        quick(cluster), ["wait.in"], Never("wait", "wait.out"), waits=lambda: True
    )
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(lanes.run()) for lanes in (resting, waiting)]
        await asyncio.wait(running, timeout=6)
        for task in running:
            task.cancel()
    assert len(await topics.read_all(cluster, "rest.out")) == 10
