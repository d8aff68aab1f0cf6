"""Everything that a person can change: each with the role it takes and an entry in the audit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from aiokafka import AIOKafkaProducer

from kernel import promotions
from schemas.envelope import Position, decode
from schemas.errors import Unanswerable
from schemas.events import AlertState, AuditEntry, DeadLetter, LabelledExample, ModelVersion
from schemas.ids import label_id
from schemas.limits import MAX_NAME_CHARACTERS, MAX_TEXT_CHARACTERS
from schemas.topics import ALERT_STATES, AUDIT, DEAD_LETTERS, LABELS
from streams import cluster, control, dead_letters, reading
from streams.control import ControlError, Order
from streams.dead_letters import Found
from streams.message import Message
from streams.settings import Settings
from web.access import Access, Actor, Role
from web.queries import Reader, Row

log = logging.getLogger(__name__)

SOURCE: Final = "console"
Verb = Literal["start", "stop", "restart", "scale"]
AlertWord = Literal["open", "acknowledged", "muted"]
HEADER_EDITED_FROM: Final = "headrace-edited-from"
"""Names the dead letter of which an edited copy was published."""


class Refused(Exception):  # noqa: N818  (an answer to the person, not a fault of the program)
    """A change that was not made; the message says what to do."""


class NotAllowed(Refused):
    """The role does not reach."""


class NotFound(Refused):
    """What should be changed is not there."""


class Actions:
    """The changes, over one producer."""

    def __init__(self, settings: Settings, reader: Reader, access: Access) -> None:
        self._settings = settings
        self._reader = reader
        self._access = access
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def producer(self) -> AIOKafkaProducer:
        """The producer, started at the first need."""
        async with self._starting:
            if self._producer is None:
                producer = cluster.producer(self._settings)
                await producer.start()
                self._producer = producer
        return self._producer

    async def close(self) -> None:
        """Flush and stop."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def label(
        self, actor: Actor, *, task: str, text: str, target: str | None, label: str
    ) -> LabelledExample:
        """Say what the right label of a text is; a later label for the same text replaces it."""
        if not text.strip() or len(text) > MAX_TEXT_CHARACTERS:
            raise Refused(f"a text has 1 to {MAX_TEXT_CHARACTERS} characters")
        if not 0 < len(label) <= MAX_NAME_CHARACTERS:
            raise Refused("name a label")
        example = LabelledExample(
            id=label_id(task, target, text),
            task=task,
            text=text,
            target=target,
            label=label,
            labeller=actor.name,
            published_at=datetime.now(UTC),
        )
        detail = {"label": label, "target": target or "", "text": text[:200]}
        async with self.audited(actor, "labeller", "label", example.id, detail):
            await self._say(Message.of(LABELS, example.id.encode(), example, SOURCE))
        return example

    async def withdraw_label(self, actor: Actor, example_id: str) -> None:
        """Take a label back."""
        async with self.audited(actor, "labeller", "withdraw label", example_id):
            await self._say(Message(LABELS.name, example_id.encode(), None, []))

    async def set_alert(
        self,
        actor: Actor,
        alert_id: str,
        state: AlertWord,
        *,
        reason: str = "",
        until: datetime | None = None,
    ) -> AlertState:
        """Acknowledge, mute or open an alert again; `ticker:NAME` means all of a ticker.

        Raises:
            NotFound: there is no such alert.
        """
        detail = {"state": state, "reason": reason[:200]}
        async with self.audited(actor, "labeller", "set alert", alert_id, detail):
            ticker = alert_id.removeprefix("ticker:")
            if ticker == alert_id:
                found = await asyncio.to_thread(self._reader.alert, alert_id)
                if found is None:
                    raise NotFound(f"no alert {alert_id!r}")
                ticker = str(found["ticker"])
            change = AlertState(
                id=alert_id,
                ticker=ticker,
                state=state,
                by=actor.name,
                reason=reason[:MAX_NAME_CHARACTERS],
                changed_at=datetime.now(UTC),
                until=until,
            )
            await self._say(Message.of(ALERT_STATES, alert_id.encode(), change, SOURCE))
        return change

    async def promote(
        self, actor: Actor, task: str, version: str, reason: str
    ) -> Sequence[ModelVersion]:
        """Make a model version live."""
        detail = {"task": task, "reason": reason[:200]}
        async with self.audited(actor, "operator", "promote", version, detail):
            try:
                return await promotions.promote(self._settings, task, version, reason, SOURCE)
            except promotions.UnknownVersionError as error:
                raise NotFound(str(error)) from error
            except promotions.PromotionRefusedError as error:
                raise Refused(str(error)) from error

    async def roll_back(self, actor: Actor, task: str, reason: str) -> Sequence[ModelVersion]:
        """Make the version live that was live before."""
        detail = {"reason": reason[:200]}
        async with self.audited(actor, "operator", "roll back", task, detail):
            try:
                return await promotions.roll_back(self._settings, task, reason, SOURCE)
            except promotions.UnknownVersionError as error:
                raise NotFound(str(error)) from error

    async def letters(self, rows: Sequence[Row]) -> list[Found]:
        """The dead letters that these rows of the index stand for, read from their topic."""
        places = [(DEAD_LETTERS.name, row["part"], row["offset"]) for row in rows]
        found = []
        for record in await reading.at(self._settings, places):
            at = Position(record.topic, record.partition, record.offset, record.timestamp_ms)
            with contextlib.suppress(Unanswerable):
                letter = decode(DeadLetter, record.value, record.headers, at)
                found.append(Found(letter=letter, at=at))
        return found

    async def letter(self, letter_id: str) -> DeadLetter:
        """One dead letter with its original bytes.

        Raises:
            NotFound: there is none, or the topic no longer keeps it.
        """
        row = await asyncio.to_thread(self._reader.dead_one, letter_id)
        found = [] if row is None else await self.letters([row])
        if not found:
            raise NotFound(f"no dead letter {letter_id!r}")
        return found[0].letter

    async def replay(self, actor: Actor, rows: Sequence[Row]) -> dict[str, str]:
        """Put the originals of these dead letters back, each once."""
        subject = rows[0]["id"] if len(rows) == 1 else f"{len(rows)} dead letters"
        async with self.audited(actor, "operator", "replay", subject):
            found = await self.letters(rows)
            if not found:
                raise NotFound("no such dead letter on the topic any more")
            return dict(await dead_letters.replay(self._settings, found))

    async def publish_edited(self, actor: Actor, letter_id: str, value: str) -> None:
        """Publish a copy of a dead letter's original with another value."""
        async with self.audited(actor, "operator", "publish edited copy", letter_id):
            source = (await self.letter(letter_id)).source
            headers = [(name, content) for name, content in source.headers if content is not None]
            headers.append((HEADER_EDITED_FROM, letter_id.encode()))
            await self._say(Message(source.topic, source.key, value.encode(), headers))

    async def operate(self, actor: Actor, verb: Verb, service: str, count: int = 1) -> str:
        """Start, stop, restart or scale a service of this machine, by its supervisor.

        Raises:
            NotFound: no supervisor runs here, or it refuses.
            Refused: the console would end itself, and nobody could start it from here.
        """
        detail = {"count": str(count)} if verb == "scale" else {}
        async with self.audited(actor, "operator", verb, service[:64], detail):
            if service == SOURCE and (verb == "stop" or (verb == "scale" and count == 0)):
                raise Refused("the console does not stop itself: use `headrace stop console`")
            order = Order(verb=verb, service=service[:100], count=count)
            try:
                return await control.ask(self._settings.data.absolute(), order)
            except ControlError as error:
                raise NotFound(str(error)) from error

    async def set_user(self, actor: Actor, name: str, role: Role, password: str) -> None:
        """Add a user, or change one."""
        async with self.audited(actor, "operator", "set user", name[:64], {"role": role}):
            await asyncio.to_thread(self._access.set_user, name, role, password)

    async def remove_user(self, actor: Actor, name: str) -> None:
        """Forget a user."""
        async with self.audited(actor, "operator", "remove user", name[:64]):
            await asyncio.to_thread(self._access.remove_user, name)

    async def make_token(self, actor: Actor, name: str, role: Role) -> str:
        """A new API token."""
        async with self.audited(actor, "operator", "make token", name[:64], {"role": role}):
            return await asyncio.to_thread(self._access.make_token, name, role)

    async def remove_token(self, actor: Actor, name: str) -> None:
        """End an API token."""
        async with self.audited(actor, "operator", "remove token", name[:64]):
            await asyncio.to_thread(self._access.remove_token, name)

    @asynccontextmanager
    async def audited(
        self,
        actor: Actor,
        role: Role,
        action: str,
        subject: str,
        detail: dict[str, str] | None = None,
    ) -> AsyncIterator[None]:
        """Let the body run where the role reaches, and write down how it ended.

        Raises:
            NotAllowed: the role does not reach.
        """
        entry = AuditEntry(
            id=uuid.uuid4().hex,
            who=actor.name,
            role=actor.role,
            action=action,
            subject=subject[:MAX_NAME_CHARACTERS],
            outcome="done",
            detail=detail or {},
            at=datetime.now(UTC),
        )
        if not actor.may(role):
            await self.note(entry, "refused")
            raise NotAllowed(f"{action} takes the role {role}; {actor.name} is {actor.role}")
        try:
            yield
        except Exception:
            await self.note(entry, "failed")
            raise
        await self.note(entry, "done")

    async def note(self, entry: AuditEntry, outcome: Any) -> None:
        """Write an entry into the audit."""
        final = msgspec.structs.replace(entry, outcome=outcome)
        await self._say(Message.of(AUDIT, entry.who.encode(), final, SOURCE))

    async def _say(self, message: Message) -> None:
        await (await message.send(await self.producer()))
