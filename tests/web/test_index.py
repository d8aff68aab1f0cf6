"""The index says what the topics say, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas import envelope
from schemas.events import Cause, Event, FeedEvent, KernelResult, LabelledExample
from schemas.ids import ASIDE
from schemas.topics import FEED_EVENTS, LABELS, RESULTS, Topic
from streams.reading import Record
from web.index import Index
from web.queries import Filters, Reader
from web.tables import digest

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


def record(topic: Topic, key: str, event: Event | None, offset: int, part: int = 0) -> Record:
    value, headers = (None, []) if event is None else envelope.encode(event, "test")
    return Record(
        topic.name, part, offset, 1_772_440_000_000 + offset, key.encode(), value, tuple(headers)
    )


def result(number: int, ticker: str, positive: float, *, source: int = 0) -> KernelResult:
    return KernelResult(
        id=f"result:{number}",
        request_id=str(number),
        task="sentiment",
        thread=ticker,
        target=ticker,
        label="positive" if positive > 0.5 else "negative",
        scores={"negative": 1 - positive, "neutral": 0.0, "positive": positive},
        model_version="v1",
        precision="fp32",
        excerpt=f"text {number}",
        published_at=AT,
        cause=Cause("finance.reader", FEED_EVENTS.name, 0, source, 0),
    )


@pytest.fixture
def index(tmp_path: Path) -> Index:
    made = Index(tmp_path)
    made.open("cluster-1")
    return made


@pytest.fixture
def reader(index: Index) -> Reader:
    return Reader(index.path)


def test_results_come_back_newest_first_with_the_source_of_their_event(
    index: Index, reader: Reader
) -> None:
    event = FeedEvent(id="e", text="a longer text", source="desk")
    index.apply(
        digest(
            [
                record(FEED_EVENTS, "desk", event, 0),
                record(RESULTS, "AAA", result(1, "AAA", 0.9), 1),
                record(RESULTS, "BBB", result(2, "BBB", 0.2), 2),
            ]
        )
    )
    assert [row["thread"] for row in reader.verdicts(Filters())] == ["BBB", "AAA"]
    assert [row["thread"] for row in reader.verdicts(Filters(label="positive"))] == ["AAA"]
    assert [row["thread"] for row in reader.verdicts(Filters(confidence=0.85))] == ["AAA"]
    assert len(reader.verdicts(Filters(source="desk"))) == 2
    assert reader.verdicts(Filters(source="nobody")) == []
    found = reader.result(0, 1)
    assert found is not None
    assert found["text"] == "a longer text"


def test_offsets_and_rows_are_kept_together_across_a_restart(tmp_path: Path) -> None:
    first = Index(tmp_path)
    assert first.open("cluster-1") == {}
    first.apply(digest([record(RESULTS, "AAA", result(1, "AAA", 0.9), 7)]))
    first.close()
    again = Index(tmp_path)
    assert again.open("cluster-1") == {(RESULTS.name, 0): 8}
    assert len(Reader(again.path).verdicts(Filters())) == 1


def test_an_index_of_another_cluster_or_a_damaged_one_is_begun_anew(tmp_path: Path) -> None:
    first = Index(tmp_path)
    first.open("cluster-1")
    first.apply(digest([record(RESULTS, "AAA", result(1, "AAA", 0.9), 7)]))
    first.close()
    second = Index(tmp_path)
    assert second.open("cluster-2") == {}
    second.close()
    second.path.write_bytes(b"this is no database" * 100)
    for suffix in ("-wal", "-shm"):
        second.path.with_name(second.path.name + suffix).unlink(missing_ok=True)
    third = Index(tmp_path)
    assert third.open("cluster-2") == {}
    assert Reader(third.path).verdicts(Filters()) == []


def test_a_reader_that_is_open_follows_an_index_that_begins_anew(
    index: Index, reader: Reader
) -> None:
    index.apply(digest([record(RESULTS, "AAA", result(1, "AAA", 0.9), 1)]))
    assert len(reader.verdicts(Filters())) == 1
    index.clear("cluster-1")
    assert reader.verdicts(Filters()) == []


def test_minutes_and_tickers_add_up_over_batches(index: Index, reader: Reader) -> None:
    for batch in range(3):
        index.apply(
            digest(
                record(RESULTS, "AAA", result(10 * batch + n, "AAA", 0.9), 10 * batch + n)
                for n in range(4)
            )
        )
    (ticker,) = reader.tickers()
    assert (ticker["thread"], ticker["n"]) == ("AAA", 12)
    (minute,) = reader.line("AAA")
    assert (minute["n"], minute["positive"]) == (12, 12)
    assert minute["mean"] == pytest.approx(0.8)


def test_somebodys_own_question_counts_for_no_ticker(index: Index, reader: Reader) -> None:
    aside = result(1, f"{ASIDE}x", 0.9)
    index.apply(digest([record(RESULTS, aside.thread, aside, 1)]))
    assert reader.tickers() == []
    assert reader.uncertain() == []


def test_a_labelled_text_leaves_the_queue_and_comes_back_when_the_label_is_withdrawn(
    index: Index, reader: Reader
) -> None:
    label = LabelledExample(
        id="l1", task="sentiment", text="text 1", target="AAA", label="negative", labeller="ada"
    )
    index.apply(digest([record(RESULTS, "AAA", result(1, "AAA", 0.55), 1)]))
    assert [row["excerpt"] for row in reader.uncertain()] == ["text 1"]
    index.apply(digest([record(LABELS, "l1", label, 0)]))
    assert reader.uncertain() == []
    assert reader.label_counts()["labels"] == 1
    index.apply(digest([record(LABELS, "l1", None, 1)]))
    assert [row["excerpt"] for row in reader.uncertain()] == ["text 1"]


def test_what_cannot_be_read_is_counted_and_passed_over(index: Index, reader: Reader) -> None:
    broken = Record(RESULTS.name, 0, 5, 0, b"AAA", b"\xff not json", ())
    batch = digest([broken, record(RESULTS, "AAA", result(1, "AAA", 0.9), 6)])
    index.apply(batch)
    assert batch.unreadable == 1
    assert len(reader.verdicts(Filters())) == 1
    assert batch.next_offsets == {(RESULTS.name, 0): 7}


@pytest.mark.parametrize("search", ["%", "_", "\\", "' or 1=1 --", "\u202e", "A" * 900])
def test_wild_searches_match_only_what_begins_with_them(
    index: Index, reader: Reader, search: str
) -> None:
    index.apply(digest([record(RESULTS, "BBB", result(1, "BBB", 0.9), 1)]))
    assert reader.tickers(search) == []
    assert reader.verdicts(Filters(ticker=search)) == []
    assert reader.thread(search) == []


def test_a_hundred_thousand_tickers_are_searched_by_an_index(index: Index, reader: Reader) -> None:
    count = 100_000
    batch = digest([])
    batch.tickers = {f"t{number:06}": [number, 0, 0] for number in range(count)}
    index.apply(batch)
    assert reader.totals()["tickers"] == count
    assert [one["thread"] for one in reader.tickers(limit=2)] == ["t099999", "t099998"]
    found = reader.tickers("t01234", limit=500)
    assert [one["thread"] for one in found] == [f"t01234{digit}" for digit in range(9, -1, -1)]
    assert reader.tickers("T01234", offset=9)[0]["thread"] == "t012340"
    assert reader.tickers("%") == []
    asked: list[str] = []
    seen = reader._connection()
    seen.set_trace_callback(asked.append)
    reader.tickers("t01234")
    reader.tickers()
    seen.set_trace_callback(None)
    by_name, by_count = (
        [row["detail"] for row in seen.execute(f"explain query plan {one}")] for one in asked
    )
    assert by_name[0].startswith("SEARCH tickers USING INDEX tickers_name"), by_name
    assert by_count == ["SCAN tickers USING INDEX tickers_n"], by_count
