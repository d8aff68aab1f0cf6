"""Metric families in Prometheus' protobuf format, the one that carries native histograms.

Each family is a length-delimited `io.prometheus.client.MetricFamily`. The few messages of it
that are needed are written here by hand, as the Python client writes text alone.

Source: the message definitions of Prometheus' client model, and the wire format of Protocol
Buffers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.metrics_core import Metric as Family

from streams.distribution import SCHEMA, ZERO, Distribution

MEDIA_TYPE: Final = "application/vnd.google.protobuf"
CONTENT_TYPE: Final = f"{MEDIA_TYPE}; proto=io.prometheus.client.MetricFamily; encoding=delimited"

_TYPES: Final = {"counter": 0, "gauge": 1, "histogram": 4}
_UNTYPED: Final = 3
_VALUES: Final = {0: 3, 1: 2, _UNTYPED: 5}
"""Field of a metric that holds the value of each type."""
_SUFFIXES: Final = {"counter": "_total", "info": "_info"}

Natives = Iterable[tuple[dict[str, str], Distribution]]


def encode(family: Family, natives: Natives = ()) -> bytes:
    """One delimited family; a histogram's readings are `natives`, other samples its own."""
    kind = _TYPES.get("gauge" if family.type == "info" else family.type, _UNTYPED)
    body = _text(1, family.name + _SUFFIXES.get(family.type, "")) + _text(2, family.documentation)
    body += _number(3, kind)
    if family.type == "histogram":
        metrics = [_metric(labels, 7, _histogram(value)) for labels, value in natives]
    else:
        metrics = [
            _metric(sample.labels, _VALUES[kind], _double(1, sample.value))
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]
    body += b"".join(_bytes(4, metric) for metric in metrics)
    return _varint(len(body)) + body


def _metric(labels: dict[str, str], field: int, value: bytes) -> bytes:
    pairs = (_bytes(1, _text(1, name) + _text(2, content)) for name, content in labels.items())
    return b"".join(pairs) + _bytes(field, value)


def _histogram(value: Distribution) -> bytes:
    """Both kinds of buckets: a scraper stores the native ones, or the classic if it must."""
    counts, zeros, classic = value.counts(), value.zeros, value.buckets()
    body = _number(1, zeros + sum(counts.values())) + _double(2, value.total)
    for bound, count in classic:
        if not math.isinf(bound):
            body += _bytes(3, _number(1, count) + _double(2, bound))
    body += _number(5, _zigzag(SCHEMA)) + _double(6, ZERO) + _number(7, zeros)
    spans, deltas = _spans(counts)
    for offset, length in spans:
        body += _bytes(12, _number(1, _zigzag(offset)) + _number(2, length))
    body += b"".join(_number(13, _zigzag(delta)) for delta in deltas)
    if not counts:  # a span without buckets tells an empty native histogram from a classic one
        body += _bytes(12, _number(1, 0) + _number(2, 0))
    return body


def _spans(counts: dict[int, int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Runs of adjacent buckets as (gap before it, length), and each count minus the one before."""
    spans: list[tuple[int, int]] = []
    deltas: list[int] = []
    before, behind = 0, 0
    for index in sorted(counts):
        if spans and index == behind:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((index - behind, 1))
        deltas.append(counts[index] - before)
        before, behind = counts[index], index + 1
    return spans, deltas


def _varint(value: int) -> bytes:
    return bytes(_groups(value & 0xFFFF_FFFF_FFFF_FFFF))


def _groups(value: int) -> Iterator[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, content: str) -> bytes:
    return _bytes(field, content.encode())
