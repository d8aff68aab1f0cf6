"""`headrace bench peers`: other ways to put the same model behind Kafka, each against the kernel.

Same broker, same artefact, same texts: requests lie on a topic before a process starts,
the rate is from its first answers to its last (`answers.rate`), and answers are read
read_committed. Peer and kernel take turns, each round on texts of its own.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import psutil
from aiokafka.admin import NewTopic

from proof.bench import answers, facts, texts
from proof.bench.answers import Reader, Seen
from proof.bench.peer_catalogue import BOTH, Peer, Precision, chosen
from proof.bench.peer_environments import InstallError, python
from proof.bench.percentiles import offer, schedule, summary
from proof.bench.rounds import alternated, compared, median
from proof.bench.stand import Say, Stand, requests, stand
from proof.installation import Process
from schemas.topics import REQUESTS, RESULTS
from streams import cluster

EVENTS_PER_S: Final = 60.0
START_S: Final = 180.0
"""The first answer: imports of PyTorch on a busy machine, and a group that is joined."""
WARM_UP_S: Final = 2.0
_LINGER_S: Final = 15.0
_BY_BROKER: Final = {"message.timestamp.type": "LogAppendTime"}
"""Some frameworks give an answer the time of its request, which says nothing about a rate."""


class PeerError(Exception):
    """A peer that ended or never answered; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run and how much; `latency_s` of 0 leaves latency out."""

    names: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = BOTH
    feed: Path | None = None
    limit: int = 3_000
    rounds: int = 2
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """What one process did with one round's texts."""

    per_s: float
    start_s: float
    """From its start to the first answer that could be read."""
    cpu_s: float
    rss_mb: float
    lost: int
    duplicates: int
    out_of_order: int
    labels: dict[int, str]
    """By the number of the question."""
    latency_ms: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Subject:
    """A running process between two topics."""

    process: Process
    source: str
    sink: str


class Bench:
    """One stand and the environments of the peers."""

    def __init__(self, where: Stand, model: Path, environments: Path, plan: Plan, say: Say) -> None:
        self._where = where
        self._model = model
        self._environments = environments
        self._plan = plan
        self._say = say
        self._count = 0

    async def compare(self, peer: Peer, precision: Precision) -> dict[str, Any]:
        """Kernel and peer in turn.

        Raises:
            InstallError: its environment cannot be made.
            PeerError: it does not run.
        """
        interpreter = await asyncio.to_thread(
            python, peer.requirements, self._environments, self._say
        )
        command = peer.command(interpreter, self._model, precision)

        async def ours(number: int) -> Run:
            return await self.run("headrace", [], precision, number)

        async def theirs(number: int) -> Run:
            return await self.run(peer.name, command, precision, number)

        pairs = await alternated(self._plan.rounds, ours, theirs)
        kernels, peers = [one for one, _ in pairs], [one for _, one in pairs]
        return {
            "name": peer.name,
            "about": peer.about,
            "guarantee": peer.guarantee,
            "why": peer.why,
            "precision": precision,
            "headrace_per_s": median([one.per_s for one in kernels]),
            **_figures(peers),
            **compared([one.per_s for one in peers], [one.per_s for one in kernels]),
            "same_label": round(
                statistics.mean(_agreement(ours.labels, theirs.labels) for ours, theirs in pairs), 4
            ),
            "headrace": _figures(kernels),
            "rounds": [{"headrace": _row(one), "peer": _row(two)} for one, two in pairs],
        }

    async def run(
        self, name: str, command: Sequence[str], precision: Precision, number: int
    ) -> Run:
        """Preload, start, count; without a command it is the kernel that runs."""
        plan = self._plan
        self._count += 1
        run = f"{name}-{precision}-{self._count}"
        asked = texts.questions(plan.feed, plan.limit, skip=plan.limit * number)
        last = number == plan.rounds - 1
        source, sink = await self._topics(run, ours=not command)
        names, messages = requests(run, asked)
        await self._where.publish([replace(one, topic=source) for one in messages])
        async with answers.reader(self._where.settings, sink) as reader:
            began = time.monotonic()
            async with self._started(run, command, precision, source, sink) as subject:
                seen = await _collect(reader, 1, subject.process, START_S)
                started = time.monotonic() - began
                cpu = _cpu_s(subject.process)
                seen += await _collect(reader, len(names) - len(seen), subject.process)
                cpu, rss = _cpu_s(subject.process) - cpu, _rss_mb(subject.process)
                seen += await reader.rest()
                latency = None
                if last and plan.latency_s:
                    latency = await self._latency(run, subject, reader)
        count = answers.counted(names, seen)
        rate = answers.rate([one.written for one in seen])
        if not rate:
            raise PeerError(f"{name} answered all at once: a rate takes more --texts")
        self._say(f"{name}, {precision}, round {number + 1}: {rate} texts/s")
        return Run(
            per_s=rate,
            start_s=round(started, 1),
            cpu_s=round(cpu, 2),
            rss_mb=rss,
            lost=count.lost,
            duplicates=count.duplicates,
            out_of_order=count.out_of_order,
            labels={_number(one): one.answer.label for one in seen},
            latency_ms=latency,
        )

    async def _topics(self, run: str, *, ours: bool) -> tuple[str, str]:
        """Source and sink; a peer has topics of its own, so that nobody else's are read."""
        if ours:
            return REQUESTS["standard"].name, RESULTS.name
        names = (f"peers.{run}.requests", f"peers.{run}.answers")
        settings = self._where.settings
        admin = cluster.admin(settings)
        await admin.start()
        try:
            await admin.create_topics(
                [
                    NewTopic(
                        name, settings.partitions, settings.replication, topic_configs=_BY_BROKER
                    )
                    for name in names
                ]
            )
        finally:
            await admin.close()
        return names

    @asynccontextmanager
    async def _started(
        self, run: str, command: Sequence[str], precision: Precision, source: str, sink: str
    ) -> AsyncIterator[_Subject]:
        if not command:
            async with self._where.kernel({"HEADRACE_PRECISION": precision}) as kernel:
                yield _Subject(kernel.process, source, sink)
            return
        settings = self._where.settings
        folder = settings.data / "peers" / run
        folder.mkdir(parents=True)
        log = folder / "log"
        with log.open("ab") as file:
            popen = subprocess.Popen(  # noqa: S603, ASYNC220
                [
                    *command,
                    *("--bootstrap", settings.bootstrap),
                    *("--source", source),
                    *("--sink", sink),
                    *("--group", run),
                ],
                cwd=folder,
                env=_variables(folder),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        process = Process(run, popen, log)
        try:
            yield _Subject(process, source, sink)
        finally:
            await asyncio.to_thread(process.stop)

    async def _latency(self, run: str, subject: _Subject, reader: Reader) -> dict[str, Any]:
        """Open loop at `EVENTS_PER_S`; the process is warm."""
        plan = self._plan
        times = schedule(EVENTS_PER_S, plan.latency_s + WARM_UP_S, seed=7)
        asked = texts.questions(plan.feed, len(times), skip=plan.limit * plan.rounds)
        names, messages = requests(f"{run}-open", asked)
        messages = [replace(one, topic=subject.source) for one in messages]
        intended: dict[str, float] = {}
        producer = cluster.producer(self._where.settings)
        await producer.start()

        async def send(number: int, at: float) -> None:
            intended[names[number]] = at
            await messages[number].send(producer)

        reading = asyncio.create_task(
            _collect(reader, len(names), subject.process, plan.latency_s + _LINGER_S)
        )
        try:
            late = await offer(times, send)
            seen = await reading
        finally:
            reading.cancel()
            await producer.stop()
        began = min(intended.values()) + WARM_UP_S
        latencies = {
            one.answer.request_id: (one.at - intended[one.answer.request_id]) * 1000
            for one in seen
            if one.answer.request_id in intended
        }
        return {
            "offered_per_s": EVENTS_PER_S,
            **summary([ms for name, ms in latencies.items() if intended[name] >= began]),
            "unanswered": len(names) - len(latencies),
            "sent_late_ms_p99": summary(late, histogram=False)["p99"],
        }


async def main(
    model: Path, folder: Path, environments: Path, say: Say, plan: Plan
) -> dict[str, Any]:
    """Measure in the empty `folder`; the figures, as `headrace bench peers` prints them.

    A peer that cannot be installed or does not run stands under `failed` with the reason.

    Raises:
        ValueError: the plan names a peer that there is not.
    """
    peers = chosen(plan.names)
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    async with stand(folder, say) as where:
        await where.announce(model)
        bench = Bench(where, model, environments, plan, say)
        for precision in plan.precisions:
            for peer in peers:
                if precision not in peer.precisions:
                    continue
                try:
                    rows.append(await bench.compare(peer, precision))
                except (InstallError, PeerError) as error:
                    failed[f"{peer.name}, {precision}"] = str(error)
                    say(f"{peer.name}, {precision}: {error}")
    return {
        "machine": facts.machine(),
        "texts": plan.limit,
        "rounds_each": plan.rounds,
        "latency_s": plan.latency_s,
        "peers": rows,
        "failed": failed,
    }


async def _collect(
    reader: Reader, count: int, process: Process, stall_s: float = answers.STALL_S
) -> list[Seen]:
    """The next `count` answers; fewer where none comes for `stall_s`.

    Raises:
        PeerError: the process has ended, or nothing came at all.
    """
    taken: list[Seen] = []
    last = time.monotonic()
    while len(taken) < count and time.monotonic() - last < stall_s:
        if found := await reader.next():
            last = time.monotonic()
            taken += found
        elif process.pid is None:
            raise PeerError(f"ended; the end of its log:\n{_tail(process.log)}")
    if count and not taken:
        raise PeerError(f"no answer in {stall_s:.0f} s; the end of its log:\n{_tail(process.log)}")
    return taken


def _variables(folder: Path) -> dict[str, str]:
    """The peer's environment: nothing of ours, no model hub, no telemetry."""
    ours = ("HEADRACE_", "PYTHON", "VIRTUAL_ENV")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return inherited | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder),
        "DO_NOT_TRACK": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _figures(runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "per_s": median([one.per_s for one in runs]),
        "start_s": median([one.start_s for one in runs]),
        "rss_mb": max(one.rss_mb for one in runs),
        "lost": sum(one.lost for one in runs),
        "duplicates": sum(one.duplicates for one in runs),
        "out_of_order": sum(one.out_of_order for one in runs),
        "latency_ms": runs[-1].latency_ms,
    }


def _row(run: Run) -> dict[str, Any]:
    return {name: value for name, value in asdict(run).items() if name != "labels"}


def _agreement(one: dict[int, str], other: dict[int, str]) -> float:
    both = one.keys() & other.keys()
    return sum(one[number] == other[number] for number in both) / max(1, len(both))


def _number(seen: Seen) -> int:
    return int(seen.answer.request_id.rpartition("-")[2])


def _cpu_s(process: Process) -> float:
    if process.pid is None:
        raise PeerError(f"ended; the end of its log:\n{_tail(process.log)}")
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


def _rss_mb(process: Process) -> float:
    return facts.resident_mb(process.pid or 0)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2_000:]
