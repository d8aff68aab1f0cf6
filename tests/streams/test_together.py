"""A part of a service that goes missing ends the service, and no client holds up its end.

Regression: a broker was killed while a kernel's clients were closing; aiokafka's own cancellation
came up as the lanes' end, and the kernel stood there for ever, alive and without a lane.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys

import pytest
from aiokafka.structs import TopicPartition

from streams import lanes
from streams.closing import close
from streams.lanes import Lanes
from streams.relay import RelayHandler
from streams.settings import Settings
from streams.together import EndedError, together

SERVICE = """
import asyncio, sys
from streams import running

running._END_S = 1.0

async def main():
    {body}

running.run_service(lambda: main())
"""


class Stopping:
    """A client whose stop ends by a cancellation of its own making."""

    async def stop(self) -> None:
        inner = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        inner.cancel()
        await inner


class Stubborn:
    """A client that takes a cancellation for something that will pass."""

    async def stop(self) -> None:
        for _ in range(20):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_client_s_own_cancellation_is_not_the_caller_s() -> None:
    await close(Stopping(), Stopping())
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_a_client_that_does_not_stop_is_left_behind_in_time() -> None:
    await asyncio.wait_for(close(Stubborn(), within_s=0.05), 5)


async def test_who_closes_a_client_can_still_be_cancelled() -> None:
    closing = asyncio.create_task(close(Stubborn(), within_s=60))
    await asyncio.sleep(0.05)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(closing, 5)


async def test_a_part_that_is_cancelled_from_within_ends_the_whole() -> None:
    ended = asyncio.Event()

    async def part() -> None:
        await Stopping().stop()

    async def other() -> None:
        try:
            await forever()
        finally:
            ended.set()

    with pytest.raises(EndedError, match=r"part was cancelled from within"):
        await asyncio.wait_for(together(other(), part()), 5)
    assert ended.is_set()


async def test_a_part_that_returns_ends_the_whole() -> None:
    with pytest.raises(EndedError, match="sleep ended by itself"):
        await asyncio.wait_for(together(forever(), asyncio.sleep(0)), 5)


async def test_what_a_part_raises_is_raised() -> None:
    async def part() -> None:
        raise KeyError("poison")

    with pytest.raises(KeyError, match="poison"):
        await asyncio.wait_for(together(forever(), part()), 5)


async def test_the_whole_can_be_cancelled() -> None:
    whole = asyncio.create_task(together(forever(), forever()))
    await asyncio.sleep(0.05)
    whole.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(whole, 5)


async def test_a_lane_that_a_client_has_cancelled_from_within_opens_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lives = 0
    opened = asyncio.Event()

    class Broken:
        def __init__(self, *_: object) -> None:
            pass

        async def run(self) -> None:
            nonlocal lives
            lives += 1
            if lives == 1:
                await Stopping().stop()
            opened.set()
            await forever()

    monkeypatch.setattr(lanes, "Lane", Broken)
    service = Lanes(Settings(session_timeout_ms=1_000), ["t"], RelayHandler())
    keeping = asyncio.create_task(service._keep(TopicPartition("t", 0)))
    await asyncio.wait_for(opened.wait(), 10)
    assert lives == 2
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(keeping, 5)


def service(body: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603  (our own)
        [sys.executable, "-c", SERVICE.format(body=body.replace("\n", "\n    "))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_service_that_is_cancelled_from_within_ends_as_a_failure() -> None:
    running = service("raise asyncio.CancelledError")
    said = running.communicate(timeout=60)[1]
    assert running.returncode == 1
    assert "cancelled from within" in said


def test_a_service_that_is_asked_to_end_ends_well() -> None:
    running = service('print("up", flush=True)\nawait asyncio.sleep(60)')
    assert running.stdout is not None
    assert running.stdout.readline() == "up\n"
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode == 0


def test_what_does_not_want_to_end_does_not_keep_the_process() -> None:
    running = service(
        "async def stubborn():\n"
        "    while True:\n"
        "        try:\n"
        "            await asyncio.sleep(60)\n"
        "        except asyncio.CancelledError:\n"
        "            pass\n"
        "kept = asyncio.create_task(stubborn())\n"
        "await asyncio.sleep(0)"
    )
    running.communicate(timeout=60)
    assert running.returncode == 70
