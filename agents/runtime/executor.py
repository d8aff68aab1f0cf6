"""The order that makes an agent safe: outputs first, then state, then the offset.

Events are processed at once and their outputs sent without waiting. At a
checkpoint, for all events so far: (1) their outputs are delivered, (2) the states
that they changed are on the changelog, each with the offset of its last event,
(3) their offsets are committed. Hence, for every thread and at any moment:

- a state on the changelog has all outputs of the events up to its offset behind it;
- the committed offset is at most one past what outputs and changelog hold.

After a fault an event at or below its thread's state is skipped, since its outputs
are out; one above it meets exactly the state it met before, and being pure the
agent says the same again, under the same ids and causes, which readers drop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from agents.runtime.agent import Agent, Context
from agents.runtime.batch import Batch
from agents.runtime.failstop import Pulse, fail_stop
from agents.runtime.outgoing import Flight, Outgoing, message_of
from agents.runtime.state import Entry, StateTable
from schemas.envelope import Position, decode
from schemas.errors import ErrorClass, Unanswerable
from schemas.events import Event
from schemas.topics import CATALOGUE
from streams import tracing
from streams.dead_letter import dead_letter, replayed_for
from streams.distribution import Distribution
from streams.message import Message
from streams.relay import to_outbox
from streams.tracing import Hop

log = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)
S = TypeVar("S")

CHECKPOINT_S: Final = 0.25
CHECKPOINT_EVENTS: Final = 1_000
IN_FLIGHT: Final = 5_000
"""Undelivered messages above which nothing more is fetched."""
WAITING: Final = 1_000
"""Fetched events, not yet processed, above which nothing more is fetched."""
YIELD_EVERY: Final = 32
"""Events between two moments at which other tasks of the process may run."""


@dataclass(slots=True)
class ExecutorStats:
    """Counters since the start."""

    checkpoint_s: Distribution = field(default_factory=Distribution)
    dead_letters: Counter[str] = field(default_factory=Counter)
    """By error class."""


class Executor(Generic[E, S]):
    """Runs one agent over the batches of its worker."""

    def __init__(
        self, agent: Agent[E, S], outgoing: Outgoing, table: StateTable | None, pulse: Pulse
    ) -> None:
        carries = agent.source.carries
        if carries is None:
            msg = f"{agent.name}: the source {agent.source.name} carries no one type"
            raise TypeError(msg)
        self._agent = agent
        self._kind: type[Any] = carries
        self._outgoing = outgoing
        self._table = table
        self._pulse = pulse
        self._consumer: Any = None
        self.generation: int | None = None
        self.committed: dict[Any, int] = {}
        self.events = 0
        self.stats = ExecutorStats()
        self._done: dict[Any, int] = {}  # positions that the next checkpoint commits
        self._expected: dict[Any, int] = {}
        self._dirty: dict[tuple[int, str], Entry[S]] = {}
        self._flight = Flight()  # of the events since the last checkpoint
        self._landing = Flight()  # of the checkpoint under way
        self._progress = asyncio.Event()
        self._waiting = 0
        self._ages: list[tuple[Any, int, int]] = []
        """Partition, end and oldest time of each batch that is not committed yet."""
        self._since_checkpoint = 0
        self._due = asyncio.Event()
        self._busy = asyncio.Lock()
        self._checkpointing = asyncio.Lock()

    def attach(self, consumer: Any) -> None:
        """Tell the consumer that commits; it exists only once Faust has made it."""
        self._consumer = consumer

    def table_progress(self) -> int:
        """A number that changes while states are recovered."""
        return 0 if self._table is None else sum(self._table.store.applied.values())

    @property
    def undelivered(self) -> int:
        """Messages under way to the brokers."""
        return self._flight.pending + self._landing.pending

    @property
    def waiting(self) -> int:
        """Events fetched and not yet processed."""
        return self._waiting

    @property
    def oldest_ms(self) -> int | None:
        """Record time of the oldest event that is fetched and not yet committed."""
        return min((oldest for *_, oldest in tuple(self._ages)), default=None)

    # A generation of the group: opened after recovery, closed before partitions go.

    async def open(self, generation: int, tps: set[Any]) -> None:
        """Begin to work on `tps`, whose states are recovered."""
        if self._table is not None:
            await self._check_recovery(self._table, tps)
        self._waiting = 0
        self._ages.clear()
        self._done.clear()
        self._expected = await self._consumer.rewind(tps)
        self.committed = dict(self._expected)
        self.generation = generation
        log.info("%s: works on partitions %s", self._agent.name, sorted(tp[1] for tp in tps))

    async def _check_recovery(self, table: StateTable, tps: set[Any]) -> None:
        changelog = {type(tp)(table.changelog_topic_name, tp.partition) for tp in tps}
        for tp, end in (await self._consumer.ends(changelog)).items():
            if table.store.applied.get(tp.partition, -1) < end - 1:
                fail_stop(f"the state of {tp} was recovered only in part, up to before {end}")
        for partition, thread in table.store.conflicts:
            entry = table.store.get_entry(partition, thread)
            if entry is not None:
                log.warning("the state of %s was overtaken by an older one: written again", thread)
                self._dirty[partition, thread] = entry
        table.store.conflicts.clear()

    async def close(self) -> None:
        """Finish the event at hand and bring everything so far to an end."""
        generation, self.generation = self.generation, None
        self._progress.set()
        async with self._busy:
            pass
        if generation is not None:
            await self._checkpoint(generation)

    async def room(self) -> None:
        """Wait until processing keeps up with fetching, and deliveries with processing."""
        while self.generation is not None and (
            self._waiting > WAITING or self.undelivered > IN_FLIGHT
        ):
            self._progress.clear()
            await self._progress.wait()

    def announce(self, batch: Batch) -> None:
        """Count in a batch that is on its way through Faust's stream."""
        self._waiting += len(batch.records)
        if batch.records:
            self._ages.append((batch.tp, batch.end, batch.records[0].timestamp or 0))

    # Events.

    async def take(self, batch: Batch) -> None:
        """Process a batch in order, unless it is of a former generation."""
        async with self._busy:
            if batch.generation != self.generation:
                return
            self._waiting -= len(batch.records)
            expected = self._expected[batch.tp]
            if batch.begin != expected:
                fail_stop(f"{batch.tp}: expected the batch at {expected}, not at {batch.begin}")
            for count, record in enumerate(batch.records, 1):
                await self._event(batch.tp, record)
                if not count % YIELD_EVERY:
                    await asyncio.sleep(0)
                if batch.generation != self.generation:
                    return
            self._expected[batch.tp] = self._done[batch.tp] = batch.end
            self._progress.set()

    async def _event(self, tp: Any, record: Any) -> None:
        messages, thread, state = self._answer(record)
        for message, cause in messages:
            delivery = await self._outgoing.send(message, cause)
            self._flight.add(delivery)  # of now: a checkpoint may have taken the one before
        # No await below: a checkpoint sees all outputs of an event and its state, or neither.
        if thread is not None and state is not None and self._table is not None:
            entry = Entry(record.offset, state)
            self._table.store.put_entry(record.partition, thread, entry)
            self._dirty[record.partition, thread] = entry
        self._done[tp] = record.offset + 1
        self.events += 1
        self._since_checkpoint += 1
        if self._since_checkpoint >= CHECKPOINT_EVENTS:
            self._due.set()

    def _answer(self, record: Any) -> tuple[list[tuple[Message, Any]], str | None, S | None]:
        """Messages with their causes, and the thread with its new state if there is one."""
        if replayed_for(record) not in {None, self._agent.name}:
            return [], None, None  # put back for another reader: this one has answered it
        at = Position(record.topic, record.partition, record.offset, record.timestamp or 0)
        key = None if record.key is None else record.key.decode("utf-8", "replace")
        context = Context(self._agent.name, at, key)
        hop = tracing.hop(self._agent.name, record)
        about = tracing.handled.set(record)
        try:
            return self._ask(record, context, hop)
        except Unanswerable as refusal:
            verdict = refusal
        except Exception as error:
            log.exception("%s failed on %s", self._agent.name, at)
            verdict = Unanswerable(ErrorClass.AGENT_FAILED, f"{type(error).__name__}: {error}")
        finally:
            tracing.handled.reset(about)
        self.stats.dead_letters[verdict.error_class] += 1
        cause = context.cause(0)
        letter = dead_letter(record, verdict, self._agent.name, {})
        if hop is not None:
            hop.refuse(verdict)
            hop.end()
            letter = hop.on(letter)
        return [(to_outbox(letter, cause), cause)], None, None

    def _ask(
        self, record: Any, context: Context, hop: Hop | None
    ) -> tuple[list[tuple[Message, Any]], str | None, S | None]:
        event: E = decode(self._kind, record.value, record.headers, context.position)
        thread, before = None, None
        if self._table is not None:
            thread = self._agent.thread(event, context)
            entry = self._table.store.get_entry(record.partition, thread)
            if entry is not None:
                if record.offset <= entry.offset:
                    return [], None, None  # a replay whose outputs are out
                before = entry.state
        after, emits = self._agent.process(event, before, context)
        messages = []
        for index, emit in enumerate(emits):
            cause = context.cause(index)
            message = message_of(emit, cause, hop)
            if message.size > CATALOGUE[emit.to.name].max_message_bytes:
                msg = f"the message to {emit.to.name} has {message.size} bytes: too large"
                raise ValueError(msg)
            messages.append((message, cause))
        if hop is not None:
            hop.end()
        return messages, thread, None if after is before else after

    # Checkpoints.

    async def checkpoints(self) -> None:
        """Make a checkpoint whenever one is due, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), CHECKPOINT_S)
            self._due.clear()
            generation = self.generation
            if generation is not None:
                await self._checkpoint(generation)

    async def _checkpoint(self, generation: int) -> None:
        """Make a checkpoint, to its end also where the caller is cancelled in the middle.

        What it has taken up is in no later one: were it dropped, a later one would commit an
        offset above states that were never written.
        """
        await asyncio.shield(asyncio.ensure_future(self._whole_checkpoint(generation)))

    async def _whole_checkpoint(self, generation: int) -> None:
        async with self._checkpointing:
            if not self._done and not self._dirty:
                return
            began = time.monotonic()
            # No await while the snapshot is taken.
            done, self._done = self._done, {}
            dirty, self._dirty = self._dirty, {}
            self._landing, self._flight = self._flight, Flight()
            self._since_checkpoint = 0
            try:
                await self._landing.land()
                self._progress.set()
                await self._write_states(dirty)
                if done and await self._consumer.commit_positions(generation, done):
                    self.committed.update(done)
                    self._ages = [
                        age for age in self._ages if age[1] > self.committed.get(age[0], 0)
                    ]
            except BaseException as error:  # noqa: BLE001  (cancelled ones are torn as well)
                fail_stop(f"a checkpoint did not come to its end: {error!r}")
            self.stats.checkpoint_s.observe(time.monotonic() - began)

    async def _write_states(self, dirty: dict[tuple[int, str], Entry[S]]) -> None:
        if not dirty or self._table is None:
            return
        self._pulse.check()
        flight = Flight()
        topic, encode = self._table.changelog_topic_name, self._table.store.encode
        for (partition, thread), entry in dirty.items():
            value = encode(entry)
            flight.add(await self._outgoing.send_state(topic, partition, thread, value))
        await flight.land()
