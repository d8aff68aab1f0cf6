"""A key's life as lines for people: what each record said, and how long it took to get there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from schemas.topics import (
    ALERTS,
    CATALOGUE,
    DEAD_LETTERS,
    FEED_EVENTS,
    LABELS,
    REQUESTS,
    RESULTS,
    TRENDS,
)
from web.queries import Row

STEP: Final = {name: step for step, name in enumerate(CATALOGUE)}
"""Where a topic stands in the life of an event: causes before effects."""


def life(rows: list[Row]) -> list[Row]:
    """The rows in order of time, records of one millisecond in the order of the catalogue.

    Each line: `ts`, `topic`, `part`, `offset`, `kind`, `says`, `version`, and `hop_ms`, the time
    since the record that caused it (None where that is not among the rows).
    """
    by_place = {(row["topic"], row["part"], row["offset"]): row for row in rows}
    requests = {row["id"]: row["ts"] for row in rows if row["topic"] in _REQUESTS}
    lines = []
    for row in sorted(rows, key=lambda one: (one["ts"], STEP[one["topic"]], one["offset"])):
        kind, says = _SAYS[row["topic"]]
        since = requests.get(row.get("request_id"))
        if since is None and row.get("cause_part") is not None:
            event = by_place.get((FEED_EVENTS.name, row["cause_part"], row["cause_offset"]))
            since = None if event is None else event["ts"]
        lines.append(
            {
                "ts": row["ts"],
                "topic": row["topic"],
                "part": row["part"],
                "offset": row["offset"],
                "kind": kind,
                "says": says(row),
                "version": row.get("version") or "",
                "hop_ms": None if since is None else max(row["ts"] - since, 0),
            }
        )
    return lines


def _result(row: Row) -> str:
    return f"{row['label']} {row['confidence']:.2f}: {row['excerpt']}"


def _trend(row: Row) -> str:
    windows = json.loads(row["windows"])
    return "mean " + ", ".join(
        f"{name} {one['mean']:+.2f} of {one['count']}" for name, one in windows.items()
    )


def _alert(row: Row) -> str:
    body = json.loads(row["body"])
    return (
        f"{body['count']} results, mean {body['mean']:+.2f} against {body['baseline_mean']:+.2f} "
        f"before"
    )


_REQUESTS: Final = {topic.name for topic in REQUESTS.values()}
_SAYS: Final[dict[str, tuple[str, Callable[[Row], Any]]]] = {
    FEED_EVENTS.name: ("event", lambda row: row["text"]),
    **{name: ("request", lambda row: f"{row['id']}") for name in _REQUESTS},
    RESULTS.name: ("result", _result),
    TRENDS.name: ("trend", _trend),
    ALERTS.name: ("alert", _alert),
    LABELS.name: ("label", lambda row: f"{row['label']} by {row['labeller']}: {row['text']}"),
    DEAD_LETTERS.name: ("dead letter", lambda row: f"{row['error_class']}: {row['reason']}"),
}
