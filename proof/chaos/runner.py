"""One run: feed a system, attack it, let it come to rest, read everything, check."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka.errors import KafkaError

from proof.chaos.attack import Attack, System
from proof.chaos.checker import Anomaly, History, check
from proof.chaos.crew import Crew, Keeper
from proof.chaos.faults import Menu, schedule
from proof.chaos.feeder import Feeder
from proof.chaos.history import Behind, Entry, Run
from proof.chaos.observer import Observer
from proof.chaos.recovery import recoveries, summary
from proof.chaos.scenario import Copying, Scenario, make_topics
from proof.chaos.subjects import IN, OUT
from streams.broker import EmbeddedBroker
from streams.lag import lags
from streams.reading import StalledError
from streams.settings import Settings

Say = Callable[[str], None]

SUBJECT_MENU: Final[Menu] = {"kill": ["one", "two"], "zombie": ["one", "two"]}
_WORKS_S: Final = 120.0
_REST_LOOK_S: Final = 1.0
_AT_REST: Final = 3
"""Looks in a row without lag and without news that make up rest."""
_KEPT: Final = 20
"""Pieces of evidence that a report holds of each kind."""


class NotWorkingError(Exception):
    """The system does not even work unharmed; the message says where to look."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to run."""

    seed: int
    minutes: float
    rate: float
    every_s: float
    """Seconds between faults, about."""
    rest_s: float
    """How long the system may take to come to rest after the last fault."""
    menu: Menu
    brokers: int = 1
    """One, or a cluster of three."""


@dataclass(kw_only=True)
class Report:
    """What came of a run; the fields are those that `headrace chaos --json` prints."""

    seed: int
    minutes: float
    subject: str
    brokers: int = 1
    seconds: float = 0.0
    events: int = 0
    results: int = 0
    dead_letters: int = 0
    aborted_records: int = 0
    """Records that only a read_uncommitted reader sees, the feed's left out: faults that hit."""
    faults: dict[str, int] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    at_rest: bool = True
    restarts: int = 0
    anomalies: dict[str, int] = field(default_factory=dict)
    evidence: list[dict[str, str]] = field(default_factory=list)
    recovery_s: dict[str, Any] = field(default_factory=dict)
    recovery_by_fault: dict[str, Any] = field(default_factory=dict)


async def run(
    system: System, options: Options, subject: str, say: Say
) -> tuple[Report, list[Entry]]:
    """Attack a running system; the report, and the history that it was made from."""
    began = time.monotonic()
    scenario = system.scenario
    feeder = Feeder(system.settings, scenario.event, options.rate)
    observer = Observer(system.settings, scenario.decode)
    attack: Attack = system.attack(feeder)
    plan = schedule(options.seed, options.minutes * 60, options.every_s, options.menu)
    say(f"feeding {options.rate:g} events/s; {len(plan)} faults in {options.minutes:g} minutes")
    feeding = asyncio.create_task(feeder.run())
    following = asyncio.create_task(observer.follow(scenario.watched))
    try:
        await works(observer, scenario)
        attacking = asyncio.create_task(attack.run(plan))
        await asyncio.sleep(options.minutes * 60)
        await attacking
        feeder.stop()
        await feeding
        say(f"{len(feeder.sent)} events sent; waiting for rest")
        behind = await rest(system.settings, observer, options.rest_s)
    finally:
        for task in (feeding, following):
            task.cancel()
        await asyncio.gather(feeding, following, return_exceptions=True)
    say("reading everything")
    entries: list[Entry] = [Run(options.seed, options.minutes, subject), *scenario.stages]
    entries += feeder.sent
    entries += observer.live
    entries += await scenario.everything(observer)
    entries += await observer.ends(scenario.topics)
    entries += behind
    entries += attack.faults
    say("checking")
    history = History.of(entries)
    report = Report(
        seed=options.seed,
        minutes=options.minutes,
        subject=subject,
        brokers=options.brokers,
        seconds=round(time.monotonic() - began, 1),
        missed=attack.missed,
        at_rest=not behind,
        faults=dict(sorted(Counter(fault.name for fault in attack.faults).items())),
    )
    _count(report, history, scenario.feed)
    judge(report, check(history, scenario.checks) + attack.anomalies)
    found = recoveries(attack.faults, history.committed.values())
    report.recovery_s = summary(found)
    report.recovery_by_fault = {
        f"{name} {target}": summary(
            one for one in found if (one.fault.name, one.fault.target) == (name, target)
        )
        for name, target in sorted({(one.fault.name, one.fault.target) for one in found})
    }
    return report, entries


def judge(report: Report, found: list[Anomaly]) -> None:
    """Put anomalies into a report: how many of each kind, and the first pieces of evidence."""
    report.anomalies = dict(sorted(Counter(one.kind for one in found).items()))
    shown: Counter[str] = Counter()
    for one in found:
        shown[one.kind] += 1
        if shown[one.kind] <= _KEPT:
            report.evidence.append({"kind": one.kind, "evidence": one.evidence})


def _count(report: Report, history: History, feed: str) -> None:
    first = history.stages[0].name
    for seen in history.committed.values():
        report.events += seen.topic == feed
        report.results += seen.stage == first and seen.verdict == "result"
        report.dead_letters += seen.verdict == "dead-letter"
    report.aborted_records = sum(
        seen.topic != feed and place not in history.committed
        for place, seen in history.uncommitted.items()
    )


async def works(observer: Observer, scenario: Scenario) -> None:
    """Wait for the first answer of every stage: what never worked cannot be broken."""
    missing = {stage.name for stage in scenario.stages}
    looked = 0
    try:
        async with asyncio.timeout(_WORKS_S):
            while missing:
                await observer.next()
                missing -= {seen.stage for seen in observer.live[looked:]}
                looked = len(observer.live)
    except TimeoutError as error:
        raise NotWorkingError(
            f"no answer of stage {', '.join(sorted(missing))} within {_WORKS_S:.0f} s, before any "
            "fault: see the logs of the services"
        ) from error


async def rest(settings: Settings, observer: Observer, patience_s: float) -> list[Behind]:
    """Wait until nothing is left to do; who is behind where that does not come."""
    quiet, seen, behind = 0, -1, [Behind("the cluster does not answer", "", 0, 0, 0)]
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        await asyncio.sleep(_REST_LOOK_S)
        try:
            behind = [
                Behind(one.group, one.topic, one.partition, one.committed or 0, one.lag)
                for one in await lags(settings)
                if one.lag
            ]
        except (KafkaError, OSError, StalledError):
            quiet = 0
            continue
        quiet = quiet + 1 if not behind and len(observer.live) == seen else 0
        seen = len(observer.live)
        if quiet >= _AT_REST:
            return []
    return behind


class SubjectSystem:
    """A subject in two processes, before a broker of its own."""

    def __init__(self, settings: Settings, keeper: Keeper, scenario: Copying) -> None:
        self.settings = settings
        self.crew: Crew = keeper
        self.scenario: Scenario = scenario
        self.writes = dict.fromkeys(SUBJECT_MENU["kill"], OUT)
        self.brokers = 1

    def broker_pid(self, node: int) -> int | None:  # noqa: ARG002  (a system's shape)
        """The faults of the subjects leave the broker alone."""
        return None

    def attack(self, feeder: Feeder) -> Attack:
        """The faults that hit any process."""
        return Attack(self, feeder)


@asynccontextmanager
async def subject_system(
    name: str, settings: Settings, seed: int, folder: Path
) -> AsyncIterator[SubjectSystem]:
    """Run a subject on the cluster of `settings` until the end of the block."""
    await make_topics(settings, [IN, OUT])
    variables = {
        "HEADRACE_BOOTSTRAP": settings.bootstrap,
        "HEADRACE_DATA": str(folder),
        "HEADRACE_SESSION_TIMEOUT_MS": str(settings.session_timeout_ms),
        "HEADRACE_PARTITIONS": str(settings.partitions),
    }
    keeper = Keeper(name, SUBJECT_MENU["kill"], variables, folder / "logs")
    keeping = asyncio.create_task(keeper.run())
    try:
        yield SubjectSystem(settings, keeper, Copying(seed))
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


async def attack_subject(
    name: str, options: Options, folder: Path, say: Say
) -> tuple[Report, list[Entry]]:
    """Run a subject before a fresh broker in `folder`, and attack it."""
    async with EmbeddedBroker(folder / "broker", say=say) as broker:
        settings = Settings(
            data=folder, bootstrap=broker.bootstrap, partitions=4, session_timeout_ms=2_000
        )
        async with subject_system(name, settings, options.seed, folder) as system:
            return await run(system, options, name, say)
