"""Tokenizing: the urgent first, everybody in the order of their lane."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from kernel.intake import TOGETHER, Intake
from kernel.jobs import Job
from kernel.scheduler import URGENCIES
from schemas.topics import Urgency
from tests.kernel.test_engine_faults import job


def jobs(*urgencies: Urgency) -> list[Job]:
    return [job(f"good {number}", urgency) for number, urgency in enumerate(urgencies)]


async def test_an_urgent_request_passes_a_backlog_that_came_before_it() -> None:
    intake = Intake()
    backlog: list[Urgency] = ["bulk"] * 5_000
    intake.put(jobs(*backlog))
    await intake.take()
    urgent = jobs("interactive")
    intake.put(urgent)
    assert (await intake.take())[0] is urgent[0]


@given(st.lists(st.lists(st.sampled_from(URGENCIES), max_size=200), min_size=1, max_size=6))
def test_each_class_comes_out_whole_and_in_order(puts: list[list[Urgency]]) -> None:
    async def scenario() -> None:
        intake = Intake()
        came: dict[str, list[Job]] = defaultdict(list)
        went: dict[str, list[Job]] = defaultdict(list)
        for urgencies in puts:
            some = jobs(*urgencies)
            intake.put(some)
            for one in some:
                came[one.urgency].append(one)
        for _ in range(sum(map(len, came.values()))):
            if sum(map(len, went.values())) == sum(map(len, came.values())):
                break
            taken = await intake.take()
            assert 0 < len(taken) <= TOGETHER
            for one in taken:
                went[one.urgency].append(one)
        assert went == came

    asyncio.run(scenario())


async def test_whoever_takes_waits_until_something_comes() -> None:
    intake = Intake()
    taking = asyncio.create_task(intake.take())
    await asyncio.sleep(0)
    assert not taking.done()
    come = jobs("bulk")
    intake.put(come)
    assert await taking == come
