"""No record is so odd that its dead letter does not fit, or that the relay breaks on it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from schemas.envelope import Position, decode
from schemas.errors import ErrorClass, Unanswerable
from schemas.events import Cause, DeadLetter
from schemas.topics import DEAD_LETTERS, FEED_EVENTS, OUTBOX
from streams.dead_letter import dead_letter
from streams.message import Message
from streams.relay import HEADER_CAUSE, HEADER_TO, RelayHandler, to_outbox

LARGEST = FEED_EVENTS.max_message_bytes
CAUSE = Cause("finance.reader", "feed.events", 0, 7, 0)
Headers = list[tuple[str, bytes | None]]


def record(
    value: bytes | None = b"{}", key: bytes | None = b"k", headers: Headers | None = None
) -> Any:
    return SimpleNamespace(
        topic="feed.events",
        partition=2,
        offset=7,
        timestamp=1_700_000_000_000,
        key=key,
        value=value,
        headers=headers or [],
    )


def size(message: Message) -> int:
    own = len(message.value or b"") + len(message.key or b"")
    return own + sum(len(name) + len(content) + 12 for name, content in message.headers) + 100


def letter_of(original: Any, reason: str = "it is poison") -> tuple[Message, DeadLetter]:
    verdict = Unanswerable(ErrorClass.WRONG_TYPE, reason)
    message = dead_letter(original, verdict, "kernel", {"sentiment": "v1"})
    at = Position(DEAD_LETTERS.name, 0, 0, 0)
    return message, decode(DeadLetter, message.value, message.headers, at)


@pytest.mark.parametrize(
    "original",
    [
        record(value=b"\xff" * LARGEST),
        record(key=b"\xff" * LARGEST),
        record(headers=[("h" * 1_000, b"\xff" * (LARGEST - 1_000))]),
        record(value=None, key=None),
        record(value=b"v" * (LARGEST // 2), key=b"k" * (LARGEST // 2)),
    ],
    ids=["value", "key", "header", "nothing", "both"],
)
def test_a_dead_letter_of_the_largest_record_is_whole_and_fits(original: Any) -> None:
    message, letter = letter_of(original, "x" * 10_000_000)
    assert size(to_outbox(message, CAUSE)) <= DEAD_LETTERS.max_message_bytes
    assert message.key == original.key
    assert letter.source.value == original.value
    assert letter.source.key == original.key
    assert letter.source.headers == original.headers


def test_headers_that_outgrow_the_letter_are_left_out_and_it_says_so() -> None:
    original = record(value=b"v" * 1_000, headers=[("\x00", None)] * (LARGEST // 4))
    message, letter = letter_of(original)
    assert size(to_outbox(message, CAUSE)) <= DEAD_LETTERS.max_message_bytes
    assert letter.source.value == original.value
    assert letter.source.headers == []
    assert "headers" in letter.reason
    assert (letter.source.topic, letter.source.partition, letter.source.offset) == (
        "feed.events",
        2,
        7,
    )


def test_a_poisoned_message_of_the_outbox_itself_still_has_a_letter_that_fits() -> None:
    original = record(value=b"v" * OUTBOX.max_message_bytes)
    message, letter = letter_of(original)
    assert size(message) <= DEAD_LETTERS.max_message_bytes
    assert letter.source.value is None
    assert "position" in letter.reason


def outbox_record(**changed: bytes | None) -> Any:
    headers: dict[str, bytes | None] = {
        HEADER_TO: b"finance.trends",
        HEADER_CAUSE: b'["finance.trends","kernel.results",0,7,0]',
    }
    headers |= {name.replace("_", "-"): content for name, content in changed.items()}
    return record(headers=list(headers.items()))


def test_the_relay_takes_a_message_with_both_headers_and_drops_these() -> None:
    message, cause = RelayHandler().admit(outbox_record(ce_id=b"e1"))
    assert message.topic == "finance.trends"
    assert message.headers == [("ce-id", b"e1")]
    assert (cause.topic, cause.offset) == ("kernel.results", 7)


@pytest.mark.parametrize(
    "changed",
    [
        {"headrace_to": None},
        {"headrace_to": b"\xff"},
        {"headrace_to": b"no.such.topic"},
        {"headrace_to": b"agents.outbox"},
        {"headrace_cause": None},
        {"headrace_cause": b"\xff"},
        {"headrace_cause": b"{}"},
        {"headrace_cause": b"[]"},
        {"headrace_cause": orjson.dumps(["a", "t", 0, -1, 0])},
        {"headrace_cause": b'["a","t",0,' + b"9" * 30 + b",0]"},
    ],
)
def test_the_relay_refuses_a_message_that_it_cannot_place(changed: dict[str, Any]) -> None:
    with pytest.raises(Unanswerable) as caught:
        RelayHandler().admit(outbox_record(**changed))
    assert caught.value.error_class == ErrorClass.WRONG_TYPE
