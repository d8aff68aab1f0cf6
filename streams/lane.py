"""A lane: one input partition of one owner, from fetch to commit, exactly once.

A lane owns a transactional producer, whose id is derived from the partition, and
a consumer of its own. Opening has one order, and the proof rests on it:

1. InitProducerId: fences the former owner and ends its open transaction.
2. Read the group's committed offset and bookmark: nobody but us can move it now.
3. Seek there, and fetch.

From then on messages, offset and bookmark commit in one transaction. Whatever
goes wrong, the lane closes and a new one opens, which begins at step 1. A lane
that was fenced can therefore neither write nor move the offset, and one that
opens late only makes the rightful owner begin again at the committed offset.

Records that a lane fetched die with it: a batch fetched by a former life is never
committed by a later one (docs/delivery.md shows what happens otherwise).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from aiokafka.structs import OffsetAndMetadata, TopicPartition

from schemas.errors import ErrorClass, Unanswerable
from schemas.events import Cause
from schemas.ids import group_id
from streams import cluster, tracing
from streams.bookmark import Bookmark
from streams.closing import close
from streams.committed import committed
from streams.dead_letter import dead_letter, replayed_for
from streams.distribution import Distribution
from streams.message import Message
from streams.settings import Settings
from streams.together import together
from streams.tracing import Hop

log = logging.getLogger(__name__)

PATIENCE: Final = 0.1
LONGEST_PAUSE_S: Final = 0.5
"""Under a backlog a transaction may wait for this share of the time that its first record has
waited already, and for so long at most: it carries more, and costs nobody more than a tenth."""
FETCH_RECORDS: Final = 256
"""Records that are taken in at once: decoding them keeps the event loop from all else."""
FETCH_WAIT_MS: Final = 200
"""How long one fetch waits for records: it bounds how late a lane sees that it should stop."""

Item = TypeVar("Item")

_TOO_MANY_SOURCES: Final = (
    "the cause names one source partition more than a lane's commit can remember (about 100): "
    "give the agent's source topic fewer partitions, or leave `cause` out of your own requests"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler says for one record; `versions` names what said it, for the commit to keep."""

    messages: Sequence[Message]
    versions: dict[str, str] = field(default_factory=dict)
    moved: Callable[[Any, Mapping[str, str]], Sequence[Message]] | None = None
    """What to say besides, given the record and the versions that the commit kept before."""


class Handler(Protocol[Item]):
    """What a service does with the records of its lanes."""

    service: str

    def admit(self, record: Any) -> tuple[Item, Cause | None]:
        """Decode a record; raise `Unanswerable` for one that is poison."""

    def submit(self, items: Sequence[Item]) -> Sequence[asyncio.Future[Answer]]:
        """Begin work; a future may fail with `Unanswerable`, and with nothing else."""

    async def prepare(self, versions: dict[str, str]) -> None:
        """Return when the service can answer at these versions or later ones."""


@dataclass(slots=True)
class LaneStats:
    """Counters of a lane since its service started."""

    fetched: int = 0
    replays: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    """By error class."""
    messages: int = 0
    commits: int = 0
    opened: int = 0
    commit_s: Distribution = field(default_factory=Distribution)
    in_flight: deque[_InFlight] = field(default_factory=deque)
    """What the lane holds now, in order."""
    committed: OffsetAndMetadata | None = None
    """What was committed last, by whichever life of the lane in this process."""

    @property
    def awaits_answer(self) -> bool:
        """Whether the record that commits next has no answer yet."""
        answer = self.in_flight[0].answer if self.in_flight else None
        return answer is not None and not answer.done()


@dataclass(slots=True)
class _InFlight:
    record: Any
    cause: Cause | None
    answer: asyncio.Future[Answer] | None
    """None for a replay: nothing to say, but its offset must be passed."""
    hop: Hop | None = None
    """Its part of a trace, if it has one."""
    since: float = field(default_factory=time.monotonic)


class Lane(Generic[Item]):
    """One life of a lane: `run` opens, works until something ends it, and closes."""

    def __init__(
        self,
        settings: Settings,
        partition: TopicPartition,
        handler: Handler[Item],
        stats: LaneStats,
    ) -> None:
        self._settings = settings
        self._partition = partition
        self._handler = handler
        self._stats = stats
        self._group = group_id(handler.service)
        self._in_flight: deque[_InFlight] = deque()
        stats.in_flight = self._in_flight
        self._bytes_in_flight = 0
        self._changed = asyncio.Event()
        self._accepted = Bookmark()
        """Covers all that was fetched: a replay is dropped while its first copy is in work."""
        self._committed = Bookmark()
        self._producer = cluster.producer(
            settings,
            transactional_id=f"{self._group}:{partition.topic}:{partition.partition}",
            transaction_timeout_ms=settings.transaction_timeout_ms,
        )
        self._consumer = cluster.consumer(settings, auto_offset_reset="earliest")

    async def run(self) -> None:
        """Work until cancelled or broken; always leaves both clients closed.

        Raises:
            Exception: what broke the lane; its owner opens a new one.
        """
        try:
            await self._open()
            await together(self._fetch(), self._commit_finished())
        finally:
            await self._close()

    async def _open(self) -> None:
        await self._producer.start()  # step 1: returns when the former owner is fenced
        admin = cluster.admin(self._settings)
        await admin.start()
        try:
            found = (await committed(admin, self._group, [self._partition])).get(self._partition)
        finally:
            await admin.close()
        found = self._at_least_ours(found)
        self._committed = Bookmark.load(found.metadata if found else None)
        self._accepted = self._committed.copy()
        await self._handler.prepare(self._committed.versions)
        await self._consumer.start()
        self._consumer.assign([self._partition])
        if found is not None:
            self._consumer.seek(self._partition, found.offset)
        else:
            await self._consumer.seek_to_beginning(self._partition)
        self._stats.opened += 1
        log.info("lane %s open at %s", self._partition, found.offset if found else "the beginning")

    def _at_least_ours(self, found: OffsetAndMetadata | None) -> OffsetAndMetadata | None:
        """What the coordinator says, unless we know better: committed offsets never go back.

        One that loses what it had loaded (docs/delivery.md) would have everything done again.
        """
        ours = self._stats.committed
        if ours is None or (found is not None and found.offset >= ours.offset):
            return found
        said = "nothing" if found is None else found.offset
        log.error(
            "the coordinator of %s says that %s is committed in %s, but %s was: going on there",
            *(self._group, said, self._partition, ours.offset),
        )
        return ours

    async def _close(self) -> None:
        for flight in self._in_flight:
            if flight.answer is not None:
                flight.answer.cancel()
        self._in_flight.clear()
        # An open transaction is left to the next opener's InitProducerId: a producer
        # that failed may not be able to abort, and nothing of it is visible anyway.
        await close(self._consumer, self._producer)

    async def _fetch(self) -> None:
        while True:
            room = self._settings.lane_in_flight - len(self._in_flight)
            if room <= 0 or self._bytes_in_flight >= self._settings.lane_in_flight_mb * 1e6:
                self._changed.clear()
                await self._changed.wait()
                continue
            fetched = await self._consumer.getmany(
                timeout_ms=FETCH_WAIT_MS, max_records=min(room, FETCH_RECORDS)
            )
            records = fetched.get(self._partition, [])
            if records:
                self._take(records)

    def _take(self, records: Sequence[Any]) -> None:
        self._stats.fetched += len(records)
        admitted: list[tuple[_InFlight, Item]] = []
        for record in records:
            flight = _InFlight(record, None, None)
            self._in_flight.append(flight)
            self._bytes_in_flight += _size(record)
            try:
                item, cause = self._handler.admit(record)
                flight.cause = _watched(record, cause)
                if self._is_new(flight.cause):
                    flight.hop = tracing.hop(self._handler.service, record)
                    admitted.append((flight, item))
            except Unanswerable as verdict:
                self._refuse(flight, verdict)
        answers = self._handler.submit([item for _, item in admitted])
        for (flight, _), answer in zip(admitted, answers, strict=True):
            flight.answer = answer
        self._changed.set()

    def _is_new(self, cause: Cause | None) -> bool:
        """Whether to answer what has this cause; from then on it is not new any more."""
        if cause is None:
            return True
        if not self._accepted.admits(cause):
            raise Unanswerable(ErrorClass.WRONG_TYPE, _TOO_MANY_SOURCES)
        if self._accepted.covers(cause):
            self._stats.replays += 1
            return False
        self._accepted.advance(cause)
        return True

    def _refuse(self, flight: _InFlight, verdict: Unanswerable) -> None:
        """A refusal is an answer: the replay of what was refused is dropped as any other."""
        flight.cause = _watched(flight.record, verdict.cause)
        if flight.cause is not None:
            if not self._accepted.admits(flight.cause):
                flight.cause = None
            elif not self._is_new(flight.cause):
                return
        flight.hop = tracing.hop(self._handler.service, flight.record)
        flight.answer = asyncio.get_running_loop().create_future()
        flight.answer.set_exception(verdict)

    async def _commit_finished(self) -> None:
        interval = self._settings.commit_interval_ms / 1000
        last = -interval
        while True:
            await self._head_finished()
            pause = last + interval - time.monotonic()
            if pause > 0:  # one transaction carries all that finishes meanwhile
                await asyncio.sleep(pause)
            await self._more_finished(last)
            last = time.monotonic()
            await self._commit(self._finished_prefix())
            self._changed.set()
            self._stats.commits += 1
            self._stats.commit_s.observe(time.monotonic() - last)

    async def _more_finished(self, last: float) -> None:
        """Under a backlog wait for more to carry, but not once all that is in work is done."""
        now = time.monotonic()
        patience = min(PATIENCE * (now - self._in_flight[0].since), LONGEST_PAUSE_S)
        newest = self._in_flight[-1].answer
        if last + patience > now and newest is not None and not newest.done():
            await asyncio.wait([newest], timeout=last + patience - now)

    async def _head_finished(self) -> None:
        while not self._in_flight:
            self._changed.clear()
            await self._changed.wait()
        head = self._in_flight[0].answer
        if head is not None and not head.done():
            await asyncio.wait([head])

    def _finished_prefix(self) -> list[_InFlight]:
        finished: list[_InFlight] = []
        while self._in_flight:
            head = self._in_flight[0]
            if head.answer is not None and not head.answer.done():
                break
            finished.append(self._in_flight.popleft())
            self._bytes_in_flight -= _size(head.record)
        return finished

    async def _commit(self, finished: Sequence[_InFlight]) -> None:
        """Messages, offset and bookmark of a finished prefix, in one transaction."""
        await self._producer.begin_transaction()
        deliveries: list[asyncio.Future[Any]] = []
        for flight in finished:
            for message in self._messages(flight):
                said = message if flight.hop is None else flight.hop.on(message)
                deliveries.append(await said.send(self._producer))
            if flight.cause is not None and not self._committed.covers(flight.cause):
                self._committed.advance(flight.cause)
        # aiokafka commits although a send has failed: each must be seen to succeed first. And one
        # after the other: a broker that verifies two parts of a transaction at the same time
        # (KIP-890) refuses one of them, and the producer waits before it asks again.
        await asyncio.gather(*deliveries)
        place = OffsetAndMetadata(finished[-1].record.offset + 1, self._committed.dump())
        await self._producer.send_offsets_to_transaction({self._partition: place}, self._group)
        await self._producer.commit_transaction()
        self._stats.committed = place
        self._stats.messages += len(deliveries)
        for flight in finished:
            if flight.hop is not None:
                flight.hop.end()

    def _messages(self, flight: _InFlight) -> Sequence[Message]:
        if flight.answer is None:
            return ()
        try:
            answer = flight.answer.result()
        except Unanswerable as verdict:
            self._stats.dead_letters[verdict.error_class] += 1
            if flight.hop is not None:
                flight.hop.refuse(verdict)
            return (
                dead_letter(
                    flight.record, verdict, self._handler.service, self._committed.versions
                ),
            )
        besides = answer.moved(flight.record, self._committed.versions) if answer.moved else ()
        self._committed.versions.update(answer.versions)
        return (*answer.messages, *besides)


def _watched(record: Any, cause: Cause | None) -> Cause | None:
    """The cause that watermarks go by: what was refused and put back goes by none."""
    return cause if replayed_for(record) is None else None


def _size(record: Any) -> int:
    """Bytes of a record's key and value."""
    return len(record.key or b"") + len(record.value or b"")
