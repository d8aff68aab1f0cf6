"""Log lines name the event that they are about, and its trace, as text and as JSON."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from console import logs
from schemas.errors import ErrorClass, Unanswerable
from streams import tracing
from streams.dead_letter import dead_letter

TRACE = "0af7651916cd43dd8448eb211c80319c"
RECORD: Any = SimpleNamespace(
    topic="feed.events",
    partition=0,
    offset=3,
    timestamp=1_772_000_000_000,
    key=None,
    value=b"{",
    headers=[("ce_id", b"feed-1"), ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode())],
)
log = logging.getLogger("agents.finance")


def refuse() -> None:
    verdict = Unanswerable(ErrorClass.NOT_JSON, "the body is not JSON")
    dead_letter(RECORD, verdict, "finance.reader", {})


def test_a_json_line_about_a_dead_letter_names_event_and_trace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("finance.reader", form="json")
    refuse()
    line = json.loads(capsys.readouterr().err)
    assert line["message"] == "dead letter: not-json: the body is not JSON"
    assert line["level"] == "WARNING"
    assert line["service"] == "finance.reader"
    assert line["event_id"] == "feed-1"
    assert line["trace_id"] == TRACE
    assert line["time"].endswith("+00:00")


def test_a_line_that_an_agent_writes_while_it_handles_a_record_is_about_that_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("finance.reader", form="json")
    token = tracing.handled.set(RECORD)
    try:
        raise_and_log()
    finally:
        tracing.handled.reset(token)
    log.info("about none")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first["event_id"] == "feed-1"
    assert first["error"].endswith("ZeroDivisionError: division by zero")
    assert not {"event_id", "trace_id", "error"} & set(second)


def raise_and_log() -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        log.exception("failed")


def test_a_text_line_ends_with_event_and_trace(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("finance.reader")
    refuse()
    assert capsys.readouterr().err.endswith(f" event_id=feed-1 trace_id={TRACE}\n")


def test_a_line_with_text_that_is_no_unicode_is_still_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("kernel", form="json")
    log.warning("odd: %s", "\ud800\n\x00")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"].startswith("odd: \\ud800\n")


def test_a_flood_of_poison_does_not_flood_the_log_and_says_what_it_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("kernel")
    now = 1_772_000_000.0

    def made(*args: Any, **named: Any) -> logging.LogRecord:
        line = logging.LogRecord(*args, **named)
        line.created = now
        return line

    logging.setLogRecordFactory(made)
    try:
        for _ in range(50):
            refuse()
        assert len(capsys.readouterr().err.splitlines()) == 10
        now += 1
        refuse()
        assert "(and 40 more that were not said)" in capsys.readouterr().err
    finally:
        logging.setLogRecordFactory(logging.LogRecord)
