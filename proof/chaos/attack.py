"""Carries out a schedule of faults against running processes and their broker."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from proof.chaos.checker import Anomaly
from proof.chaos.crew import Crew, running, send
from proof.chaos.faults import Planned
from proof.chaos.feeder import Feeder
from proof.chaos.history import Fault
from proof.chaos.scenario import Scenario
from streams import cluster, reading
from streams.settings import Settings

POISON_BURST: Final = 20
POISONS: Final = {"poison": "", "out-of-memory": "exhaust"}
"""By name of the fault, the kind of poison; empty: each in turn."""
_PATIENCE_S: Final = 240.0
_AT_REST_S: Final = 15.0
"""How long `kill-in-transaction` waits for a record before it kills anyway."""


class System(Protocol):
    """What is attacked."""

    settings: Settings
    crew: Crew
    scenario: Scenario
    writes: dict[str, str]
    """By target, the topic that tells whether it works."""

    brokers: int
    """How many there are; they are numbered from 1."""

    def broker_pid(self, node: int) -> int | None:
        """Process of a broker; somebody starts it again when it ends."""

    def attack(self, feeder: Feeder) -> Attack:
        """What can be done to it."""


Inject = Callable[[Planned], Awaitable[str]]


class Attack:
    """Injects faults and keeps what was done, and when."""

    def __init__(self, system: System, feeder: Feeder) -> None:
        self.system = system
        self._feeder = feeder
        self._busy: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._began: dict[int, int] = {}
        self.anomalies: list[Anomaly] = []
        """What a fault itself has seen go wrong."""
        self.faults: list[Fault] = []
        self.missed: list[str] = []
        """Faults that could not be injected, and why."""
        self.known: dict[str, Inject] = {
            "kill": self._kill,
            "kill-in-transaction": self._kill_in_transaction,
            "zombie": self._zombie,
            "broker-kill": self._broker_kill,
            "broker-stop": self._broker_stop,
            **dict.fromkeys(POISONS, self._poison),
        }

    async def run(self, plan: list[Planned]) -> None:
        """Inject each fault at its time; they may overlap, but for those of one target."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for planned in plan:
                await asyncio.sleep(max(0.0, began + planned.after_s - time.monotonic()))
                tasks.create_task(self._inject(planned))

    async def _inject(self, planned: Planned) -> None:
        async with self._busy[planned.target]:
            try:
                detail = await self._carry_out(planned)
            except (TimeoutError, OSError) as error:
                self.missed.append(f"{planned.name} {planned.target}: {error!r}")
                return
        self.faults.append(
            Fault(
                planned.number,
                planned.name,
                planned.target,
                self._began[planned.number],
                _now(),
                self.system.writes.get(planned.target, ""),
                detail,
            )
        )

    async def _carry_out(self, planned: Planned) -> str:
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                with contextlib.suppress(KafkaError):  # another fault has the broker
                    return await self.known[planned.name](planned)
                await asyncio.sleep(1)

    def begins(self, planned: Planned) -> None:
        """Note that the fault takes effect now."""
        self._began[planned.number] = _now()

    async def _kill(self, planned: Planned) -> str:
        pid = await running(self.system.crew, planned.target)
        self.begins(planned)
        send(pid, signal.SIGKILL)
        await running(self.system.crew, planned.target, other_than=pid)
        return ""

    async def _kill_in_transaction(self, planned: Planned) -> str:
        pid = await running(self.system.crew, planned.target)
        topic = self.system.writes[planned.target]
        parts = await reading.partitions(self.system.settings, [topic])
        consumer = AIOKafkaConsumer(
            **cluster.connection(self.system.settings), isolation_level="read_uncommitted"
        )
        consumer.assign(parts)
        await consumer.start()
        found = False
        try:
            await consumer.seek_to_end(*parts)
            for part in parts:
                await consumer.position(part)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AT_REST_S):
                    found = await consumer.getone() is not None
            self.begins(planned)
            send(pid, signal.SIGKILL)
        finally:
            await consumer.stop()
        await running(self.system.crew, planned.target, other_than=pid)
        return "a record was written" if found else "at rest"

    async def _zombie(self, planned: Planned) -> str:
        pid = await running(self.system.crew, planned.target)
        session_s = self.system.settings.session_timeout_ms / 1000
        asleep_s = session_s * (1.2 + 0.8 * planned.strength)
        self.begins(planned)
        if not send(pid, signal.SIGSTOP):
            raise ProcessLookupError(pid)
        try:
            await asyncio.sleep(asleep_s)
        finally:
            send(pid, signal.SIGCONT)
        return f"asleep for {asleep_s:.1f} s"

    async def _broker_kill(self, planned: Planned) -> str:
        return await self._broker(planned, signal.SIGKILL)

    async def _broker_stop(self, planned: Planned) -> str:
        return await self._broker(planned, signal.SIGTERM)

    async def _broker(self, planned: Planned, number: signal.Signals) -> str:
        node = 1 + int(planned.strength * self.system.brokers)
        await self.end_broker(planned, node, number)
        return f"broker {node}"

    async def end_broker(self, planned: Planned, node: int, number: signal.Signals) -> None:
        """Send a signal to a broker; returns when it runs again."""
        pid = await self._broker_running(node, None)
        self.begins(planned)
        send(pid, number)
        await self._broker_running(node, pid)

    async def _broker_running(self, node: int, other_than: int | None) -> int:
        async with asyncio.timeout(120):
            while True:
                pid = self.system.broker_pid(node)
                if pid and pid != other_than:
                    return pid
                await asyncio.sleep(0.1)

    async def _poison(self, planned: Planned) -> str:
        self.begins(planned)
        first = planned.number * POISON_BURST
        how = POISONS[planned.name]
        await self._feeder.burst(
            [self.system.scenario.poison(first + index, how) for index in range(POISON_BURST)]
        )
        return f"{POISON_BURST} records"


async def says(log: Path, *what: str, since: int = 0) -> None:
    """Return when a line with all of `what` stands in a log, `since` bytes from its start on."""

    def stands() -> bool:
        with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
            file.seek(since)
            lines = file.read().decode("utf-8", "replace").splitlines()
            return any(all(one in line for one in what) for line in lines)
        return False

    while True:
        if await asyncio.to_thread(stands):
            return
        await asyncio.sleep(0.2)


def _now() -> int:
    return int(time.time() * 1000)
