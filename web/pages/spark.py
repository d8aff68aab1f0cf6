"""A line and bars over time as one small drawing; numbers only, so it is safe as markup."""

from __future__ import annotations

from typing import Final

from web.queries import Row

_WIDTH: Final = 300
_HEIGHT: Final = 64
_FOOT: Final = 16
"""Height kept for the volume bars."""
_BINS: Final = 40


def spark(points: list[Row], colours: dict[str, str]) -> str:
    """The mean in [-1, 1] as a line over volume bars; `points` as `Reader.line` gives them."""
    if not points:
        return ""
    first, last = int(points[0]["bucket"]), int(points[-1]["bucket"])
    span = max(last - first, 1)
    middle = (_HEIGHT - _FOOT) / 2
    volume = [0] * _BINS
    line = []
    for one in points:
        share = (int(one["bucket"]) - first) / span
        volume[min(int(share * _BINS), _BINS - 1)] += int(one["n"])
        mean = min(max(float(one["mean"]), -1.0), 1.0)
        line.append(f"{share * _WIDTH:.1f},{middle - mean * (middle - 2):.1f}")
    step = _WIDTH / _BINS
    bars = [
        f'<rect x="{place * step:.1f}" y="{_HEIGHT - _FOOT * count / max(volume):.1f}" '
        f'width="{step - 0.6:.1f}" height="{_FOOT * count / max(volume):.1f}"/>'
        for place, count in enumerate(volume)
        if count
    ]
    return (
        f'<svg class="hr-spark" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" '
        'aria-hidden="true">'
        f'<line x1="0" x2="{_WIDTH}" y1="{middle}" y2="{middle}" stroke="{colours["line"]}"/>'
        f'<g fill="{colours["neutral"]}" opacity="0.55">{"".join(bars)}</g>'
        f'<polyline points="{" ".join(line)}" fill="none" stroke="{colours["water"]}" '
        'stroke-width="2" stroke-linejoin="round" vector-effect="non-scaling-stroke"/></svg>'
    )
