"""Asking the kernel over the bus and waiting for what it says; and why it says so."""

from __future__ import annotations

import asyncio
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from schemas.events import DeadLetter, FeedEvent, KernelRequest, KernelResult
from schemas.ids import ASIDE
from schemas.topics import FEED_EVENTS, REQUESTS, RESULTS
from streams import tracing
from streams.message import Message
from web.access import Actor
from web.actions import SOURCE, Actions, Refused
from web.stream import Heard, Key, Stream

TIMEOUT_S: Final = 10.0
MOST_WORDS: Final = 64
"""Words that an explanation leaves out one by one; the first ones of a longer text."""
_GRACE_S: Final = 0.3
"""How long more results of one event are waited for after the first."""
_WORD: Final = re.compile(r"\S+")


class TimedOut(Refused):
    """No answer in time."""


class CatchingUp(Refused):
    """The console still reads history, so an answer would be seen too late."""


class Unanswered(Refused):
    """The question ended as a dead letter."""

    def __init__(self, letter: DeadLetter) -> None:
        super().__init__(f"{letter.error_class}: {letter.reason}")
        self.letter = letter


@dataclass(frozen=True, slots=True)
class Moved:
    """What leaving a word out did to the score."""

    word: str
    weight: float
    """Score of the label with the word less the score without it: above 0 it spoke for it."""


class Verdicts:
    """Questions to the kernel."""

    def __init__(self, actions: Actions, stream: Stream) -> None:
        self._actions = actions
        self._stream = stream

    async def ask(
        self,
        actor: Actor,
        text: str,
        *,
        task: str = "sentiment",
        target: str | None = None,
        thread: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> KernelResult:
        """The kernel's verdict on a text. Without a `thread` no agent counts it.

        Raises:
            TimedOut: no answer within `timeout_s`.
            Unanswered: it ended as a dead letter.
        """
        async with self._actions.audited(actor, "labeller", "ask", thread or task):
            return (await self._ask(task, [text], target, thread, timeout_s))[0]

    async def ask_all(
        self,
        actor: Actor,
        texts: list[str],
        *,
        task: str,
        target: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> list[KernelResult]:
        """The kernel's answer to each text, in their order; no agent counts them.

        Raises:
            TimedOut: not all answers came within `timeout_s`.
            Unanswered: one ended as a dead letter.
        """
        async with self._actions.audited(actor, "labeller", "ask", task):
            return await self._ask(task, texts, target, None, timeout_s)

    async def publish(
        self, actor: Actor, event: FeedEvent, *, timeout_s: float = TIMEOUT_S
    ) -> list[KernelResult]:
        """Publish an event to the feed and wait for the verdicts on it, one for each company.

        Raises:
            TimedOut: no verdict within `timeout_s`: perhaps the text names no company.
            Unanswered: it ended as a dead letter.
        """
        async with self._actions.audited(actor, "labeller", "publish event", event.id):
            self._check()
            producer = await self._actions.producer()
            key = (event.source or event.id).encode()
            message = tracing.sent(Message.of(FEED_EVENTS, key, event, SOURCE))
            sent = await (await message.send(producer))
            place = (FEED_EVENTS.name, int(sent.partition), int(sent.offset))
            found: list[KernelResult] = []
            heard: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
            self._stream.listen(place, lambda topic, said: heard.put_nowait((topic, said)))
            try:
                while True:
                    left = _GRACE_S if found else timeout_s
                    found.append(_verdict(*await asyncio.wait_for(heard.get(), left)))
            except TimeoutError as error:
                if not found:
                    raise TimedOut(
                        f"no verdict within {timeout_s:g} s: the text may name no company, or the "
                        "kernel is busy (see Operations)"
                    ) from error
            finally:
                self._stream.forget(place)
            return found

    async def why(
        self, actor: Actor, text: str, *, task: str, target: str | None, label: str
    ) -> list[Moved]:
        """Words of a text in order, each with what it did for `label` (occlusion).

        Method: leave one word out, ask again, and take the difference (Zeiler and Fergus,
        2014, "Visualizing and Understanding Convolutional Networks", on words).

        Raises:
            Refused: the text has fewer than two words.
            TimedOut: the kernel is too busy.
        """
        words = words_of(text)
        if len(words) < 2:
            raise Refused("a text of one word has nothing to leave out")
        left_out = without_each(text, words)
        async with self._actions.audited(actor, "labeller", "explain", target or task):
            whole, *parts = await self._ask(
                task, [text, *left_out], target, None, TIMEOUT_S + len(words)
            )
        base = whole.scores.get(label, 0.0)
        return [
            Moved(text[start:end], base - part.scores.get(label, 0.0))
            for (start, end), part in zip(words, parts, strict=True)
        ]

    def _check(self) -> None:
        live = self._stream.live
        if not live.connected:
            raise Refused(f"the cluster does not answer: {live.trouble}")
        if not live.caught_up:
            raise CatchingUp(
                f"the console still reads history ({live.progress:.0%}); try again in a moment"
            )

    async def _ask(
        self,
        task: str,
        texts: list[str],
        target: str | None,
        thread: str | None,
        timeout_s: float,
    ) -> list[KernelResult]:
        self._check()
        topic = REQUESTS["interactive"]
        producer = await self._actions.producer()
        number = uuid.uuid4().hex
        where = thread or f"{ASIDE}{number}"
        now = datetime.now(UTC)
        requests = [
            KernelRequest(
                id=f"console:{number}:{place}",
                task=task,
                text=text,
                thread=where,
                target=target,
                published_at=now,
            )
            for place, text in enumerate(texts)
        ]
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[tuple[str, Any]]] = [loop.create_future() for _ in requests]
        keys: list[Key] = [request.id for request in requests]
        for request, answer in zip(requests, answers, strict=True):
            self._stream.listen(request.id, _settle(answer))
        sends = [
            await tracing.sent(Message.of(topic, where.encode(), request, SOURCE)).send(producer)
            for request in requests
        ]
        for answer, sent in zip(answers, sends, strict=True):
            at = await sent
            keys.append((topic.name, int(at.partition), int(at.offset)))
            self._stream.listen(keys[-1], _settle(answer))
        try:
            found = await asyncio.wait_for(asyncio.gather(*answers), timeout_s)
        except TimeoutError as error:
            raise TimedOut(
                f"no answer within {timeout_s:g} s; is a kernel running? See Operations"
            ) from error
        finally:
            for key in keys:
                self._stream.forget(key)
        return [_verdict(*one) for one in found]


def _settle(answer: asyncio.Future[tuple[str, Any]]) -> Heard:
    def heard(topic: str, said: Any) -> None:
        if not answer.done():
            answer.set_result((topic, said))

    return heard


def words_of(text: str) -> list[tuple[int, int]]:
    """Start and end of each word, the first `MOST_WORDS` of them."""
    return [match.span() for match in _WORD.finditer(text)][:MOST_WORDS]


def without_each(text: str, words: list[tuple[int, int]]) -> list[str]:
    """The text with one word left out, for each word."""
    return [f"{text[:start]}{text[end:].lstrip()}".strip() for start, end in words]


def _verdict(topic: str, said: Any) -> KernelResult:
    if topic != RESULTS.name:
        raise Unanswered(said)
    result: KernelResult = said
    return result
