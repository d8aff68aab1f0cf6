"""What a user publishes from a file can be read back as JSON Lines, over a real broker."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.support.command import Console


@pytest.fixture(scope="module")
def console(cluster: Settings) -> Console:
    return Console(cluster)


def test_a_csv_with_a_bad_row_is_published_but_for_that_row_which_is_named(
    console: Console, tmp_path: Path
) -> None:
    file = tmp_path / "own.csv"
    file.write_bytes(
        b"when,symbols,body,nr\n"
        b'2026-03-02T07:03:10Z,"AAA,BBB",First text,csv-1\n'
        b"2026-03-02T07:04:10Z,AAA,too,many,fields\n"
        b"yesterday,AAA,No such time,csv-3\n"
        b"2026-03-02T07:05:10Z,AAA,\xff\xfe not UTF-8,csv-4\n"
        b'1772434000,,"Two\nlines",csv-5\n'
    )
    columns = ["--text", "body", "--id", "nr", "--tickers", "symbols", "--separator", ","]
    published = console("publish", str(file), *columns, "--time", "when", "--json")

    assert published.code == 5
    assert published.lines()[0]["published"] == 2
    assert [row["row"] for row in published.lines()[0]["bad_rows"]] == [2, 3, 4]
    assert "row 2 (line 3): 5 fields, the header has 4" in published.err
    assert "row 3 (line 4): 'yesterday' is not a time" in published.err
    assert "row 4 (line 5): not UTF-8" in published.err

    found = console("read", "feed.events", "--from", "earliest", "--until-end", "--jsonl")
    assert found.code == 0
    values = {line["value"]["id"]: line for line in found.lines() if line["key"] == file.stem}
    assert set(values) == {"csv-1", "csv-5"}
    first = values["csv-1"]
    assert first["encoding"] == "json"
    assert first["headers"]["ce_type"] == "headrace.feed.event.v1"
    assert first["value"]["tickers"] == ["AAA", "BBB"]
    assert first["value"]["published_at"] == "2026-03-02T07:03:10+00:00"
    assert values["csv-5"]["value"]["text"] == "Two\nlines"
    assert {"topic", "partition", "offset", "timestamp"} <= set(first)


def test_json_lines_come_from_standard_input(console: Console) -> None:
    stdin = (
        b'{"id": "in-1", "text": "one", "tickers": ["AAA"]}\n'
        b"\n"
        b"{not json\n"
        b'{"id": "in-2", "text": ""}\n'
        b'{"id": "in-3", "text": "three", "author": "bob"}\n'
    )
    published = console("publish", "-", "--key", "author", "--json", stdin=stdin)

    assert published.code == 5
    summary = published.lines()[0]
    assert (summary["published"], summary["bad"]) == (2, 2)
    assert "row 2 (line 3): not JSON" in published.err
    assert "row 3 (line 4): text is empty" in published.err
    found = console("read", "feed.events", "--until-end", "--key", "bob", "--json").lines()
    assert [line["value"]["id"] for line in found] == ["in-3"]


def test_a_gzip_file_is_read_whatever_it_is_called(console: Console, tmp_path: Path) -> None:
    file = tmp_path / "packed.csv"
    file.write_bytes(gzip.compress(b"text,id\nhello,gz-1\nagain,gz-2\nmore,gz-3\n"))
    published = console("publish", str(file), "--limit", "2")

    assert published.code == 0
    assert published.out.startswith("2 published to feed.events, 0 bad rows")
    found = console("read", "feed.events", "--until-end", "--jsonl", "--key", "packed").lines()
    assert [line["value"]["id"] for line in found] == ["gz-1", "gz-2"], "a feed keeps its order"


def test_a_label_published_twice_keeps_its_id(console: Console, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("text,target,label\nUp it goes,AAA,positive\n")
    for _ in range(2):
        assert console("publish", str(file), "--topic", "labels.examples").code == 0

    first, second = console("read", "labels.examples", "--until-end", "--json").lines()
    assert first["key"] == second["key"]
    assert first["value"]["task"] == "sentiment"
    assert first["value"]["target"] == "AAA"


def test_reading_begins_and_stops_where_it_is_told(console: Console, tmp_path: Path) -> None:
    file = tmp_path / "many.csv"
    rows = "".join(f"text {number},order-{number},one-thread\n" for number in range(50))
    file.write_text("text,id,thread\n" + rows)
    assert console("publish", str(file), "--key", "thread").code == 0

    of_thread = ["read", "feed.events", "--until-end", "--jsonl", "--key", "one-thread"]
    lines = console(*of_thread).lines()
    assert [line["value"]["id"] for line in lines] == [f"order-{number}" for number in range(50)]
    later = console(*of_thread, "--from", str(lines[30]["offset"])).lines()
    assert [line["offset"] for line in later] == [line["offset"] for line in lines[30:]]
    assert len(console(*of_thread, "--limit", "3").lines()) == 3
    assert console(*of_thread, "--from", "latest").lines() == []
    assert console(*of_thread, "--from", "2099-01-01T00:00:00Z").lines() == []
    wrong = console(*of_thread, "--from", "teatime")
    assert wrong.code == 2
    assert "2026-03-02T07:00:00Z" in wrong.err


def test_a_replay_keeps_the_distances_of_its_times(console: Console, tmp_path: Path) -> None:
    file = tmp_path / "paced.csv"
    file.write_text(
        "text,published_at\na,2026-03-02T07:00:00Z\nb,2026-03-02T07:01:00Z\nc,2026-03-02T07:02:00Z\n"
    )
    summary = console("publish", str(file), "--speed", "60", "--json").lines()[0]
    assert summary["published"] == 3
    assert summary["seconds"] >= 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["publish", "nowhere.csv"], 3, "nowhere.csv: no such file"),
        (["publish", "-", "--topic", "nonsense"], 2, "not a topic that takes rows"),
        (["publish", "-"], 3, "the CSV file has no header"),
        (["publish", "-", "--speed", "fast"], 2, "--speed fast"),
        (["read", "no.such.topic", "--until-end"], 6, "no topic no.such.topic"),
        (["threads", "show", "nobody"], 6, "nothing carries the key 'nobody'"),
        (["dead-letters", "show", "dead:finance.reader:x:0:0"], 6, "headrace dead-letters list"),
        (["dead-letters", "replay"], 2, "--all"),
        (["models", "promote", "v9"], 6, "no version 'v9'"),
        (["models", "rollback"], 6, "was live before"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(
    console: Console, arguments: list[str], code: int, says: str
) -> None:
    failed = console(*arguments)
    assert (failed.code, failed.out) == (code, "")
    assert says in failed.err
    assert len(failed.err.splitlines()) == 1
    assert "Traceback" not in failed.err
