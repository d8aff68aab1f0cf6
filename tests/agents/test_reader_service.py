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
POISON: dict[str, tuple[str, bytes | None, list[tuple[str, bytes]]]] = {
    "a tombstone": ("no-value", None, []),
    "not JSON": ("not-json", b"profit up", []),
    "not UTF-8": ("not-json", b'{"id":"p0","text":"\xff\xfe"}', []),
    "no text": ("wrong-type", b'{"id":"p1"}', []),
    "text of another type": ("wrong-type", b'{"id":"p1","text":7}', []),
    "not an object": ("wrong-type", b'["text"]', []),
    "an unknown schema version": (
        "unknown-schema",
        b'{"id":"p2","text":"Aldermoor Bank"}',
        [("ce_specversion", b"1.0"), ("ce_type", b"headrace.feed.event.v9")],
    ),
    "blank text": ("empty-text", b'{"id":"p2","text":" \\n"}', []),
    "a text of 1 MB": (
        "text-too-long",
        orjson.dumps({"id": "p3", "text": "x" * 1_000_000}),
        [],
    ),
    "a time to come": (
        "bad-time",
        orjson.dumps({"id": "p4", "text": "t", "published_at": SOON}),
        [],
    ),
    "a time before 1970": (
        "bad-time",
        b'{"id":"p5","text":"t","published_at":"1969-12-31T23:59:59Z"}',
        [],
    ),
    "a duplicate id": ("duplicate-id", b'{"id":"good-3","text":"Aldermoor again"}', []),
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


def _original(letter: Record) -> bytes:
    return base64.b64decode(letter.json()["source"]["value"] or "")


async def test_every_event_becomes_requests_or_exactly_one_dead_letter(
    cluster: Settings, start: Callable[..., Any]
) -> None:
    records: list[tuple[bytes | None, bytes | None]] = [
        (b"k" if n == 3 else key, body) for n in range(40) for key, body in [good(n)]
    ]
    records.insert(20, (b"k", b'{"id":"quiet","text":"nothing about a company here"}'))
    # One producer and one key for all of it: poison stands before, between and behind.
    await topics.publish(cluster, FEED_EVENTS.name, records[:20])
    for _, value, headers in POISON.values():
        await topics.publish(cluster, FEED_EVENTS.name, [(b"k", value)], headers)
    await topics.publish(cluster, FEED_EVENTS.name, records[20:])
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

    said = sorted((_original(letter), letter.json()["error_class"]) for letter in dead)
    assert said == sorted((value or b"", error) for error, value, _ in POISON.values())
    for letter in dead:
        assert letter.key == b"k"
        assert letter.json()["source"]["topic"] == FEED_EVENTS.name
        assert letter.json()["service"] == "finance.reader"
        assert letter.json()["versions"]["headrace"]

    listening = psutil.Process(reader.pid).net_connections("tcp")
    assert not [one for one in listening if one.status == psutil.CONN_LISTEN]
    reader.send_signal(signal.SIGTERM)
    assert reader.wait(60) == 0
