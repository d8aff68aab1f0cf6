"""A cluster of three brokers on this machine, each started again when it ends.

Every partition, the coordinators' own included, has three replicas and asks two of them
for each write, so one broker may die at any time and nothing that was acknowledged is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from streams.broker import BrokerError, EmbeddedBroker
from streams.broker_folder import is_free, new_cluster_id
from streams.broker_properties import Seat

BROKERS: Final = 3
_LOOK_S: Final = 0.5
_PORTS: Final = (20_000, 30_000)
"""Below those that Linux gives to outgoing connections: one of them could take the port of a
broker that is down, or connect to itself there."""
_REPLICATED: Final[dict[str, str]] = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
    "queued.max.request.bytes": str(32 * 1_048_576),
}


class Brokers:
    """Three brokers, each a controller too, with their data below `folder`; a context manager.

    Raises BrokerError where they do not start.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._say = say
        self._keepers: list[asyncio.Task[None]] = []
        ports = _ports(2 * BROKERS)
        voters = {node: ports.pop() for node in range(1, BROKERS + 1)}
        name = new_cluster_id()
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port in ports)
        self._brokers = {
            node: EmbeddedBroker(
                folder / str(node),
                port=port,
                more=_REPLICATED,
                seat=Seat(node=node, cluster_id=name, voters=voters),
            )
            for node, port in zip(voters, ports, strict=True)
        }

    def pid(self, node: int) -> int | None:
        """Of the Java of broker `node`, counted from 1; None while it does not run."""
        broker = self._brokers[node]
        return broker.pid if broker.alive else None

    async def __aenter__(self) -> Self:
        self._say(f"starting {BROKERS} brokers")
        try:
            await asyncio.gather(*(broker.start() for broker in self._brokers.values()))
        except BaseException:
            await self._stop()
            raise
        self._keepers = [
            asyncio.create_task(self._keep(broker)) for broker in self._brokers.values()
        ]
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(broker.stop() for broker in self._brokers.values()))

    async def _keep(self, broker: EmbeddedBroker) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            if not broker.alive:
                with contextlib.suppress(BrokerError):  # another broker is away: once more
                    await broker.start()


def _ports(count: int) -> list[int]:
    """So many loopback ports that are free now."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(*_PORTS)  # where it listens is no part of a seeded run
        if port not in found and is_free(port):
            found.append(port)
    return found
