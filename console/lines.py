"""One line for people about one record of a known topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from schemas.topics import (
    ALERTS,
    DEAD_LETTERS,
    FEED_EVENTS,
    LABELS,
    REQUESTS,
    RESULTS,
    TRENDS,
)

if TYPE_CHECKING:
    from streams.reading import Record


def describe(record: Record) -> str:
    """What the record says, in one line; no control characters, whatever it holds."""
    key = (record.key or b"").decode("utf-8", "replace")
    body = record.json()
    said = _say(record.topic, body) if isinstance(body, dict) else f"{record.value!r}"
    return clean(f"{record.time:%Y-%m-%d %H:%M:%S} {key:12} {said}")


def clean(text: str) -> str:
    """`text` on one line, without characters that move a terminal's cursor."""
    return "".join(character if character.isprintable() else " " for character in text)


def _result(body: dict[str, Any]) -> str:
    if body.get("status") == "expired":
        return f"expired   {body.get('target') or ''}: {body['excerpt']}"
    return (
        f"{body['label']:9} {max(body['scores'].values()):.2f} "
        f"{body.get('target') or ''}: {body['excerpt']} [{body['model_version']}]"
    )


def _trend(body: dict[str, Any]) -> str:
    return "  ".join(
        f"{name}: n={window['count']} mean={window['mean']:+.2f} momentum={window['momentum']:+.2f}"
        for name, window in body["windows"].items()
    )


def _alert(body: dict[str, Any]) -> str:
    first = body["headlines"][0]["text"] if body["headlines"] else ""
    return (
        f"ALERT {body['kind']} n={body['count']} mean={body['mean']:+.2f} "
        f"baseline={body['baseline_mean']:+.2f}: {first}"
    )


def _dead_letter(body: dict[str, Any]) -> str:
    source = body["source"]
    return (
        f"dead letter {body['error_class']} from "
        f"{source['topic']}/{source['partition']}@{source['offset']}: {body['reason']}"
    )


def _label(body: dict[str, Any]) -> str:
    return f"label {body['label']} {body.get('target') or ''}: {body['text']}"


def _feed(body: dict[str, Any]) -> str:
    return f"{' '.join(body.get('tickers', []))} {body['text']}"


def _request(body: dict[str, Any]) -> str:
    return f"{body['task']} {body.get('target') or ''}: {body['text']}"


_SAYS: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    RESULTS.name: _result,
    TRENDS.name: _trend,
    ALERTS.name: _alert,
    DEAD_LETTERS.name: _dead_letter,
    LABELS.name: _label,
    FEED_EVENTS.name: _feed,
    **{topic.name: _request for topic in REQUESTS.values()},
}


def _say(topic: str, body: dict[str, Any]) -> str:
    try:
        return _SAYS[topic](body)
    except (KeyError, TypeError, ValueError, AttributeError):
        return str(body)  # not the shape that the topic carries: shown as it is
