"""Saved figures become pages and pictures; a person's text stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from proof.bench import report, tables
from proof.bench.everything import save

DOCS = Path(__file__).parents[2] / "docs"
SOAK = {
    "minutes": 20.0,
    "offered_per_s": 200.0,
    "sent": 240_000,
    "lost": 0,
    "duplicates": 0,
    "swaps": 16,
    "cache_hits": 47_000,
    "kernel_mb_after_warm_up": 300.0,
    "kernel_mb_at_the_end": 303.0,
    "memory_growth": 0.01,
    "p50_drift": -0.02,
    "p99_drift": 0.05,
    "swap_delay": {
        "near_ms": {"p50": 31.0, "p99": 99.0},
        "before_ms": {"p50": 30.0, "p99": 90.0},
        "p99_more_ms": 9.0,
    },
    "spans": [
        {"from_s": 0.0, "kernel_mb": 300.0, "p50": 30.0, "p99": 90.0},
        {"from_s": 60.0, "kernel_mb": 303.0, "p50": 30.0, "p99": 91.0},
    ],
}
PAGE = "By hand.\n\n<!-- bench: soak -->\nold\n<!-- /bench -->\n\nAlso by hand.\n"


def test_only_what_stands_between_the_markers_is_written_anew() -> None:
    page, missing = report.filled(PAGE, {"soak": SOAK})
    assert page.startswith("By hand.\n\n<!-- bench: soak -->\n| ")
    assert page.endswith("<!-- /bench -->\n\nAlso by hand.\n")
    assert "| **memory growth** (bound: 2 %) | **1.0%** |" in page
    assert "old" not in page
    assert missing == []
    assert report.filled(page, {"soak": SOAK})[0] == page


def test_a_block_without_figures_stays_as_it_was() -> None:
    assert report.filled(PAGE, {"cache": {}}) == (PAGE, ["soak"])


def test_a_marker_that_names_no_table_is_said() -> None:
    with pytest.raises(ValueError, match="'sock'"):
        report.filled(PAGE.replace("bench: soak", "bench: sock"), {})


def test_every_table_has_its_place_and_every_marker_its_table() -> None:
    text = "".join((DOCS / name).read_text() for name in report.PAGES)
    for name in tables.TABLES:
        assert text.count(f"<!-- bench: {name} -->") == 1
    report.filled(text, {})  # raises where a marker names none


def test_one_command_writes_pages_and_pictures(tmp_path: Path) -> None:
    figures, docs = tmp_path / "figures", tmp_path / "docs"
    docs.mkdir()
    for name in report.PAGES:
        (docs / name).write_text(PAGE)
    save(figures, "soak", SOAK)
    done = report.main(figures, docs)
    assert [Path(path).name for path in done["pictures"]] == ["soak.svg"]
    assert "240,000" in (docs / "benchmarks.md").read_text()
    first = (docs / "bench" / "soak.svg").read_bytes()
    report.main(figures, docs)
    assert (docs / "bench" / "soak.svg").read_bytes() == first


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bench all"):
        report.load(tmp_path)
