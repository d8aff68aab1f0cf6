"""What all tables of figures share: Markdown, and how a number is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]
Saved = Mapping[str, Figures]
"""By name of the benchmark: what its JSON file holds."""


def ratio(over: float, under: float) -> float:
    """Rounded to two places; 0 where there is nothing to compare with."""
    return round(over / under, 2) if under else 0.0


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; all columns but the first are set to the right."""
    rule = ["---", *["---:"] * (len(columns) - 1)]
    lines = [columns, rule, *rows]
    return "".join("| " + " | ".join(cell(one) for one in row) + " |\n" for row in lines)


def cell(value: Any) -> str:
    """A number with as many digits as a reader wants, or the text itself."""
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1_000 else f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
