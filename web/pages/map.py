"""The map of the pipeline: topics as channels, services as wheels, as one drawing.

The drawing is made once; the numbers in it are filled in by class name as text, so that the
wheels keep turning and nothing moves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from typing import Final

from schemas.services import (
    FINANCE_ALERTS,
    FINANCE_TRENDS,
    KERNEL,
    READER,
    TRAINER,
    Service,
)
from schemas.topics import (
    ALERTS,
    DEAD_LETTERS,
    FEED_EVENTS,
    LABELS,
    MODELS,
    REQUESTS,
    RESULTS,
    TRENDS,
)

_WIDTH: Final = 190
_HEIGHT: Final = 46
_RADIUS: Final = 34

Point = tuple[int, int]


def wheel(service: Service) -> str:
    """The node of a service: a topic may have the same name."""
    return f"wheel-{service.name}"


WHEELS: Final[tuple[Service, ...]] = (READER, KERNEL, FINANCE_TRENDS, FINANCE_ALERTS, TRAINER)
_NAMES: Final = {wheel(service): service.name for service in WHEELS}
_WIDE: Final[dict[str, Point]] = {
    FEED_EVENTS.name: (110, 145),
    wheel(READER): (280, 145),
    REQUESTS["interactive"].name: (460, 55),
    REQUESTS["standard"].name: (460, 145),
    REQUESTS["bulk"].name: (460, 235),
    wheel(KERNEL): (640, 145),
    RESULTS.name: (810, 145),
    wheel(FINANCE_TRENDS): (980, 55),
    wheel(FINANCE_ALERTS): (980, 235),
    TRENDS.name: (1150, 55),
    ALERTS.name: (1150, 235),
    LABELS.name: (110, 355),
    wheel(TRAINER): (280, 355),
    MODELS.name: (460, 355),
    DEAD_LETTERS.name: (1150, 355),
}
_TALL: Final[dict[str, Point]] = {
    FEED_EVENTS.name: (180, 40),
    wheel(READER): (180, 140),
    REQUESTS["interactive"].name: (100, 245),
    REQUESTS["standard"].name: (300, 245),
    REQUESTS["bulk"].name: (100, 325),
    wheel(KERNEL): (300, 345),
    RESULTS.name: (200, 455),
    wheel(FINANCE_TRENDS): (100, 560),
    wheel(FINANCE_ALERTS): (300, 560),
    TRENDS.name: (100, 670),
    ALERTS.name: (300, 670),
    DEAD_LETTERS.name: (300, 755),
    LABELS.name: (100, 755),
    wheel(TRAINER): (100, 850),
    MODELS.name: (300, 850),
}
_EDGES: Final = (
    (FEED_EVENTS.name, wheel(READER)),
    *((wheel(READER), topic.name) for topic in REQUESTS.values() if topic is REQUESTS["standard"]),
    *((topic.name, wheel(KERNEL)) for topic in REQUESTS.values()),
    (wheel(KERNEL), RESULTS.name),
    (RESULTS.name, wheel(FINANCE_TRENDS)),
    (RESULTS.name, wheel(FINANCE_ALERTS)),
    (wheel(FINANCE_TRENDS), TRENDS.name),
    (wheel(FINANCE_ALERTS), ALERTS.name),
    (LABELS.name, wheel(TRAINER)),
    (wheel(TRAINER), MODELS.name),
    (MODELS.name, wheel(KERNEL)),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """The numbers of one node; None where they are not known."""

    rate: float | None = None
    lag: int | None = None
    oldest_s: float | None = None


def slug(name: str) -> str:
    """A name as part of a class name."""
    return re.sub(r"[^a-z0-9]+", "-", name)


def drawing() -> str:
    """The map for wide windows and for narrow ones; the style sheet shows one of them."""
    return _svg(_WIDE, 1260, 430, "wide") + _svg(_TALL, 400, 935, "tall")


def values(readings: dict[str, Reading]) -> dict[str, str]:
    """Text by class name, for every number of the drawing."""
    found = {}
    for name, one in readings.items():
        rate = "" if one.rate is None else f"{_rate(one.rate)}/s"
        parts = [] if one.lag is None else [f"lag {one.lag:,}"]
        if one.oldest_s:
            parts.append(f"oldest {one.oldest_s:.0f} s")
        found[f"map-{slug(name)}-rate"] = rate
        found[f"map-{slug(name)}-lag"] = ", ".join(parts)
    return found


def _rate(rate: float) -> str:
    return f"{rate:.1f}" if rate < 10 else f"{rate:,.0f}"


def _svg(places: dict[str, Point], width: int, height: int, kind: str) -> str:
    edges = "".join(
        f'<path class="flow" d="{_path(places[a], places[b], upright=kind == "tall")}"/>'
        for a, b in _EDGES
        # In the narrow map this one would cross everything between.
        if not (kind == "tall" and a == MODELS.name)
    )
    nodes = "".join(
        _wheel(name, at) if name in _NAMES else _channel(name, at) for name, at in places.items()
    )
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" '
        'aria-label="Map of the pipeline: topics, and the services between them">'
        f"{edges}{nodes}</svg>"
    )


def _path(start: Point, end: Point, *, upright: bool) -> str:
    (x1, y1), (x2, y2) = start, end
    if upright:
        middle = (y1 + y2) // 2
        return f"M{x1} {y1} C{x1} {middle} {x2} {middle} {x2} {y2}"
    middle = (x1 + x2) // 2
    return f"M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}"


def _channel(name: str, at: Point) -> str:
    x, y = at
    return (
        f'<g><rect class="channel" x="{x - _WIDTH // 2}" y="{y - _HEIGHT // 2}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" rx="10"/>'
        f'<text class="name" x="{x}" y="{y - 3}" text-anchor="middle">{escape(_short(name))}</text>'
        f'<text class="value soft map-{slug(name)}-rate" x="{x}" y="{y + 16}" '
        'text-anchor="middle">-</text>'
        f'<text class="value soft map-{slug(name)}-lag" x="{x}" y="{y + _HEIGHT // 2 + 15}" '
        'text-anchor="middle"></text></g>'
    )


def _wheel(name: str, at: Point) -> str:
    x, y = at
    spokes = "".join(
        f'<path d="M{x - _RADIUS + 4} {y}H{x + _RADIUS - 4}" transform="rotate({angle} {x} {y})"/>'
        for angle in (0, 45, 90, 135)
    )
    return (
        f'<g class="{slug(name)}"><circle class="rim" cx="{x}" cy="{y}" r="{_RADIUS}"/>'
        f'<g class="spokes">{spokes}</g><circle class="hub" cx="{x}" cy="{y}" r="7"/>'
        f'<text class="name" x="{x}" y="{y + _RADIUS + 18}" text-anchor="middle">'
        f"{escape(_NAMES[name])}</text>"
        f'<text class="value soft map-{slug(name)}-lag" x="{x}" y="{y + _RADIUS + 35}" '
        'text-anchor="middle"></text></g>'
    )


def _short(name: str) -> str:
    return name.replace("kernel.requests.", "requests.")
