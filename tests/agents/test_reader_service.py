"""finance.reader over a real broker: events in, requests out, poison to dead letters."""

from __future__ import annotations

import base64
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import psutil
import pytest

from schemas.topics import DEAD_LETTERS, FEED_EVENTS, REQUESTS
from streams.reading import Record
from streams.settings import Settings
from tests.support import topics

pytestmark = pytest.mark.timeout(120)

GROUP = "headrace.finance.reader"
SOON = datetime.now(UTC) + timedelta(days=30)
POISON: dict[str, tuple[bytes | None, bytes | None]] = {
    "no-value": (b"k", None),
    "not-json": (b"k", b"\xff\xfe{"),
    "wrong-type": (b"k", b'{"id":"p1"}'),
    "empty-text": (b"k", b'{"id":"p2","text":" \\n"}'),
    "text-too-long": (b"k", orjson.dumps({"id": "p3", "text": "x" * 1_000_000})),
    "bad-time": (b"k", orjson.dumps({"id": "p4", "text": "t", "published_at": SOON})),
    "duplicate-id": (b"k", b'{"id":"good-3","text":"Aldermoor again"}'),
}


def good(number: int) -> tuple[bytes | None, bytes]:
    """An event about two companies; every fifth has no key."""
    body = {"id": f"good-{number}", "text": f"Aldermoor Bank up {number}, $XYZ down"}
    return None if number % 5 == 0 else b"k%d" % (number % 7), orjson.dumps(body)


async def letters(settings: Settings, count: int) -> list[Record]:
    async def enough() -> list[Record]:
        found = await topics.read_all(settings, DEAD_LETTERS.name)
        return found if len(found) >= count else []

    found: list[Record] = await topics.until(enough, f"{count} dead letters", 60)
    return found


async def test_every_event_becomes_requests_or_exactly_one_dead_letter(
    cluster: Settings, start: Callable[..., Any]
) -> None:
    records: list[tuple[bytes | None, bytes | None]] = [
        (b"k" if n == 3 else key, body) for n in range(40) for key, body in [good(n)]
    ]
    for place, poison in enumerate(POISON.values()):
        records.insert(8 + 5 * place, poison)
    records.append((b"k", b'{"id":"quiet","text":"nothing about a company here"}'))
    await topics.publish(cluster, FEED_EVENTS.name, records)
    start(cluster, "relay")
    reader = start(cluster, "finance.reader")

    async def answered() -> list[Record]:
        found = await topics.read_all(cluster, REQUESTS["standard"].name)
        return found if len(found) >= 80 else []

    requests = await topics.until(answered, "80 requests", 60)
    dead = await letters(cluster, len(POISON))

    assert len(requests) == 80
    asked = [(request.key, request.json()) for request in requests]
    assert {(body["thread"], body["target"]) for _, body in asked} == {
        ("ALDR", "Aldermoor Bank"),
        ("XYZ", "$XYZ"),
    }
    assert all(key == body["thread"].encode() for key, body in asked)
    assert len({body["id"] for _, body in asked}) == 80

    by_class = {letter.json()["error_class"]: letter for letter in dead}
    assert len(dead) == len(by_class) == len(POISON)
    for error_class, (key, value) in POISON.items():
        letter = by_class[error_class]
        source = letter.json()["source"]
        assert letter.key == key
        assert source["topic"] == FEED_EVENTS.name
        original = source["value"]
        assert (None if original is None else base64.b64decode(original)) == value
        assert letter.json()["service"] == "finance.reader"

    listening = psutil.Process(reader.pid).net_connections("tcp")
    assert not [one for one in listening if one.status == psutil.CONN_LISTEN]
    reader.send_signal(signal.SIGTERM)
    assert reader.wait(20) == 0
