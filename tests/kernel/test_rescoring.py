"""Requests of the past are asked again of another version, each once, beside the live results."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import KafkaError

from kernel import promotions, registry, rescoring, service
from kernel.rescoring import HEADER_REQUEST_AT, Rescoring, rescore
from proof import tiny_model
from schemas.events import KernelRequest, ModelState, ModelVersion
from schemas.ids import model_key
from schemas.topics import DEAD_LETTERS, MODELS, REQUESTS, RESCORED, RESULTS
from streams import cluster as clients
from streams.message import Message
from streams.offset_ranges import OffsetRangeError, resolve
from streams.reading import Record
from streams.settings import Settings
from tests.support import command, topics
from tests.support.command import Console

pytestmark = pytest.mark.timeout(120)

TEXTS = ["good news", "bad news", "so so"]
SCORED = 60
"""Requests that a model can answer: those of `TEXTS`, in turn."""
REFUSED = 3
NAMES = [topic.name for topic in REQUESTS.values()]


def request(number: int, text: str, task: str = "sentiment") -> Message:
    thread = f"T{number % 7}"
    event = KernelRequest(id=f"r{number}", task=task, text=text, thread=thread, target="X Corp")
    urgency = REQUESTS["bulk" if number % 4 == 0 else "standard"]
    return Message.of(urgency, thread.encode(), event, "test")


async def announce(settings: Settings, name: str, state: ModelState, folder: Path) -> None:
    """A version that can be told apart from v1: good means bad to it."""
    address, digest = tiny_model.make(settings.models, name, folder, flip=name != "v1")
    version = ModelVersion(
        id=model_key("sentiment", name),
        task="sentiment",
        version=name,
        state=state,
        labels=tiny_model.LABELS,
        artefact=address,
        digest=digest,
        reason="for the test",
        changed_at=datetime.now(UTC),
    )
    await send(settings, Message.of(MODELS, version.id.encode(), version, "test"))


async def send(settings: Settings, *messages: Message) -> None:
    """In one transaction: its marker takes an offset, as it does where publishers use them."""
    producer = clients.producer(settings, transactional_id="test.send")
    await producer.start()
    try:
        async with producer.transaction():
            await asyncio.gather(*[await message.send(producer) for message in messages])
    finally:
        await producer.stop()
    await topics.settled(settings, *{message.topic for message in messages})


@pytest.fixture(scope="module")
def answered(cluster: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A cluster on which v1 has answered what can be answered, and v2, v3, v4 never have."""

    async def story() -> None:
        folder = tmp_path_factory.mktemp("made")
        states: dict[str, ModelState] = {
            "v1": "live",
            "v2": "candidate",
            "v3": "refused",
            "v4": "retired",
            "v6": "candidate",
        }
        for name, state in states.items():
            await announce(cluster, name, state, folder)
        await send(cluster, *[request(n, TEXTS[n % 3]) for n in range(SCORED)])
        await send(
            cluster,
            request(SCORED, "explode now"),
            request(SCORED + 1, "  "),
            request(SCORED + 2, "good", task="another"),
            Message(NAMES[1], b"T1", b"not json", []),
        )
        kernel = asyncio.create_task(service.serve(cluster))
        try:

            async def complete() -> bool:
                return len(await topics.read_all(cluster, RESULTS.name, DEAD_LETTERS.name)) >= 64

            await topics.until(complete, "64 answers", 60)
        finally:
            kernel.cancel()
            with suppress(asyncio.CancelledError):
                await kernel

    asyncio.run(story())
    return cluster


@pytest.fixture(scope="module")
def console(answered: Settings) -> Console:
    return Console(answered)


def places(records: list[Record], version: str) -> list[str]:
    """Where the requests lie that `version` has answered again."""
    return sorted(
        record.header(HEADER_REQUEST_AT) or ""
        for record in records
        if record.json()["model_version"] == version
    )


async def again(settings: Settings, name: str, **how: Any) -> Rescoring:
    version = promotions.find(await registry.read(settings), "sentiment", name)
    return await rescore(
        settings, version, await resolve(settings, NAMES, ("earliest", "latest")), **how
    )


def test_a_version_answers_each_request_once_more_and_live_results_stay_as_they_are(
    console: Console, answered: Settings
) -> None:
    live = asyncio.run(topics.read_settled(answered, RESULTS.name, DEAD_LETTERS.name))
    done = console("rescore", "--task", "sentiment", "--model", "v2", "--json")
    assert done.code == 0, done.err
    (said,) = done.lines()
    assert (said["scored"], said["other_tasks"]) == (SCORED, 1)
    assert said["refused"] == {"driver-failed": 1, "empty-text": 1, "not-json": 1}
    assert {one["error_class"] for one in said["refusals"]} == set(said["refused"])

    found = asyncio.run(topics.read_settled(answered, RESCORED.name))
    bodies = {record.json()["request_id"]: record.json() for record in found}
    assert len(found) == len(bodies) == len({body["id"] for body in bodies.values()}) == SCORED
    assert [bodies[f"r{n}"]["label"] for n in range(3)] == ["negative", "positive", "neutral"]
    assert {record.key for record in found} == {f"T{n}".encode() for n in range(7)}
    at = places(found, "v2")
    assert len(set(at)) == SCORED
    assert {place.split(":")[0] for place in at} == {NAMES[1], NAMES[2]}

    repeated = console("rescore", "--task", "sentiment", "--model", "v2")
    assert "v2: 0 answers" in repeated.out
    assert asyncio.run(topics.read_settled(answered, RESCORED.name)) == found
    assert asyncio.run(topics.read_settled(answered, RESULTS.name, DEAD_LETTERS.name)) == live


def test_two_versions_are_compared_over_what_both_were_asked(console: Console) -> None:
    assert console("rescore", "--model", "v2").code == 0
    shown = console("diff", "--task", "sentiment", "--a", "v1", "--b", "v2", "--json")
    assert shown.code == 0, shown.err
    (found,) = shown.lines()
    third = SCORED // 3
    assert (found["both"], found["only_a"], found["only_b"]) == (SCORED, 0, 0)
    assert (found["requests"], found["neither"]) == (SCORED + 2, 2)
    assert (found["agreeing"], found["agreement"]) == (third, pytest.approx(1 / 3))
    assert found["transitions"] == {
        "positive": {"negative": third},
        "negative": {"positive": third},
        "neutral": {"neutral": third},
    }
    assert found["change"]["neutral"] == pytest.approx(0, abs=1e-6)
    assert len(found["furthest"]) == 10
    assert {one["text"] for one in found["furthest"]} <= {"good news", "bad news"}
    plain = console("diff", "--a", "v1", "--b", "v2", "--show", "2").out
    assert "33.33%" in plain
    assert "Furthest apart" in plain


def test_offsets_that_one_version_alone_has_answered_are_counted(console: Console) -> None:
    part = ["--urgency", "standard", "--partition", "0"]
    assert console("rescore", "--model", "v3", *part).code == 0
    whole = console("diff", "--a", "v1", "--b", "v3", "--json").lines()[0]
    narrow = console("diff", "--a", "v1", "--b", "v3", *part, "--json").lines()[0]
    assert whole["both"] == narrow["both"] > 0
    assert whole["only_a"] == SCORED - whole["both"]
    assert (narrow["only_a"], narrow["only_b"]) == (0, 0)


def test_a_refused_version_may_be_asked_and_the_reason_is_said(console: Console) -> None:
    done = console("rescore", "--model", "v3", "--urgency", "bulk")
    assert (done.code, "v3 was refused: for the test" in done.err) == (0, True)


SLOWLY = """
import sys
from kernel import rescoring
from console.main import run
rescoring.CHUNK = 1
sys.exit(run(sys.argv[1:]))
"""


def test_a_killed_rescoring_goes_on_where_it_stopped(answered: Settings, console: Console) -> None:
    of_cluster = ["--bootstrap", answered.bootstrap, "--data", str(answered.data)]
    process = subprocess.Popen(  # noqa: S603  (our own command)
        [sys.executable, "-c", SLOWLY, "rescore", "--model", "v4", *of_cluster],
        env=command.environment(),
    )

    async def begun() -> list[str]:
        return places(await topics.read_all(answered, RESCORED.name), "v4")

    try:
        asyncio.run(topics.until(begun, "the first answers", 40))
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = asyncio.run(begun())
    rest = console("rescore", "--model", "v4", "--json").lines()[0]
    assert 0 < len(before) < SCORED, "killed in the middle"
    assert rest["offsets_before"] > 0
    after = asyncio.run(begun())
    assert len(after) == len(set(after)) == SCORED


def test_two_at_once_answer_nothing_twice(
    answered: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescoring, "CHUNK", 4)

    async def story() -> list[Record]:
        await announce(answered, "v5", "candidate", tmp_path)
        ends = await asyncio.gather(
            *(again(answered, "v5") for _ in range(2)), return_exceptions=True
        )
        assert all(isinstance(one, Rescoring) or _is_kafka(one) for one in ends), ends
        await again(answered, "v5")
        return await topics.read_settled(answered, RESCORED.name)

    at = places(asyncio.run(story()), "v5")
    assert len(at) == len(set(at)) == SCORED


def _is_kafka(error: BaseException) -> bool:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return isinstance(error, KafkaError)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("rescore --model v9", 6, "there are: "),
        ("rescore --model v1 --task no-task", 6, "no version"),
        ("rescore --model v1 --from 5 --to 5", 6, "nothing lies from 5"),
        ("rescore --model v1 --from soon", 2, "--from"),
        ("rescore --model v1 --partition 99", 6, "partition 99"),
        ("diff --a v1 --b v1", 2, "different versions"),
        ("diff --a v1 --b v9", 6, "no version 'v9'"),
        ("diff --a v1 --b v6", 6, "headrace rescore --task sentiment --model v6"),
    ],
)
def test_bad_input_says_what_to_do(console: Console, line: str, code: int, said: str) -> None:
    done = console(*line.split())
    assert (done.code, said in done.err) == (code, True), done.err


async def test_a_range_is_named_by_offsets_or_times_and_what_retention_took_is_told(
    cluster: Settings,
) -> None:
    await topics.create(cluster, "ranges", partitions=2)
    moment = datetime(2026, 3, 2, 7, tzinfo=UTC)
    producer = clients.producer(cluster)
    await producer.start()
    for hour in range(10):
        at = moment + timedelta(hours=hour)
        stamp = int(at.timestamp() * 1000)
        await producer.send_and_wait("ranges", b"x", partition=0, timestamp_ms=stamp)
    await producer.stop()

    async def spans(*between: Any) -> list[tuple[int, int, int]]:
        found = await resolve(cluster, ["ranges"], between)
        return [(one.partition.partition, one.begin, one.end) for one in found]

    assert await spans("earliest", "latest") == [(0, 0, 10)]
    assert await spans(2, 50) == [(0, 2, 10)]
    assert await spans(moment + timedelta(hours=3), moment + timedelta(hours=5)) == [(0, 3, 5)]
    assert await spans(moment + timedelta(minutes=1), "latest") == [(0, 1, 10)]
    for empty in ((4, 4), (6, 2), (10, 20), ("latest", "latest")):
        with pytest.raises(OffsetRangeError, match="nothing lies"):
            await spans(*empty)

    admin = clients.admin(cluster)
    await admin.start()
    await admin.delete_records({TopicPartition("ranges", 0): RecordsToDelete(before_offset=4)})
    await admin.close()
    with pytest.raises(OffsetRangeError, match=r"ranges/0 from 4; begin there"):
        await spans(2, 8)
    assert await spans("earliest", 8) == [(0, 4, 8)]
