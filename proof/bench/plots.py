"""Saved figures as small SVG pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Saved = Mapping[str, Mapping[str, Any]]

_STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "headrace",  # the same figures make the same file
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


def kernel(saved: Saved, axes: Axes) -> None:
    """Ceiling and kernel of each round."""
    place = 0.0
    for name, colour in (("kernel-fp32", "tab:blue"), ("kernel-int8", "tab:orange")):
        if name not in saved:
            continue
        for one in saved[name]["rounds"]:
            axes.bar(place, one["ceiling"]["per_s"], 0.8, color=colour, alpha=0.35)
            axes.bar(place + 0.9, one["kernel"]["per_s"], 0.8, color=colour)
            place += 2.2
        place += 0.8
    axes.set_ylabel("texts/s")
    axes.set_xticks([])
    axes.set_title("Ceiling (pale) and kernel, round by round: fp32, int8")


def latency(saved: Saved, axes: Axes) -> None:
    """Share of answers that came within a time, by case."""
    found = saved["latency"]
    for name, about in (
        ("at_60_per_s", "60 events/s"),
        ("at_50_percent", "50 % of what is kept up with"),
        ("at_80_percent", "80 % of what is kept up with"),
    ):
        buckets = found[name]["histogram"]
        total = sum(count for _, count in buckets) or 1
        reached, edges, shares = 0, [], []
        for edge, count in buckets:
            reached += count
            edges.append(edge)
            shares.append(100 * reached / total)
        axes.step(edges, shares, where="post", label=about)
    axes.set_xscale("log")
    axes.set_xlabel("ms from the intended sending to the readable result")
    axes.set_ylabel("% of answers within")
    axes.legend(loc="lower right")
    axes.set_title("Latency, feed to results")


def commit_intervals(saved: Saved, axes: Axes) -> None:
    """Throughput and latency by commit interval."""
    rows = saved["latency"]["commit_intervals"]
    intervals = [one["commit_interval_ms"] for one in rows]
    axes.plot(intervals, [one["per_s"] for one in rows], "o-", color="tab:blue")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("commit interval, ms")
    axes.set_ylabel("texts/s (blue)")
    other = axes.twinx()
    other.grid(visible=False)
    other.plot(intervals, [one["p99"] for one in rows], "s--", color="tab:red")
    other.plot(intervals, [one["p50"] for one in rows], "s:", color="tab:red")
    other.set_ylim(bottom=0)
    other.set_ylabel("p50, p99 in ms at 60/s (red)")
    axes.set_title("What a longer commit interval buys")


def soak(saved: Saved, axes: Axes) -> None:
    """Memory and latency over the run."""
    spans = saved["soak"]["spans"]
    minutes = [one["from_s"] / 60 for one in spans]
    axes.plot(minutes, [one["kernel_mb"] for one in spans], "o-", color="tab:blue")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("minutes")
    axes.set_ylabel("kernel resident, MB (blue)")
    other = axes.twinx()
    other.grid(visible=False)
    other.plot(minutes, [one["p99"] for one in spans], "s--", color="tab:red")
    other.plot(minutes, [one["p50"] for one in spans], "s:", color="tab:red")
    other.set_ylim(bottom=0)
    other.set_ylabel("p50, p99 in ms (red)")
    axes.set_title("Soak: memory and latency")


PLOTS: Final[dict[str, tuple[str, Callable[[Saved, Axes], None]]]] = {
    "kernel": ("kernel-int8", kernel),
    "latency": ("latency", latency),
    "commit-intervals": ("latency", commit_intervals),
    "soak": ("soak", soak),
}
"""By the file's name: the figures that it needs, and what draws it."""


def draw(saved: Saved, folder: Path) -> list[Path]:
    """Draw what there are figures for; the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with mpl.rc_context(_STYLE):
        for name, (needed, paint) in PLOTS.items():
            if needed not in saved:
                continue
            figure = Figure(figsize=(6.4, 3.2), layout="constrained")
            paint(saved, figure.subplots())
            path = folder / f"{name}.svg"
            figure.savefig(path, metadata={"Date": None})
            written.append(path)
    return written
