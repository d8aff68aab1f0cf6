"""Rows of a CSV or JSON Lines file, one at a time; a bad row is told, not fatal."""

from __future__ import annotations

import csv
import gzip
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import orjson

Format = Literal["csv", "jsonl"]

_FIELD_LIMIT: Final = 8 * 1_048_576
"""Longest CSV field; the module's own limit would refuse a text of 1 MB."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number (the first after the header is 1), its line, its fields."""

    number: int
    line: int
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used, and why."""

    number: int
    line: int
    reason: str


class InputError(Exception):
    """A file that cannot be read as rows at all; the message says what to do."""


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked where it is gzip (by its content); `-` is standard input."""
    with Path(name).open("rb") if name != "-" else _standard_input() as raw:
        buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)
        if buffered.peek(2)[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=buffered) as unpacked:
                yield io.BufferedReader(unpacked)
        else:
            yield buffered


@contextmanager
def _standard_input() -> Iterator[Any]:
    yield sys.stdin.buffer


def format_of(name: str, stream: BinaryIO) -> Format:
    """By the file's name, else by its first character: `{` begins JSON Lines."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    if ".csv" in suffixes:
        return "csv"
    if {".jsonl", ".ndjson", ".json"} & set(suffixes):
        return "jsonl"
    head = stream.peek(64) if isinstance(stream, io.BufferedReader) else b""
    return "jsonl" if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "csv"


def rows(stream: BinaryIO, kind: Format) -> Iterator[Row | BadRow]:
    """Every row in order.

    Raises:
        InputError: a CSV file without a header, or a gzip file that is damaged.
    """
    try:
        yield from _csv(stream) if kind == "csv" else _json_lines(stream)
    except (gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"the gzip file is damaged: {error}") from error


def _csv(stream: BinaryIO) -> Iterator[Row | BadRow]:
    csv.field_size_limit(_FIELD_LIMIT)
    # Bytes that are not UTF-8 pass the decoder as surrogates and spoil their row alone.
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text)
    header = next(reader, None)
    if not header or not any(name.strip() for name in header):
        raise InputError("the CSV file has no header: its first line must name the columns")
    names = [name.strip() for name in header]
    number = 0
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            number += 1
            yield BadRow(number, line, str(error))
            continue
        if cells is None:
            return
        if not cells:
            continue  # an empty line is no row
        number += 1
        if len(cells) != len(names):
            reason = f"{len(cells)} fields, the header has {len(names)}"
            yield BadRow(number, line, reason)
        elif not all(_is_utf8(cell) for cell in cells):
            yield BadRow(number, line, "not UTF-8")
        else:
            yield Row(number, line, dict(zip(names, cells, strict=True)))


def _is_utf8(text: str) -> bool:
    return not any("\udc80" <= character <= "\udcff" for character in text)


def _json_lines(stream: BinaryIO) -> Iterator[Row | BadRow]:
    number = 0
    for line, content in enumerate(stream, 1):
        stripped = content.removeprefix(b"\xef\xbb\xbf").strip() if line == 1 else content.strip()
        if not stripped:
            continue
        number += 1
        try:
            found = orjson.loads(stripped)
        except orjson.JSONDecodeError as error:
            yield BadRow(number, line, f"not JSON: {error}")
            continue
        if isinstance(found, dict):
            yield Row(number, line, found)
        else:
            yield BadRow(number, line, f"a JSON {type(found).__name__}, not an object")
