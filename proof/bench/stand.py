"""The test stand: a broker with the catalogue, a live model, and services as a user starts them.

Nothing else runs on it, so that a figure is that of the part under test. Services are
processes (`headrace serve ...`), and settings reach them as variables.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import psutil

from agents.finance.entities import STARTER
from kernel import artefact, registry
from proof import tiny_model
from proof.bench import scrape
from proof.bench.answers import until
from proof.bench.texts import Question
from proof.installation import Installation, InstallationError, Process
from schemas.events import KernelRequest, ModelVersion
from schemas.tasks import SENTIMENT
from schemas.topics import REQUESTS, Urgency
from streams import admin, cluster, publishing
from streams.broker import EmbeddedBroker
from streams.broker_folder import free_port
from streams.message import Message
from streams.settings import Settings

Say = Callable[[str], None]

TRAINING_S: Final = 900.0
START_S: Final = 90.0
LABELS: Final = STARTER.parent / "labels.csv"
_OPENED: Final = re.compile(r"^(\S+)Z .* lane .* open at ", re.MULTILINE)
_AGENT_WORKS: Final = "works on partitions"


@dataclass(frozen=True, slots=True)
class Service:
    """A service process, and the port of its metrics."""

    process: Process
    port: int
    log_from: int
    """Where its part of the log begins."""

    @property
    def pid(self) -> int:
        """Of the process.

        Raises:
            InstallationError: it has ended; the message holds the end of its log.
        """
        found = self.process.pid
        if found is None:
            raise InstallationError(f"{self.process.name} ended:\n{self.said()[-2_000:]}")
        return found

    def said(self) -> str:
        """Its log."""
        with self.process.log.open("rb") as file:
            file.seek(self.log_from)
            return file.read().decode("utf-8", "replace")

    def opened(self) -> list[float]:
        """When each lane opened, seconds since the epoch."""
        return [
            datetime.fromisoformat(found).replace(tzinfo=UTC).timestamp()
            for found in _OPENED.findall(self.said())
        ]

    def cpu_s(self) -> float:
        """CPU time that it has used."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def rss_mb(self) -> float:
        """Resident memory, in MB (10^6 bytes)."""
        return float(psutil.Process(self.pid).memory_info().rss) / 1e6

    async def readings(self) -> scrape.Readings:
        """Its metrics now."""
        return await scrape.read(self.port)


class Stand:
    """A running broker, and what can be started beside it."""

    def __init__(self, settings: Settings, broker: EmbeddedBroker) -> None:
        self.settings = settings
        self.broker = broker
        self._number = 0

    def broker_cpu_s(self) -> float:
        """CPU time that the broker has used."""
        times = psutil.Process(self.broker.pid).cpu_times()
        return float(times.user + times.system)

    async def announce(self, model: Path, version: str = "") -> ModelVersion:
        """Make the model in a folder live; `version` gives it another name."""
        manifest = artefact.read(model)
        if version and version != manifest.version:
            copy = self.settings.data / "versions" / version
            shutil.copytree(model, copy, dirs_exist_ok=True)
            manifest = msgspec.structs.replace(manifest, version=version)
            artefact.seal(copy, manifest)
            model = copy
        address = artefact.publish(model, self.settings.models)
        live = ModelVersion(
            id=f"model:{manifest.task}/{manifest.version}",
            task=manifest.task,
            version=manifest.version,
            state="live",
            labels=manifest.labels,
            artefact=address,
            digest=artefact.sha256(model / artefact.MANIFEST),
            changed_at=datetime.now(UTC),
        )
        await self.promote(live)
        return live

    async def promote(self, version: ModelVersion) -> None:
        """Make a version live, and retire what was."""
        known = await registry.read(self.settings)
        producer = cluster.producer(self.settings)
        await producer.start()
        try:
            changes = registry.promotion(known, version, "benchmark")
            await registry.announce(producer, changes, "bench")
        finally:
            await producer.stop()

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish in order; returns when all are acknowledged."""
        async with publishing.publisher(self.settings) as sender:
            for message in messages:
                await sender.send(message)

    @asynccontextmanager
    async def kernel(
        self, environment: Mapping[str, str] | None = None, cores: Sequence[int] = ()
    ) -> AsyncIterator[Service]:
        """`headrace serve kernel`, its result cache off unless `environment` turns it on.

        Ready when its lanes are open; `cores` are those that it may use, by default all.
        """
        given = {"HEADRACE_CACHE_MB": "0"} | dict(environment or {})
        async with self.service("kernel", environment=given, cores=cores) as service:
            yield service

    @asynccontextmanager
    async def service(
        self,
        role: str,
        name: str = "",
        *,
        environment: Mapping[str, str] | None = None,
        cores: Sequence[int] = (),
        module: str = "",
    ) -> AsyncIterator[Service]:
        """A service as a process, ended with the block; `module` runs instead of the command."""
        self._number += 1
        port = free_port()
        given = {"HEADRACE_METRICS_PORT": str(port)} | dict(environment or {})
        where = Installation(self.settings.data, self._variables(given))
        label = f"{name or role}-{self._number}"
        process = where.spawn(role, name, label=label, module=module)
        service = Service(process, port, 0)
        try:
            if cores:
                psutil.Process(service.pid).cpu_affinity(list(cores))
            yield service
        finally:
            await asyncio.to_thread(process.stop)

    def _variables(self, given: Mapping[str, str]) -> dict[str, str]:
        return {
            "HEADRACE_BOOTSTRAP": self.settings.bootstrap,
            "HEADRACE_PARTITIONS": str(self.settings.partitions),
            "HEADRACE_DATA": str(self.settings.data),
        } | dict(given)


@asynccontextmanager
async def stand(folder: Path, say: Say, *, partitions: int = 4) -> AsyncIterator[Stand]:
    """A broker in the empty `folder` (absolute) with every topic on it."""
    say("starting a broker")
    broker = EmbeddedBroker(folder / "broker")
    async with broker:
        settings = Settings(data=folder, bootstrap=broker.bootstrap, partitions=partitions)
        await admin.apply(settings)
        yield Stand(settings, broker)


async def lanes_open(service: Service, count: int) -> None:
    """Return when so many lanes of a service are open."""
    await until(lambda: len(service.opened()) >= count or service.pid < 0, START_S, "lanes open")


async def agent_works(service: Service) -> None:
    """Return when an agent has been given its partitions."""
    await until(lambda: _AGENT_WORKS in service.said() or service.pid < 0, START_S, "agent works")


def starter_model(folder: Path, say: Say) -> Path:
    """Train the starter model into the new folder `folder / starter`, as `headrace train` does."""
    out = folder.absolute() / "starter"
    if not (out / artefact.MANIFEST).exists():
        say("training the starter model, which takes a minute or two")
        began = time.monotonic()
        arguments = ("train", "--data", str(LABELS), "--out", str(out), "--json")
        folder.mkdir(parents=True, exist_ok=True)
        done = Installation(folder).run(*arguments, timeout_s=TRAINING_S)
        if done.returncode != 0:
            raise InstallationError(f"headrace train failed:\n{done.stderr[-2_000:]}")
        say(f"trained in {time.monotonic() - began:.0f} s")
    return out


def tiny(folder: Path) -> Path:
    """A model of no cost, for what is not about scoring."""
    if not (folder / "tiny").exists():
        tiny_model.make(str(folder / "tiny-store"), "tiny", folder)
    return folder / "tiny"


def request(name: str, asked: Question, urgency: Urgency = "standard") -> Message:
    """A question to the kernel under its own id and its company's thread."""
    body = KernelRequest(
        id=name, task=SENTIMENT.name, text=asked.text, thread=asked.ticker, target=asked.target
    )
    return Message.of(REQUESTS[urgency], asked.ticker.encode(), body, "bench")


def requests(
    run: str, asked: Sequence[Question], urgency: Urgency = "standard"
) -> tuple[list[str], list[Message]]:
    """Ids and messages; ids begin with `run`."""
    names = [f"{run}-{number}" for number in range(len(asked))]
    return names, [request(*one, urgency) for one in zip(names, asked, strict=True)]
