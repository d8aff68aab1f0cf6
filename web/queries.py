"""What the pages and the API ask of the local index. Plain dictionaries, ready for JSON."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from schemas.ids import ASIDE
from schemas.topics import ALERTS, DEAD_LETTERS, FEED_EVENTS, LABELS, RESULTS, TRENDS

Row = dict[str, Any]

MOST: Final = 500
"""Rows that one question gives at most."""
_POINTS: Final = 240
"""Points of a line over time."""
_LAST: Final = "\U0010ffff"
"""Sorts after every other character."""
_SCAN: Final = 20_000
"""Newest results that a filter looks through: a question must end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which verdicts; what is empty does not narrow."""

    ticker: str = ""
    source: str = ""
    label: str = ""
    confidence: float = 0.0
    below: float = 1.0
    """Confidence at most this."""


class Reader:
    """Questions to the index; any thread may ask, each has a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    def verdicts(self, chosen: Filters, limit: int = 100) -> list[Row]:
        """Newest results that pass the filters, newest first."""
        where, values = ["confidence >= ?", "confidence <= ?"], [chosen.confidence, chosen.below]
        given: list[Any] = list(values)
        if chosen.ticker:
            where.append("thread = ?")
            given.append(chosen.ticker)
        if chosen.label:
            where.append("label = ?")
            given.append(chosen.label)
        if chosen.source:
            where.append("source = ?")
            given.append(chosen.source)
        inner = (
            "where thread = ? order by at desc"
            if chosen.ticker
            else "where thread not like ? order by ts desc"
        )
        first = [chosen.ticker or f"{ASIDE}%"]
        return self._rows(
            f"select * from (select r.*, f.source, f.id as event_id, f.ts as event_ts from "  # noqa: S608
            f"(select * from results {inner} limit {_SCAN}) r "
            "left join feed f on f.part = r.cause_part and f.offset = r.cause_offset) "
            f"where {' and '.join(where)} limit ?",
            (*first, *given, _bounded(limit)),
        )

    def result(self, part: int, offset: int) -> Row | None:
        """One result with the text of the event behind it."""
        return self._one(
            "select r.*, f.source, f.id as event_id, f.text, f.ts as event_ts from results r "
            "left join feed f on f.part = r.cause_part and f.offset = r.cause_offset "
            "where r.part = ? and r.offset = ?",
            (part, offset),
        )

    def uncertain(self, limit: int = 40, below: float = 1.0) -> list[Row]:
        """Results of which the model was least sure, those with a label left out."""
        return self._rows(
            "select r.*, f.source, f.text from (select * from results where thread not like ? "
            "and confidence <= ? order by confidence limit 2000) r "
            "left join feed f on f.part = r.cause_part and f.offset = r.cause_offset "
            "where not exists (select 1 from labels l where l.target is r.target "
            "and l.text in (f.text, r.excerpt) and l.task = r.task) limit ?",
            (f"{ASIDE}%", below, _bounded(limit)),
        )

    def tickers(self, search: str = "", limit: int = 24, offset: int = 0) -> list[Row]:
        """Tickers with the most results first; `search` is how the name begins."""
        where, values = "", []
        if search:
            # A range of the index on names: `like` would look at each of 100,000 tickers.
            begins = _ascii_upper(search)
            where = "where upper(thread) >= ? and upper(thread) < ? "
            values = [begins, begins + _LAST]
        return self._rows(
            f"select * from tickers {where}order by n desc limit ? offset ?",  # noqa: S608
            (*values, _bounded(limit), max(offset, 0)),
        )

    def line(self, ticker: str, points: int = _POINTS) -> list[Row]:
        """Sentiment and volume of a ticker over event time: the newest minutes that said anything.

        Each row: `bucket` (ms), `n`, `positive`, `neutral`, `negative`, `mean` in [-1, 1].
        """
        found = self._rows(
            "select bucket, n, positive, neutral, negative, total / n as mean from minutes "
            "where thread = ? order by bucket desc limit ?",
            (ticker, points),
        )
        return found[::-1]

    def trend(self, ticker: str) -> Row | None:
        """The newest windows of a ticker."""
        found = self._one(
            "select * from trends where thread = ? order by bucket desc limit 1", (ticker,)
        )
        return None if found is None else found | {"windows": json.loads(found["windows"])}

    def alerts(self, ticker: str = "", limit: int = 100) -> list[Row]:
        """Alerts, newest first, each as the event's own body with its position."""
        where, values = ("where ticker = ?", [ticker]) if ticker else ("", [])
        return [
            json.loads(row["body"]) | {name: row[name] for name in ("part", "offset", "ts", "at")}
            for row in self._rows(
                f"select * from alerts {where} order by ts desc limit ?",  # noqa: S608
                (*values, _bounded(limit)),
            )
        ]

    def alert(self, alert_id: str) -> Row | None:
        """One alert."""
        found = self._one("select body from alerts where id = ?", (alert_id,))
        return None if found is None else dict(json.loads(found["body"]))

    def labels(self, limit: int = 100) -> list[Row]:
        """Labelled examples that hold, newest first."""
        return self._rows("select * from labels order by ts desc limit ?", (_bounded(limit),))

    def label_counts(self, since_ms: int = 0) -> Row:
        """How many examples there are, and how many of them are newer than `since_ms`."""
        return self._one(
            "select count(*) as labels, coalesce(sum(ts > ?), 0) as since from labels", (since_ms,)
        ) or {"labels": 0, "since": 0}

    def dead_groups(self) -> list[Row]:
        """Dead letters by error class: how many, and the newest."""
        return self._rows(
            "select error_class, count(*) as n, max(ts) as ts from dead group by error_class "
            "order by n desc",
            (),
        )

    def dead(self, error_class: str = "", limit: int = 100) -> list[Row]:
        """Dead letters, newest first."""
        where, values = ("where error_class = ?", [error_class]) if error_class else ("", [])
        return self._rows(
            f"select * from dead {where} order by ts desc limit ?",  # noqa: S608
            (*values, _bounded(limit)),
        )

    def dead_one(self, letter_id: str) -> Row | None:
        """One dead letter's row."""
        return self._one("select * from dead where id = ?", (letter_id,))

    def audit(self, limit: int = 100) -> list[Row]:
        """Who changed what, newest first."""
        return self._rows(
            "select * from audit order by part, offset desc limit ?", (_bounded(limit),)
        )

    def sources(self) -> list[str]:
        """Names of the sources among the newest events."""
        found = self._rows(
            "select distinct source from (select source from feed order by ts desc limit 2000) "
            "order by source limit 50",
            (),
        )
        return [str(row["source"]) for row in found if row["source"]]

    def totals(self) -> Row:
        """How much there is."""
        return (
            self._one(
                "select (select coalesce(sum(n), 0) from tickers) as results, "
                "(select count(*) from tickers) as tickers, "
                "(select count(*) from alerts) as alerts, "
                "(select count(*) from dead) as dead, (select count(*) from labels) as labels",
                (),
            )
            or {}
        )

    def thread(self, key: str, limit: int = 200) -> list[Row]:
        """Where each record of a key's life lies: its newest `limit`, and the events behind them.

        Each row: `topic`, `part`, `offset`, `ts`, `cause_part`, `cause_offset`, `late` for what
        the table knows; the order is by time.
        """
        found: dict[tuple[str, int, int], Row] = {}
        for topic, sql in _THREAD.items():
            for row in self._rows(sql, (key, _bounded(limit))):
                row.setdefault("topic", topic)
                found[row["topic"], row["part"], row["offset"]] = row
        causes = {
            (row["cause_part"], row["cause_offset"])
            for row in found.values()
            if row.get("cause_part") is not None
        }
        for part, offset in causes:
            event = self._one("select * from feed where part = ? and offset = ?", (part, offset))
            if event is not None:
                found[FEED_EVENTS.name, part, offset] = event | {"topic": FEED_EVENTS.name}
        return list(found.values())

    def _rows(self, sql: str, values: Sequence[Any]) -> list[Row]:
        try:
            return [dict(row) for row in self._connection().execute(sql, values)]
        except sqlite3.OperationalError:
            return []  # not built yet, or being built anew: there is nothing to show

    def _one(self, sql: str, values: Sequence[Any]) -> Row | None:
        return next(iter(self._rows(sql, values)), None)

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection; a new one where the file was replaced."""
        inode = self._path.stat().st_ino if self._path.exists() else None
        held: sqlite3.Connection | None = getattr(self._local, "db", None)
        if held is not None and inode == self._local.inode:
            return held
        if held is not None:
            held.close()
        db = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5)
        db.row_factory = sqlite3.Row
        self._local.db, self._local.inode = db, inode
        return db


_THREAD: Final = {
    "": "select topic, part, offset, ts, id, thread, target, cause_part, cause_offset "
    "from requests where thread = ? order by ts desc limit ?",
    RESULTS.name: "select * from results where thread = ? order by at desc limit ?",
    TRENDS.name: "select * from trends where thread = ? order by bucket desc limit ?",
    ALERTS.name: "select part, offset, ts, at, id, body from alerts where ticker = ? "
    "order by ts desc limit ?",
    LABELS.name: "select * from labels where target = ? order by ts desc limit ?",
    DEAD_LETTERS.name: "select * from dead where key = ? order by ts desc limit ?",
    FEED_EVENTS.name: "select * from feed where key = ? order by ts desc limit ?",
}


def _ascii_upper(text: str) -> str:
    """As SQLite's `upper` has it: letters beyond ASCII stay as they are."""
    return "".join(one.upper() if one.isascii() else one for one in text)


def _bounded(limit: int) -> int:
    return min(max(limit, 0), MOST)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return round(time.time() * 1000)
