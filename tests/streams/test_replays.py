"""Originals of dead letters go back with key and order, once, and are answered then."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete

from schemas.errors import ErrorClass, Unanswerable
from schemas.events import Cause
from schemas.topics import DEAD_LETTERS, REPLAYS
from streams import cluster as clients
from streams import dead_letter
from streams.dead_letter import HEADER_REPLAY_OF
from streams.dead_letters import Found, find, replay
from streams.lane import Answer
from streams.lanes import Lanes
from streams.message import Message
from streams.reading import Record
from streams.settings import Settings
from tests.support import command, topics
from tests.support.command import Console

pytestmark = pytest.mark.timeout(120)


class Learning:
    """Copies what it knows, and refuses the rest until it knows better."""

    def __init__(self, name: str, *, knows: bool) -> None:
        self.service = name
        self._knows = knows

    def admit(self, record: Any) -> tuple[Message, Cause | None]:
        body = orjson.loads(record.value)
        cause = Cause("agent", "source", 0, body["offset"], 0)
        if body.get("hard") and not self._knows:
            raise Unanswerable(ErrorClass.UNKNOWN_TASK, "not yet", cause=cause)
        return Message(f"{self.service}.out", record.key, record.value, []), cause

    def submit(self, items: Sequence[Message]) -> Sequence[asyncio.Future[Answer]]:
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Answer]] = [loop.create_future() for _ in items]
        for answer, item in zip(answers, items, strict=True):
            answer.set_result(Answer((item,)))
        return answers

    async def prepare(self, versions: dict[str, str]) -> None:
        """Nothing to load."""


@asynccontextmanager
async def running(settings: Settings, handler: Learning) -> AsyncIterator[None]:
    lanes = asyncio.create_task(Lanes(settings, [f"{handler.service}.in"], handler).run())
    try:
        yield
    finally:
        lanes.cancel()
        with suppress(asyncio.CancelledError):
            await lanes


async def count(settings: Settings, topic: str, wanted: int) -> list[Record]:
    async def complete() -> list[Record]:
        found = await topics.read_all(settings, topic)
        return found if len(found) >= wanted else []

    if not wanted:
        return []
    found: list[Record] = await topics.until(complete, f"{wanted} records on {topic}")
    return found


async def letters(settings: Settings, topic: str) -> list[Found]:
    return [one async for one in find(settings, topic=topic)]


async def refused(settings: Settings, name: str, bodies: Sequence[tuple[bytes, Any]]) -> None:
    """Topics `NAME.in` and `.out`, and a dead letter of each hard body on the first."""
    await topics.create(settings, f"{name}.in", f"{name}.out", partitions=1)
    said = [(key, orjson.dumps(body)) for key, body in bodies]
    await topics.publish(settings, f"{name}.in", said, [("origin", b"\x01")])
    hard = sum(bool(body.get("hard")) for _, body in bodies)

    async def all_refused() -> bool:
        return len(await letters(settings, f"{name}.in")) == hard

    async with running(settings, Learning(name, knows=False)):
        await topics.until(all_refused, f"{hard} dead letters")
        await count(settings, f"{name}.out", len(bodies) - hard)


async def test_what_was_refused_is_answered_after_its_replay_once_and_in_order(
    cluster: Settings,
) -> None:
    bodies = [(b"%d" % (n % 2), {"offset": n, "hard": n % 3 == 0}) for n in range(12)]
    await refused(cluster, "learn", bodies)
    found = await letters(cluster, "learn.in")
    first = await replay(cluster, found[::-1])
    assert Counter(first.values()) == {"replayed": 4}
    assert Counter((await replay(cluster, found)).values()) == {"replayed before": 4}

    there = await topics.read_settled(cluster, "learn.in")
    back = there[12:]
    assert [(one.key, one.json()) for one in back] == [one for one in bodies if one[1]["hard"]]
    assert [one.header("origin") for one in back] == ["\x01"] * 4
    assert {one.header(HEADER_REPLAY_OF) for one in back} == set(first)

    async with running(cluster, Learning("learn", knows=True)):
        answers = await count(cluster, "learn.out", 12)
    assert [one.json()["offset"] for one in answers[8:]] == [0, 3, 6, 9]
    assert len(await letters(cluster, "learn.in")) == 4


async def test_a_replay_that_fails_again_is_one_more_dead_letter_that_can_be_replayed(
    cluster: Settings,
) -> None:
    await refused(cluster, "fail", [(b"k", {"offset": 1, "hard": True})])
    await replay(cluster, await letters(cluster, "fail.in"))
    async with running(cluster, Learning("fail", knows=False)):
        await topics.until(lambda: _more(cluster, "fail.in", 2), "the second dead letter")
    outcome = await replay(cluster, await letters(cluster, "fail.in"))
    assert Counter(outcome.values()) == {"replayed before": 1, "replayed": 1}
    async with running(cluster, Learning("fail", knows=True)):
        assert len(await count(cluster, "fail.out", 1)) == 1


async def _more(settings: Settings, topic: str, wanted: int) -> bool:
    return len(await letters(settings, topic)) >= wanted


async def test_once_holds_longer_than_the_topic_keeps_the_record(cluster: Settings) -> None:
    await refused(cluster, "old", [(b"k", {"offset": 1, "hard": True})])
    found = await letters(cluster, "old.in")
    assert set((await replay(cluster, found)).values()) == {"replayed"}
    await _forget(cluster, "old.in", 2)
    assert set((await replay(cluster, found)).values()) == {"replayed before"}


async def test_what_no_letter_can_hold_comes_from_its_own_topic_while_that_keeps_it(
    cluster: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if a letter held 20 kB: to outgrow a real one takes half a million headers.
    monkeypatch.setattr(dead_letter, "_ROOM_FOR_HEADERS", DEAD_LETTERS.max_message_bytes - 20_000)
    await topics.create(cluster, "large.in", "large.out", partitions=1)
    many = [(f"h{n}", b"\x00") for n in range(2_000)]
    value = orjson.dumps({"offset": 1, "hard": True})
    await topics.publish(cluster, "large.in", [(b"a", value), (b"b", value)], many)
    async with running(cluster, Learning("large", knows=False)):
        # The second says the same cause: a replay by its agent, and no second letter.
        await topics.until(lambda: _more(cluster, "large.in", 1), "a dead letter")
    found = await letters(cluster, "large.in")
    (letter,) = [one.letter for one in found]
    assert not letter.source.whole
    assert set((await replay(cluster, found)).values()) == {"replayed"}
    back = (await topics.read_settled(cluster, "large.in"))[-1]
    assert (back.key, back.value) == (b"a", value)
    assert list(back.headers[:-1]) == many

    other = Found(letter=msgspec.structs.replace(letter, id="dead:x:y:0:0"), at=found[0].at)
    await _forget(cluster, "large.in", 1)
    assert set((await replay(cluster, [other])).values()) == {"not kept"}


async def _forget(settings: Settings, topic: str, before: int) -> None:
    """As retention does."""
    admin = clients.admin(settings)
    await admin.start()
    try:
        deleted = {TopicPartition(topic, 0): RecordsToDelete(before_offset=before)}
        await admin.delete_records(deleted)
    finally:
        await admin.close()


ONE_BY_ONE = """
import sys
from console.main import run
from streams import dead_letters
dead_letters._IN_ONE_TRANSACTION = 1
sys.exit(run(sys.argv[1:]))
"""


def test_a_killed_replay_given_again_puts_back_the_rest(cluster: Settings) -> None:
    total = 80
    asyncio.run(
        refused(cluster, "kill", [(b"k", {"offset": n, "hard": True}) for n in range(total)])
    )
    arguments = ["dead-letters", "replay", "--all", "--topic", "kill.in"]
    of_cluster = ["--bootstrap", cluster.bootstrap, "--data", str(cluster.data)]
    process = subprocess.Popen(  # noqa: S603  (our own command)
        [sys.executable, "-c", ONE_BY_ONE, *arguments, *of_cluster],
        env=command.environment(),
    )
    try:
        asyncio.run(count(cluster, "kill.in", total + 1))
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    outcomes = Counter(line["outcome"] for line in Console(cluster)(*arguments, "--json").lines())
    assert outcomes["replayed"] > 0, "killed in the middle"
    assert outcomes["replayed before"] > 0
    there = asyncio.run(topics.read_settled(cluster, "kill.in"))
    assert [one.json()["offset"] for one in there] == [*range(total)] * 2
    marks = asyncio.run(topics.read_settled(cluster, REPLAYS.name))
    ours = [one.json()["id"] for one in marks if one.json()["topic"] == "kill.in"]
    assert len(ours) == len(set(ours)) == total
    shown = Console(cluster)("dead-letters", "list", "--topic", "kill.in", "--json").lines()
    assert all(one["replayed_at"] for one in shown)
