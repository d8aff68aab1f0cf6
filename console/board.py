"""What the live screen knows: one object, changed by records and by what is polled."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from console.lines import clean
from schemas.topics import ALERTS, DEAD_LETTERS, RESULTS, TRENDS

if TYPE_CHECKING:
    from streams.machine import Service
    from streams.reading import Record

HISTORY: Final = 240
"""Trend means kept for each ticker's sparkline."""
_RATE_WINDOW_S: Final = 10.0
_MESSAGE_S: Final = 15.0


@dataclass
class Ticker:
    """One row of the table."""

    name: str
    labels: Counter[str] = field(default_factory=Counter)
    mean: float | None = None
    momentum: float = 0.0
    means: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    alerts: int = 0
    changed: int = 0
    """Number of the verdict that changed the row last."""


@dataclass(frozen=True)
class Verdict:
    """One line of the stream of verdicts."""

    ticker: str
    label: str
    confidence: float
    text: str
    at: datetime | None


@dataclass(frozen=True)
class AlertLine:
    """One raised alert."""

    ticker: str
    count: int
    mean: float
    baseline: float
    text: str
    at: str


@dataclass
class Board:
    """Everything that the screen shows."""

    tickers: dict[str, Ticker] = field(default_factory=dict)
    verdicts: deque[Verdict] = field(default_factory=lambda: deque(maxlen=100))
    alerts: deque[AlertLine] = field(default_factory=lambda: deque(maxlen=20))
    verdict_count: int = 0
    alert_count: int = 0
    dead_count: int = 0
    published: int = 0
    to_publish: int = 0
    model: str = ""
    stage: str = "starting"
    training: tuple[int, int, float | None] | None = None
    """Step, steps in all, and seconds left, while the first model is taught."""
    services: list[Service] = field(default_factory=list)
    lag: int | None = None
    first_verdict_s: float | None = None
    notice: str = ""
    """What stands where there is no message."""
    _message: tuple[float, str] = (float("-inf"), "")
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=2_000))

    def apply(self, record: Record) -> None:
        """Take in a record of results, trends, alerts or dead letters."""
        body = record.json()
        if not isinstance(body, dict):
            return
        key = clean((record.key or b"").decode("utf-8", "replace"))
        if record.topic == RESULTS.name:
            self._verdict(key, body)
        elif record.topic == TRENDS.name:
            self._trend(key, body)
        elif record.topic == ALERTS.name:
            self._alert(key, body)
        elif record.topic == DEAD_LETTERS.name:
            self.dead_count += 1

    def tell(self, message: str) -> None:
        """Show a message for a while."""
        self._message = time.monotonic(), clean(message)

    def message(self) -> str:
        """The latest message, until it is old; then the notice."""
        at, message = self._message
        return message if time.monotonic() - at < _MESSAGE_S else self.notice

    def rate(self) -> float:
        """Verdicts a second over the last seconds."""
        now = time.monotonic()
        return sum(now - at <= _RATE_WINDOW_S for at in self._times) / _RATE_WINDOW_S

    def _ticker(self, name: str) -> Ticker:
        return self.tickers.setdefault(name, Ticker(name))

    def _verdict(self, key: str, body: dict[str, Any]) -> None:
        self.verdict_count += 1
        self._times.append(time.monotonic())
        self.model = f"{body['task']} {body['model_version']} {body['precision']}"
        row = self._ticker(key)
        row.labels[body["label"]] += 1
        row.changed = self.verdict_count
        at = body.get("published_at")
        self.verdicts.append(
            Verdict(
                key,
                body["label"],
                float(body["scores"].get(body["label"], 0.0)),
                clean(body["excerpt"]),
                datetime.fromisoformat(at) if at else None,
            )
        )

    def _trend(self, key: str, body: dict[str, Any]) -> None:
        hour = body["windows"].get("1h")
        if hour:
            row = self._ticker(key)
            row.mean, row.momentum = float(hour["mean"]), float(hour["momentum"])
            row.means.append(row.mean)

    def _alert(self, key: str, body: dict[str, Any]) -> None:
        self.alert_count += 1
        self._ticker(key).alerts += 1
        headlines = body.get("headlines") or []
        worst = min(headlines, key=lambda one: one["score"], default=None)
        self.alerts.append(
            AlertLine(
                key,
                int(body["count"]),
                float(body["mean"]),
                float(body["baseline_mean"]),
                clean(worst["text"]) if worst else "",
                str(body["raised_at"])[11:16],
            )
        )
