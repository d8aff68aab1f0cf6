"""Plots of a model card: small SVG files, the same for the same figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

FOLDER: Final = "plots"
MOST_LABELS: Final = 30
"""Labels beyond which a confusion matrix cannot be read; the report has the numbers."""
_INK: Final = "#1f4e79"
_ACCENT: Final = "#b5462f"
_LABELLED_CELLS: Final = 12

mpl.rcParams["svg.hashsalt"] = "headrace"  # ids inside an SVG are else random
mpl.rcParams["svg.fonttype"] = "none"


def loss_curve(path: Path, losses: Sequence[tuple[int, float]]) -> None:
    """Training loss by optimiser step."""
    figure, axes = _canvas("Loss", "step", "loss")
    axes.plot([step for step, _ in losses], [loss for _, loss in losses], color=_INK)
    _save(figure, path)


def confusion(path: Path, matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> None:
    """Share of each right label (row) that was called what (column)."""
    size = max(3.2, 0.35 * len(labels) + 1.6)
    figure, axes = _canvas("Confusion", "said", "right", (size, size))
    shares = [[count / max(1, sum(row)) for count in row] for row in matrix]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    if len(labels) <= _LABELLED_CELLS:
        for right, row in enumerate(matrix):
            for said, count in enumerate(row):
                colour = "white" if shares[right][said] > 0.5 else "black"
                axes.text(said, right, str(count), ha="center", va="center", color=colour)
    _save(figure, path)


def reliability(path: Path, bins: Sequence[tuple[int, float, float]]) -> None:
    """Share of right answers by how sure the model was; the diagonal is what it should be."""
    figure, axes = _canvas("Reliability", "confidence", "share right")
    axes.plot([0, 1], [0, 1], color="#999999", linestyle="--", linewidth=1)
    axes.plot([at for _, at, _ in bins], [right for *_, right in bins], color=_INK, marker="o")
    for count, at, right in bins:
        axes.annotate(str(count), (at, right), textcoords="offset points", xytext=(4, -9), size=7)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    _save(figure, path)


def scatter(
    path: Path,
    points: Sequence[tuple[float, float]],
    chosen: int | None,
    axes_names: tuple[str, str],
) -> None:
    """Points (x, y), with the chosen one marked."""
    figure, axes = _canvas("", *axes_names)
    axes.scatter([x for x, _ in points], [y for _, y in points], color=_INK, s=14)
    if chosen is not None:
        axes.scatter(*([value] for value in points[chosen]), color=_ACCENT, s=40)
    _save(figure, path)


def steps(path: Path, values: Sequence[float], axes_names: tuple[str, str]) -> None:
    """Each value as a dot, and the best so far as a line."""
    figure, axes = _canvas("", *axes_names)
    best = [max(values[: place + 1]) for place in range(len(values))]
    axes.plot(range(1, len(values) + 1), values, ".", color=_INK)
    axes.step(range(1, len(values) + 1), best, where="post", color=_ACCENT)
    _save(figure, path)


def _canvas(
    title: str, across: str, up: str, size: tuple[float, float] = (4.2, 3.0)
) -> tuple[Figure, Any]:
    # Not through pyplot: it keeps every figure, and wants a display on some machines.
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
