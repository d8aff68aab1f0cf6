"""The live screen shows what matters and fits the terminal, narrow or wide, whatever texts say."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pytest
from rich.console import Console

from console.board import Board
from console.screen import render, spark
from streams.machine import Service
from streams.reading import Record


def record(topic: str, key: str, body: dict[str, Any]) -> Record:
    return Record(topic, 0, 0, 1_772_434_000_000, key.encode(), orjson.dumps(body), ())


def result(ticker: str, label: str, text: str) -> Record:
    body = {
        "task": "sentiment",
        "label": label,
        "scores": {label: 0.9},
        "model_version": "v1",
        "precision": "int8",
        "excerpt": text,
        "published_at": "2026-03-02T07:03:10+00:00",
    }
    return record("kernel.results", ticker, body)


def trend(ticker: str, mean: float, momentum: float) -> Record:
    window = {"count": 3, "mean": mean, "momentum": momentum}
    return record("finance.trends", ticker, {"windows": {"1h": window}})


@pytest.fixture
def board() -> Board:
    board = Board(stage="live", published=120, to_publish=540)
    for number in range(60):
        ticker = f"TICK{number:02}"
        board.apply(result(ticker, "positive", f"Good news {number} [bold]and markup[/]"))
        board.apply(trend(ticker, 0.5, 0.2))
    board.apply(result("BAD", "negative", "Evil\x1b[2Jtext\nover two lines"))
    for mean in (0.5, 0.0, -0.9):
        board.apply(trend("BAD", mean, -0.4))
    body = {
        "count": 7,
        "mean": -0.8,
        "baseline_mean": 0.1,
        "raised_at": "2026-03-02T07:30:00+00:00",
        "headlines": [{"text": "All is lost", "score": -0.9}],
    }
    board.apply(record("finance.alerts", "BAD", body))
    board.apply(record("dead-letters", "x", {"id": "dead:finance.reader:x:0:0"}))
    board.services = [Service("kernel", 1, "running", 0, "", "", "")]
    board.lag = 3
    return board


def drawn(board: Board, width: int, height: int) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None)
    console.print(render(board, width, height), height=height)
    return out.getvalue().rstrip("\n").split("\n")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 40), (140, 40), (60, 20)])
def test_the_screen_fits_and_shows_verdicts_trends_and_alerts(
    board: Board, width: int, height: int
) -> None:
    lines = drawn(board, width, height)
    text = "\n".join(lines)
    assert len(lines) == height
    assert all(len(line) <= width for line in lines)
    assert "\x1b" not in text
    for shown in ("live", "120/540", "BAD !", "-0.90", "▼", "All is lost", "Evil"):
        assert shown in text
    if width >= 80:
        assert "verdicts 61" in text
        assert "alerts: 1 negative" in text


def test_the_first_training_is_shown_as_it_goes(board: Board) -> None:
    board.training = (30, 120, 61.0)
    text = "\n".join(drawn(board, 80, 24))
    assert "teaching the first model" in text
    assert "step 30/120, 61 s left" in text


def test_an_empty_board_can_be_drawn() -> None:
    assert len(drawn(Board(), 80, 24)) == 24


def test_a_sparkline_rises_with_the_mean() -> None:
    assert spark([-1.0, 0.0, 1.0, 7.0]) == "▁▅██"
