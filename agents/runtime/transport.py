"""Faust's Kafka transport, made sound for transactional topics and manual acknowledgement.

What is different from `faust.transport.drivers.aiokafka` 0.15.3, and why:

- The worker's consumer is read_committed: outside its own `exactly_once` Faust
  would hand aborted messages to an agent.
- What is committed is the position up to which the executor has finished, markers
  of transactions included. Faust commits one gap of offsets per interval, and each
  marker is a gap.
- Batches go from the fetch to the agent whole, as one Faust event, and every batch
  says where it begins and of which generation it is. Faust stamps records with the
  generation at the time of delivery, not of the fetch, and clears stream buffers
  while the last steps of a recovery are still under way: events could be lost.
- Source partitions are fetched only when recovery is over and the committed
  offsets are sought; changelogs only during recovery.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from agents.runtime.batch import Batch
from agents.runtime.failstop import fail_stop
from streams import cluster
from streams.committed import committed
from streams.settings import Settings

FETCH_WAIT_S: Final = 0.5
BATCH_RECORDS: Final = 1_000
"""Records of one fetch: what a rebalance can make us fetch again, at most."""


class _App(Protocol):
    """What the consumer is told by the Faust app that it works for."""

    settings: Settings
    worker_id: str
    assignor: Any
    conf: Any


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread that owns the aiokafka consumer; heartbeats go on while agents compute."""

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:  # noqa: ARG002
        app: _App = self.app
        settings = app.settings
        self._assignor = app.assignor
        return cluster.consumer(
            settings,
            client_id=f"{app.conf.id}-{app.worker_id}",
            group_id=app.conf.id,
            partition_assignment_strategy=[self._assignor],
            auto_offset_reset="earliest",
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.session_timeout_ms // 4,
            rebalance_timeout_ms=int(app.conf.broker_rebalance_timeout * 1000),
            max_poll_interval_ms=int(app.conf.broker_max_poll_interval * 1000),
            fetch_max_wait_ms=int(FETCH_WAIT_S * 1000),
            max_partition_fetch_bytes=app.conf.consumer_max_fetch_size,
        )

    async def fetch(self, tps: set[Any]) -> list[Batch]:
        """Fetch from `tps`, waiting for records for a moment."""
        batches: list[Batch] = await self.call_thread(self._fetch, tps)
        return batches

    async def _fetch(self, tps: set[Any]) -> list[Batch]:
        if not self.consumer.flow_active:
            return []
        consumer = self._ensure_consumer()
        begin = self._positions(consumer, tps)
        records = await self._fetch_records(
            consumer, tps, timeout=FETCH_WAIT_S, max_records=BATCH_RECORDS
        )
        # No await since the records were taken: the generation is theirs.
        generation = consumer._coordinator.generation  # noqa: SLF001
        end = self._positions(consumer, tps)
        batches = []
        for tp, position in end.items():
            found = records.get(tp, [])
            first = begin.get(tp, found[0].offset if found else position)
            if found or first != position:
                batches.append(Batch(tp, generation, first, position, found))
        return batches

    @staticmethod
    def _positions(consumer: AIOKafkaConsumer, tps: set[Any]) -> dict[Any, int]:
        found: dict[Any, int] = {}
        subscription = consumer._subscription.subscription  # noqa: SLF001
        assignment = None if subscription is None else subscription.assignment
        if assignment is None:
            return found
        for tp in tps:
            if tp in assignment.tps:
                state = assignment.state_value(tp)
                if state.has_valid_position:
                    found[tp] = state.position
        return found

    async def commit_positions(self, generation: int, positions: Mapping[Any, int]) -> bool:
        """Commit, unless the group has moved on from `generation`: then False."""
        done: bool = await self.call_thread(self._commit_positions, generation, positions)
        return done

    async def _commit_positions(self, generation: int, positions: Mapping[Any, int]) -> bool:
        consumer = self._ensure_consumer()
        if consumer._coordinator.generation != generation:  # noqa: SLF001
            return False
        try:
            await consumer.commit(
                {
                    TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(position, "")
                    for tp, position in positions.items()
                }
            )
        except CommitFailedError:  # rebalanced meanwhile: the next owner begins lower
            return False
        return True

    async def rewind(self, tps: set[Any]) -> dict[Any, int]:
        """Go to where the group stands in each of `tps`; these positions.

        A fetch that waited while the group rebalanced takes records of the new
        assignment, perhaps after Faust has sought, and is then dropped as being of a
        former generation. Its records would never be fetched again.
        """
        found: dict[Any, int] = await self.call_thread(self._rewind, tps)
        return found

    async def _rewind(self, tps: set[Any]) -> dict[Any, int]:
        consumer = self._ensure_consumer()
        found = {}
        standing = await committed(consumer, consumer._group_id, tps)  # noqa: SLF001
        for tp, earliest in (await consumer.beginning_offsets(tps)).items():
            found[tp] = max(standing[tp].offset, earliest) if tp in standing else earliest
        for tp, offset in found.items():
            consumer.seek(tp, offset)
        return found

    async def ends(self, tps: set[Any]) -> dict[Any, int]:
        """Last stable offsets: where a read_committed reader would come to an end."""
        found: dict[Any, int] = await self.call_thread(self._ends, tps)
        return found

    async def _ends(self, tps: set[Any]) -> dict[Any, int]:
        ends: dict[Any, int] = await self._ensure_consumer().end_offsets(tps)
        return ends


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Hands whole batches to the agent, and leaves acknowledgement to the executor."""

    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app.executor.attach(self)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def steady(self) -> bool:
        """Whether recovery is over and the assigned source partitions can be read."""
        app = self.app
        return bool(
            self.flow_active
            and self.assignment()
            and app.tables.actives_ready
            and not app.rebalancing
        )

    async def commit_positions(self, generation: int, positions: Mapping[Any, int]) -> bool:
        """Commit what the executor has finished in `generation`."""
        return await self._thread.commit_positions(generation, positions)

    async def rewind(self, tps: set[Any]) -> dict[Any, int]:
        """Go to where the group stands in each of `tps`; these positions."""
        return await self._thread.rewind(tps)

    async def ends(self, tps: set[Any]) -> dict[Any, int]:
        """Last stable offsets of `tps`."""
        return await self._thread.ends(tps)

    async def commit(self, *args: Any, **kwargs: Any) -> bool:  # noqa: ARG002
        """Faust's own commit: nothing, since only the executor knows what is finished."""
        return False

    async def verify_all_partitions_active(self) -> None:
        """Faust's own livelock detector only logs; `agents.runtime.watchdog` acts."""

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Let the executor finish what it has begun, then let go."""
        self.stop_flow()
        await self.app.executor.close()
        await super().on_partitions_revoked(revoked)

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._deliver()
        except Exception as error:  # noqa: BLE001  (Faust would go on with a dead consumer)
            if not self.app.should_stop:
                fail_stop(f"the consumer failed: {error!r}")

    async def _deliver(self) -> None:
        if not self.flow_active:
            await self.can_resume_flow.wait()
        executor = self.app.executor
        steady = self.steady
        generation = self.app.consumer_generation_id
        wanted = {tp for tp in self._get_active_partitions() if self._is_changelog_tp(tp) != steady}
        if not wanted:
            await asyncio.sleep(0.02)
            return
        if steady:
            if executor.generation != generation:
                await executor.open(generation, wanted)
            await executor.room()
        for batch in await self._thread.fetch(wanted):
            if batch.generation != self.app.consumer_generation_id or not self.flow_active:
                return  # a rebalance came between: what was fetched is fetched again
            if steady:
                executor.announce(batch)
                await self.callback(self._message(batch.tp, batch))
            else:
                await self._recover(batch)

    async def _recover(self, batch: Batch) -> None:
        queue = self.app.tables.changelog_queue
        for record in batch.records:
            while queue.full() and self.flow_active:  # noqa: ASYNC110  (no event says so)
                await asyncio.sleep(0)
            if not self.flow_active:
                return
            await self.callback(self._to_message(batch.tp, record))

    def _message(self, tp: Any, batch: Batch) -> Any:
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            batch.end - 1,
            0.0,
            0,
            None,
            None,
            batch,
            None,
            tp=TP(tp.topic, tp.partition),
            generation_id=batch.generation,
        )


class Producer(driver.Producer):  # type: ignore[misc]
    """Faust's own producer, never started: agents speak through `agents.runtime.outgoing`."""

    async def on_start(self) -> None:
        """Start the buffer alone, which Faust asks about its size."""
        await self.add_runtime_dependency(self.buffer)

    async def flush(self) -> None:
        """Nothing was sent."""


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's transport with the consumer and producer above."""

    Consumer = Consumer
    Producer = Producer
