"""The real thing under attack: `headrace up`, and the faults that only it can have."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from kernel import registry
from proof import tiny_model
from proof.chaos.attack import Attack, says
from proof.chaos.brokers import BROKERS, Brokers
from proof.chaos.crew import Crew
from proof.chaos.faults import Menu, Planned
from proof.chaos.feeder import Feeder
from proof.chaos.full_disk import FullDisk, models_on_a_small_disk
from proof.chaos.history import Entry
from proof.chaos.leaders import LED, leading, whole
from proof.chaos.pipeline import Pipeline
from proof.chaos.proxy import Proxy, Toxic
from proof.chaos.runner import Options, Report, Say, run
from proof.chaos.scenario import Scenario
from proof.chaos.small_disk import NoMountError, SmallDisk
from proof.installation import Installation, Process
from schemas.events import ModelVersion
from schemas.tasks import SENTIMENT
from schemas.topics import REQUESTS, RESULTS, TRENDS
from streams import cluster
from streams.settings import Settings

READER: Final = "finance.reader"
TRENDS_AGENT: Final = "finance.trends"
ALERTS_AGENT: Final = "finance.alerts"

MENU: Final[Menu] = {
    "kill": ["kernel", "relay", READER, TRENDS_AGENT, ALERTS_AGENT, "trainer"],
    "kill-in-transaction": ["kernel", "relay"],
    "zombie": ["kernel", "relay", READER, TRENDS_AGENT, ALERTS_AGENT, "trainer"],
    "broker-kill": ["broker"],
    "broker-stop": ["broker"],
    "scale": ["kernel", READER, TRENDS_AGENT],
    "cut": ["kernel", READER, TRENDS_AGENT, "relay"],
    "delay": ["kernel", READER],
    "half-open": ["kernel", TRENDS_AGENT, "relay"],
    "swap": ["kernel"],
    "swap-in-rebalance": ["kernel"],
    "poison": ["feed"],
    "out-of-memory": ["feed"],
    "disk-full": ["model store"],
}
CLUSTER_MENU: Final[Menu] = {
    **{name: targets for name, targets in MENU.items() if name != "broker-kill"},
    "leader-kill": LED,
}
"""With three brokers: which one is killed is no longer left to chance."""
VERSIONS: Final = ("chaos-1", "chaos-2", "chaos-3")
TASK: Final = SENTIMENT.name
_OPEN: Final = {"kernel": " open at ", "relay": " open at "}
_WORKS_S: Final = 120.0
_SWAP_S: Final = 60.0
_REFUSED: Final = 9
"""Exit code of a promotion of what is live already, as after a rollback."""
_AGENT_OPEN: Final = "works on partitions"


class PipelineSystem:
    """An installation that is fed and attacked."""

    def __init__(
        self,
        headrace: Installation,
        scenario: Pipeline,
        brokers: Brokers | None,
        disk: SmallDisk | None,
    ) -> None:
        self.headrace = headrace
        self.disk = disk
        self._brokers = brokers
        self.brokers = BROKERS if brokers else 1
        self.settings: Settings = headrace.settings
        self.crew: Crew = headrace
        self.scenario: Scenario = scenario
        self.writes = {
            "kernel": RESULTS.name,
            "broker": RESULTS.name,
            READER: REQUESTS["standard"].name,
            TRENDS_AGENT: TRENDS.name,
            "relay": TRENDS.name,
            **dict.fromkeys(LED, RESULTS.name),
        }

    def broker_pid(self, node: int) -> int | None:
        """The embedded broker, kept running by `headrace up`, or one of the cluster."""
        return self._brokers.pid(node) if self._brokers else self.headrace.broker_pid

    def attack(self, feeder: Feeder) -> Attack:
        """All faults."""
        return PipelineAttack(self, feeder)


class PipelineAttack(Attack):
    """Adds what needs more than a signal: further services, a proxy, the registry."""

    def __init__(self, system: PipelineSystem, feeder: Feeder) -> None:
        super().__init__(system, feeder)
        self._headrace = system.headrace
        self._disk = system.disk
        self._version = 0
        self._swapping = asyncio.Lock()
        self.known |= {
            "scale": self._scale,
            "cut": self._proxied,
            "delay": self._proxied,
            "half-open": self._proxied,
            "swap": self._swap,
            "swap-in-rebalance": self._swap_in_rebalance,
            "leader-kill": self._leader_kill,
            "disk-full": self._disk_full,
        }

    def _spawn(self, planned: Planned, number: int, bootstrap: str = "") -> Process:
        role, name = (planned.target, "") if planned.target in _OPEN else ("agent", planned.target)
        return self._headrace.spawn(
            role,
            name,
            label=f"{planned.target}-{planned.number}-{number}-{time.monotonic_ns()}",
            environment={"HEADRACE_BOOTSTRAP": bootstrap} if bootstrap else None,
        )

    async def _working(self, planned: Planned, number: int, bootstrap: str = "") -> Process:
        """A further service that has been given partitions; started anew where it ends.

        It may come up while the broker is away, and nobody supervises it but us.
        """
        async with asyncio.timeout(_WORKS_S):
            while True:
                process = self._spawn(planned, number, bootstrap)
                try:
                    await self._owns(process, planned.target)
                except ProcessLookupError:
                    continue
                except BaseException:
                    process.kill()
                    raise
                return process

    async def _owns(self, process: Process, target: str) -> None:
        saying = asyncio.create_task(says(process.log, _OPEN.get(target, _AGENT_OPEN)))
        try:
            while process.pid is not None:
                done, _ = await asyncio.wait([saying], timeout=0.5)
                if done:
                    return
            raise ProcessLookupError(process.name)
        finally:
            saying.cancel()

    async def _scale(self, planned: Planned) -> str:
        """From one to three and back; the third is killed, the second leaves as it should."""
        self.begins(planned)
        more = await asyncio.gather(*(self._working(planned, number) for number in (2, 3)))
        try:
            await asyncio.sleep(2 + 4 * planned.strength)
            more[1].kill()
            await asyncio.sleep(2 * planned.strength)
        finally:
            for one in more:
                await asyncio.to_thread(one.stop)
        return "1 to 3 and back"

    async def _proxied(self, planned: Planned) -> str:
        """A second service whose every connection goes through the proxy."""
        session_s = self.system.settings.session_timeout_ms / 1000
        lasts_s = session_s * (0.3 + 1.5 * planned.strength)
        toxic: Toxic = planned.name  # type: ignore[assignment]
        async with Proxy(self.system.settings.bootstrap) as proxy:
            process = await self._working(planned, 2, proxy.bootstrap)
            try:
                await asyncio.sleep(1)
                self.begins(planned)
                proxy.set(toxic, delay_s=0.05 + planned.strength)
                await asyncio.sleep(lasts_s)
                proxy.set("none")
                await asyncio.sleep(session_s / 2)
            finally:
                await asyncio.to_thread(process.stop)
        return f"for {lasts_s:.1f} s"

    async def _swap(self, planned: Planned) -> str:
        self.begins(planned)
        return await self._change_version(planned)

    async def _swap_in_rebalance(self, planned: Planned) -> str:
        self.begins(planned)
        starting = asyncio.create_task(self._working(planned, 2))
        try:
            await asyncio.sleep(3 * planned.strength)  # until it joins the group, more or less
            detail = await self._change_version(planned)
        finally:
            process = await starting
            await asyncio.to_thread(process.stop)
        return detail

    async def _change_version(self, planned: Planned) -> str:
        """Forward to the next version, or back to the last, by the command that people use."""
        async with self._swapping:
            back = self._version > 0 and planned.strength < 0.3
            if back:
                return await self._models("rollback")
            self._version += 1
            return await self._models("promote", VERSIONS[self._version % len(VERSIONS)])

    async def _models(self, *arguments: str) -> str:
        async with asyncio.timeout(_SWAP_S):
            while True:  # the broker may be away
                done = await asyncio.to_thread(self._headrace.run, "models", *arguments)
                if done.returncode in (0, _REFUSED):
                    return " ".join(arguments)

    async def _leader_kill(self, planned: Planned) -> str:
        """One broker at a time: without two of three there is nobody to lead."""
        async with self._busy["broker"]:
            await whole(self.system.settings)
            node, what = await leading(self.system.settings, planned.target, planned.strength)
            await self.end_broker(planned, node, signal.SIGKILL)
        return f"broker {node}, {what}"

    async def _disk_full(self, planned: Planned) -> str:
        """The disk is full while a version is promoted that the kernel has not loaded yet."""
        if self._disk is None:
            raise PermissionError("a small disk to fill has to be mounted: run as root")
        async with self._swapping:
            settings = self.system.settings
            with tempfile.TemporaryDirectory() as scratch:
                coming = _version(settings, f"disk-{planned.number}", Path(scratch))
            full = FullDisk(self._disk, settings)
            try:
                self.begins(planned)
                await full.fill()
                await _announce(settings, [coming])
                await self._models("promote", coming.version)
                await full.refuses(coming, planned.strength)
                await full.mend(coming)
            finally:
                full.free()
                self.anomalies += full.anomalies
        return f"promoted {coming.version}"


async def announce_models(settings: Settings) -> None:
    """Register the versions of the tiny model; the first one is live."""
    with tempfile.TemporaryDirectory() as scratch:
        made = [
            _version(settings, version, Path(scratch), flip=index == 1)
            for index, version in enumerate(VERSIONS)
        ]
    await _announce(settings, made)


async def _announce(settings: Settings, versions: list[ModelVersion]) -> None:
    producer = cluster.producer(settings)
    await producer.start()
    try:
        await registry.announce(producer, versions, "chaos")
    finally:
        await producer.stop()


def _version(settings: Settings, name: str, scratch: Path, *, flip: bool = False) -> ModelVersion:
    address, digest = tiny_model.make(settings.models, name, scratch, flip=flip)
    return ModelVersion(
        id=f"model:{TASK}/{name}",
        task=TASK,
        version=name,
        state="live" if name == VERSIONS[0] else "candidate",
        labels=list(tiny_model.LABELS),
        artefact=address,
        digest=digest,
        changed_at=datetime.now(UTC),
    )


@asynccontextmanager
async def pipeline_system(
    options: Options, folder: Path, say: Say
) -> AsyncIterator[PipelineSystem]:
    """`headrace up` at default settings in `folder`, with a tiny model live."""
    async with contextlib.AsyncExitStack() as held:
        disk: SmallDisk | None = None
        if "disk-full" in options.menu:
            with contextlib.suppress(NoMountError):
                disk = held.enter_context(models_on_a_small_disk(folder))
        brokers: Brokers | None = None
        variables: dict[str, str] = {}
        if options.brokers == BROKERS:
            brokers = await held.enter_async_context(Brokers(folder / "brokers", say))
            variables = {
                "HEADRACE_BOOTSTRAP": brokers.bootstrap,
                "HEADRACE_REPLICATION": str(BROKERS),
            }
        say("starting headrace up")
        headrace = await held.enter_async_context(Installation(folder, variables))
        await announce_models(headrace.settings)
        scenario = Pipeline(options.seed, int(options.rate * options.minutes * 60))
        yield PipelineSystem(headrace, scenario, brokers, disk)


async def attack_pipeline(options: Options, folder: Path, say: Say) -> tuple[Report, list[Entry]]:
    """Run everything, and attack it."""
    async with pipeline_system(options, folder, say) as system:
        report, entries = await run(system, options, "pipeline", say)
        report.restarts = sum(one.restarts for one in system.headrace.services().values())
        return report, entries
