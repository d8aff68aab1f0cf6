"""The relay: what agents emit appears on its topic exactly once.

Agents deliver at least once into `agents.outbox`. The relay is a set of lanes over
it that do no work but to drop replays (by the watermark of the cause) and copy each
message, in one transaction with its offset, to the topic it names. It is the
message relay of the transactional-outbox pattern.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import orjson

from schemas.errors import ErrorClass, Unanswerable
from schemas.events import Cause
from schemas.topics import CATALOGUE, OUTBOX
from streams.dead_letter import HEADER_REPLAY_OF
from streams.exposition import exposed
from streams.lane import Answer
from streams.lane_metrics import lane_samples
from streams.lanes import Lanes
from streams.message import Message
from streams.running import run_service
from streams.settings import Settings

SERVICE: Final = "relay"
HEADER_TO: Final = "headrace-to"
HEADER_CAUSE: Final = "headrace-cause"


def to_outbox(message: Message, cause: Cause) -> Message:
    """`message` on its way through the outbox."""
    headers = [
        *message.headers,
        (HEADER_TO, message.topic.encode()),
        (HEADER_CAUSE, orjson.dumps(msgspec.to_builtins(cause))),
    ]
    return Message(OUTBOX.name, message.key, message.value, headers)


class RelayHandler:
    """Copies each message of the outbox to the topic that it names."""

    service = SERVICE

    def admit(self, record: Any) -> tuple[Message, Cause]:
        """The message as it leaves the outbox, and what caused it."""
        found = {name: content for name, content in record.headers if content is not None}
        try:
            cause = msgspec.convert(orjson.loads(found[HEADER_CAUSE]), Cause)
            topic = found[HEADER_TO].decode()
        except (KeyError, ValueError, msgspec.ValidationError) as error:
            raise Unanswerable(
                ErrorClass.WRONG_TYPE,
                f"an outbox message needs {HEADER_TO} and {HEADER_CAUSE} headers: {error}",
            ) from error
        if topic not in CATALOGUE or topic == OUTBOX.name:
            raise Unanswerable(ErrorClass.WRONG_TYPE, f"{topic!r} is not a topic to relay to")
        headers = [
            (name, content)
            for name, content in record.headers
            if name not in {HEADER_TO, HEADER_CAUSE, HEADER_REPLAY_OF}
        ]
        message = Message(topic, record.key, record.value, headers)
        limit = CATALOGUE[topic].max_message_bytes
        if message.size > limit:
            raise Unanswerable(
                ErrorClass.WRONG_TYPE, f"{message.size} bytes; {topic} takes at most {limit}"
            )
        return message, cause

    def submit(self, items: Sequence[Message]) -> Sequence[asyncio.Future[Answer]]:
        """Each message is its own answer."""
        loop = asyncio.get_running_loop()
        answers = []
        for message in items:
            future: asyncio.Future[Answer] = loop.create_future()
            future.set_result(Answer((message,)))
            answers.append(future)
        return answers

    async def prepare(self, versions: dict[str, str]) -> None:
        """Nothing to load."""


async def serve(settings: Settings) -> None:
    """Relay until cancelled."""
    lanes = Lanes(settings, [OUTBOX.name], RelayHandler())
    with exposed(settings, SERVICE, lambda: lane_samples(SERVICE, lanes)):
        await lanes.run()


def run(settings: Settings) -> None:
    """Run the relay until SIGTERM."""
    run_service(lambda: serve(settings))
