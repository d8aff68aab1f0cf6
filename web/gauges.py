"""What must be asked for: lag, brokers, services and the trainer. Asked once for all pages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
from aiokafka.errors import KafkaError

from schemas.ids import group_id
from schemas.topics import LABELS, REQUESTS
from streams import cluster, reading
from streams.lag import Lag, lags
from streams.machine import Machine
from streams.settings import Settings
from streams.together import together
from trainer import progress
from web import gpus
from web.queries import Row, now_ms

log = logging.getLogger(__name__)

_SLOW_S: Final = 5.0
_FAST_S: Final = 2.0
_LOG_BYTES: Final = 32_768


@dataclass
class Gauges:
    """The newest readings; the pages look at them, `run` renews them."""

    settings: Settings
    lags: list[Lag] = field(default_factory=list)
    brokers: list[Row] = field(default_factory=list)
    oldest_s: dict[str, float] = field(default_factory=dict)
    """Age of the oldest request that waits for its answer, by topic."""
    services: list[Row] = field(default_factory=list)
    machine: Row = field(default_factory=dict)
    training: progress.Status | None = None
    losses: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=2_000))
    """(step, loss) of the training run in progress, as far as it was watched."""
    _processes: dict[int, psutil.Process] = field(default_factory=dict)

    async def run(self) -> None:
        """Renew the readings until cancelled."""
        await together(self._every(_SLOW_S, self._cluster), self._every(_FAST_S, self._local))

    async def _every(self, seconds: float, look: Any) -> None:
        while True:
            began = time.monotonic()
            # A reading that fails is old for a while; the next one is no worse.
            with contextlib.suppress(KafkaError, OSError, reading.StalledError):
                work: Coroutine[Any, Any, None] = look()
                await asyncio.wait_for(work, 30.0)
            await asyncio.sleep(max(seconds - (time.monotonic() - began), 0.5))

    async def _cluster(self) -> None:
        self.lags = await lags(self.settings, exact=False)
        admin = cluster.admin(self.settings)
        await admin.start()
        try:
            found = await admin.describe_cluster()
        finally:
            await admin.close()
        self.brokers = [
            {
                "id": broker["node_id"],
                "host": f"{broker['host']}:{broker['port']}",
                "controller": broker["node_id"] == found["controller_id"],
            }
            for broker in found["brokers"]
        ]
        await self._ages()

    async def _ages(self) -> None:
        requests = {topic.name for topic in REQUESTS.values()}
        waiting = [
            (one.topic, one.partition, one.committed or 0)
            for one in self.lags
            if one.group == group_id("kernel") and one.topic in requests and one.lag > 0
        ]
        ages: dict[str, float] = {}
        for record in await reading.at(self.settings, waiting):
            age = max(now_ms() - record.timestamp_ms, 0) / 1000
            ages[record.topic] = max(age, ages.get(record.topic, 0.0))
        self.oldest_s = ages

    async def _local(self) -> None:
        machine = Machine(self.settings.data)
        self.services = [asdict(one) | self._use(one.pid) for one in machine.services()]
        memory = psutil.virtual_memory()
        self.machine = {
            "cpu_percent": psutil.cpu_percent(),
            "cores": psutil.cpu_count(),
            "memory_percent": memory.percent,
            "memory_gib": round(memory.total / 2**30, 1),
            "gpus": await asyncio.to_thread(gpus.readings),
        }
        status = progress.read(self.settings.data / "runs" / "current.json")
        if status is not None and status.loss is not None:
            if self.training is None or self.training.version != status.version:
                self.losses.clear()
            if not self.losses or self.losses[-1][0] != status.step:
                self.losses.append((status.step, status.loss))
        self.training = status

    def _use(self, pid: int | None) -> Row:
        """CPU share since the last look and memory of a process."""
        try:
            if pid is None:
                return {"cpu_percent": None, "memory_mib": None}
            process = self._processes.setdefault(pid, psutil.Process(pid))
            return {
                "cpu_percent": process.cpu_percent(),
                "memory_mib": round(process.memory_info().rss / 2**20),
            }
        except psutil.Error:
            self._processes.pop(pid or 0, None)
            return {"cpu_percent": None, "memory_mib": None}

    def lag_of(self, service: str) -> int | None:
        """Records that a service has still to read; None where it never committed."""
        found = [one.lag for one in self.lags if one.group == group_id(service)]
        return sum(found) if found else None

    def labels_waiting(self) -> int | None:
        """Labels that no training run has learned from yet; None before the first run."""
        found = [
            one.lag
            for one in self.lags
            if one.group == group_id("trainer") and one.topic == LABELS.name
        ]
        return sum(found) if found else None

    def log_tail(self, role: str) -> str | None:
        """The end of a service's log; None where no such service is known here.

        The name is looked up, never made into a path.
        """
        path = next((one["log"] for one in self.services if one["role"] == role), None)
        if path is None:
            return None
        try:
            with Path(path).open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(size - _LOG_BYTES, 0))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""
