"""The service `notify`: alerts to webhook, Slack and mail, each at most once per target.

For each alert and target, in this order:

1. The delivery is committed as `due`, together with the offset of the alert: none is forgotten.
2. An attempt is committed as `claimed`.
3. The target is told.
4. The outcome is committed: `sent`, `failed`, `unknown`, or `due` again for a later attempt.

Killed between 2 and 4, nobody knows whether the target was told. The next owner finds the
claim, writes `unknown` and does not ask again: a page twice is worse than a look at the console.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec.structs import replace

from schemas.events import Alert, AlertState, Delivery
from schemas.ids import delivery_id
from schemas.limits import MAX_NAME_CHARACTERS
from schemas.topics import ALERT_STATES, ALERTS, DELIVERIES
from streams import reading
from streams.exposition import exposed
from streams.membership import membership
from streams.reading import Record
from streams.running import run_service
from streams.settings import Settings
from web.live import decode_record
from web.notify.ledger import SERVICE, Ledger
from web.notify.settings import Notify, configured
from web.notify.targets import Outcome, Tell, targets

log = logging.getLogger(__name__)

DELAYS_S: Final = (1.0, 5.0, 30.0, 120.0, 600.0)
"""Waits before the second attempt, the third, and so on; after the last one it has failed."""
NEWS_S: Final = 3600.0
"""An alert that is older when it is read is told to nobody: a target that was configured today
wants no week of alerts."""
_RETRY_S: Final = 1.0
_POLL_MS: Final = 200


def run(settings: Settings) -> None:
    """Tell about alerts until SIGTERM."""
    run_service(lambda: serve(settings, configured()))


async def serve(settings: Settings, notify: Notify) -> None:
    """Work while this process owns the record of attempts; stand by otherwise."""
    found = targets(notify)
    if not found:
        log.warning("no target: set HEADRACE_NOTIFY_WEBHOOK_URL, _SLACK_URL or _SMTP_HOST")
    working: asyncio.Task[None] | None = None

    async def own(partitions: Collection[TopicPartition]) -> None:
        nonlocal working
        if working is not None and not partitions:
            working.cancel()
            await asyncio.wait([working])
            working = None
        elif working is None and partitions:
            working = asyncio.create_task(_keep(settings, found))

    with exposed(settings, SERVICE):
        async with membership(settings, SERVICE, [DELIVERIES.name], own) as member:
            try:
                while True:
                    await member.beat()
                    if working is not None and working.done():
                        working.result()
            finally:
                await own(())


async def _keep(settings: Settings, found: Mapping[str, Tell]) -> None:
    while True:
        try:
            await Notifier(settings, found).run()
        except Exception as error:  # noqa: BLE001  (whatever it was, the record of attempts holds)
            log.warning("telling anew: %s: %s", type(error).__name__, error)
        await asyncio.sleep(_RETRY_S)


@dataclass
class _Queue:
    """Deliveries of one target that are due, soonest first."""

    waiting: list[tuple[float, str]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, delivery: Delivery) -> None:
        heapq.heappush(self.waiting, (delivery.due_at.timestamp(), delivery.id))
        self.changed.set()

    async def next(self) -> str:
        """The id of the next delivery, when its time has come."""
        while True:
            self.changed.clear()
            wait = self.waiting[0][0] - _now().timestamp() if self.waiting else None
            if wait is not None and wait <= 0:
                return heapq.heappop(self.waiting)[1]
            try:
                await asyncio.wait_for(self.changed.wait(), wait)
            except TimeoutError:
                continue


class Notifier:
    """One life of the owner, from fencing the one before it until it is cancelled or fenced."""

    def __init__(self, settings: Settings, found: Mapping[str, Tell]) -> None:
        self._settings = settings
        self._targets = found
        self._ledger = Ledger(settings)
        self._deliveries: dict[str, Delivery] = {}
        self._begun: set[str] = set()
        """Ids of all deliveries that the record knows: an alert that lies twice is told once."""
        self._alerts: dict[tuple[int, int], Alert] = {}
        self._states: dict[str, AlertState] = {}
        self._queues = {name: _Queue() for name in found}

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            Exception: fenced, or the cluster is away; the next life goes on by the record.
        """
        try:
            known, offsets = await self._ledger.open()
            await self._recover(known)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(offsets, tasks))
        finally:
            await self._ledger.close()

    async def _recover(self, known: Mapping[str, Delivery]) -> None:
        """Give up what was being sent; queue what is still due."""
        lost = [
            replace(one, state="unknown", detail="ended while sending", at=_now())
            for one in known.values()
            if one.state == "claimed"
        ]
        if lost:
            await self._ledger.write(lost)
        self._begun = set(known)
        self._deliveries = {
            one.id: one
            for one in known.values()
            if one.state == "due" and one.target in self._queues
        }
        for one in self._deliveries.values():
            self._queues[one.target].put(one)

    async def _follow(
        self, offsets: Mapping[TopicPartition, int], tasks: asyncio.TaskGroup
    ) -> None:
        parts = await reading.partitions(self._settings, [ALERTS.name, ALERT_STATES.name])
        states = [part for part in parts if part.topic == ALERT_STATES.name]
        async with reading.assigned(self._settings, parts) as consumer:
            begins = await consumer.beginning_offsets(parts)
            for part in parts:
                consumer.seek(part, max(offsets.get(part, 0), begins[part]))
            async for record in reading.up_to(consumer, states, await consumer.end_offsets(states)):
                self._take_state(record)
            # Only now: what somebody has muted before is known.
            for name, queue in self._queues.items():
                tasks.create_task(self._work(self._targets[name], queue))
            while True:
                await self._take(consumer)

    async def _take(self, consumer: AIOKafkaConsumer) -> None:
        found = await consumer.getmany(timeout_ms=_POLL_MS)
        fresh: list[Delivery] = []
        moved: dict[TopicPartition, int] = {}
        for part, records in found.items():
            for raw in records:
                record = _record(raw)
                if part.topic == ALERT_STATES.name:
                    self._take_state(record)
                    continue
                moved[part] = record.offset + 1
                fresh += self._due(record)
        if not moved:
            return
        await self._ledger.write(fresh, moved)
        for one in fresh:
            self._deliveries[one.id] = one
            self._queues[one.target].put(one)

    def _due(self, record: Record) -> list[Delivery]:
        """The deliveries that an alert begins; none where it is old or cannot be read."""
        now = _now()
        if (now - record.time).total_seconds() > NEWS_S:
            return []
        alert = decode_record(Alert, record)
        if alert is None:
            return []  # its readers make dead letters of it
        self._alerts[record.partition, record.offset] = alert
        found = []
        for target in self._queues:
            name = delivery_id(alert.id, target)
            if name in self._begun:
                continue
            self._begun.add(name)
            found.append(
                Delivery(
                    id=name,
                    alert_id=alert.id,
                    ticker=alert.ticker[:MAX_NAME_CHARACTERS],
                    target=target,
                    partition=record.partition,
                    offset=record.offset,
                    state="due",
                    due_at=now,
                    at=now,
                )
            )
        return found

    def _take_state(self, record: Record) -> None:
        key = (record.key or b"").decode("utf-8", "replace")
        state = decode_record(AlertState, record)
        if state is None:
            self._states.pop(key, None)
        else:
            self._states[key] = state

    async def _work(self, tell: Tell, queue: _Queue) -> None:
        while True:
            delivery = self._deliveries.get(await queue.next())
            if delivery is not None:
                await self._attempt(tell, queue, delivery)

    async def _attempt(self, tell: Tell, queue: _Queue, delivery: Delivery) -> None:
        if (why := self._silenced(delivery)) is not None:
            await self._end(replace(delivery, state="silenced", detail=why, at=_now()))
            return
        alert = await self._alert_of(delivery)
        if alert is None:
            gone = "the alert is no longer on its topic"
            await self._end(replace(delivery, state="failed", detail=gone, at=_now()))
            return
        claim = replace(delivery, state="claimed", attempt=delivery.attempt + 1, at=_now())
        await self._ledger.write([claim])
        outcome = await tell(delivery.id, alert)
        log.info("%s about %s: %s (%s)", delivery.target, alert.id, outcome.verdict, outcome.detail)
        after = _after(claim, outcome)
        if after.state != "due":
            await self._end(after)
            return
        await self._ledger.write([after])
        self._deliveries[after.id] = after
        queue.put(after)

    async def _end(self, delivery: Delivery) -> None:
        await self._ledger.write([delivery])
        del self._deliveries[delivery.id]
        place = (delivery.partition, delivery.offset)
        if all((one.partition, one.offset) != place for one in self._deliveries.values()):
            self._alerts.pop(place, None)

    def _silenced(self, delivery: Delivery) -> str | None:
        """Who has acknowledged or muted the alert, in words; None where nobody has."""
        for key in (delivery.alert_id, f"ticker:{delivery.ticker}"):
            state = self._states.get(key)
            if state is None or state.state == "open":
                continue
            if state.until is None or state.until > _now():
                return f"{state.state} by {state.by}"[:MAX_NAME_CHARACTERS]
        return None

    async def _alert_of(self, delivery: Delivery) -> Alert | None:
        place = (delivery.partition, delivery.offset)
        if place not in self._alerts:
            for record in await reading.at(self._settings, [(ALERTS.name, *place)]):
                alert = decode_record(Alert, record)
                if alert is not None:
                    self._alerts[place] = alert
        return self._alerts.get(place)


def _after(claim: Delivery, outcome: Outcome) -> Delivery:
    """The record of a finished attempt."""
    now = _now()
    if outcome.verdict != "again":
        return replace(claim, state=outcome.verdict, detail=outcome.detail, at=now)
    if claim.attempt > len(DELAYS_S):
        detail = f"{outcome.detail}; given up after {claim.attempt} attempts"
        return replace(claim, state="failed", detail=detail, at=now)
    due = now + timedelta(seconds=DELAYS_S[claim.attempt - 1])
    return replace(claim, state="due", detail=outcome.detail, due_at=due, at=now)


def _record(found: Any) -> Record:
    return Record(
        found.topic,
        found.partition,
        found.offset,
        found.timestamp,
        found.key,
        found.value,
        found.headers,
    )


def _now() -> datetime:
    return datetime.now(UTC)
