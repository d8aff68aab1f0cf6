"""Serves `/metrics`: readings of a service's own counters, in the formats of Prometheus.

Two formats: the text format 0.0.4, with classic histograms, and the delimited protobuf
format, which alone carries native histograms as well. A scraper's Accept header chooses.
It is answered by a thread of its own, also while the service's loop is held up.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from streams import metrics, protobuf_exposition
from streams.dead_letter import HEADRACE_VERSION
from streams.distribution import Distribution
from streams.metrics import Metric, Read, Sample
from streams.settings import Settings

log = logging.getLogger(__name__)

PATH: Final = "/metrics"
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class Exposition(Collector):
    """The metrics of one process, read when asked for."""

    def __init__(self, settings: Settings, service: str, *reads: Read) -> None:
        self._settings = settings
        self._service = service
        self._reads = reads
        self.registry = CollectorRegistry()
        self.registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    def describe(self) -> Iterable[Family]:
        """Nothing in advance: what there is shows when it is read."""
        return ()

    def collect(self) -> Iterable[Family]:
        """Read everything now."""
        found: dict[Metric, HistogramFamily | CounterMetricFamily | GaugeMetricFamily] = {}
        for sample in self._samples():
            metric = sample.metric
            if metric not in found:
                found[metric] = _family(metric)
            family = found[metric]
            if isinstance(family, HistogramFamily):
                if isinstance(sample.value, Distribution):
                    family.add(sample.labels, sample.value)
            elif not isinstance(sample.value, Distribution):
                family.add_metric(sample.labels, sample.value)
        return found.values()

    def answer(self, accept: str) -> tuple[bytes, str]:
        """Body and content type for a scraper that sends this Accept header."""
        if protobuf_exposition.MEDIA_TYPE in accept:
            return self._protobuf(), protobuf_exposition.CONTENT_TYPE
        return generate_latest(self.registry), TEXT

    def _protobuf(self) -> bytes:
        return b"".join(
            protobuf_exposition.encode(
                family, family.distributions if isinstance(family, HistogramFamily) else ()
            )
            for family in self.registry.collect()
        )

    def _samples(self) -> Iterator[Sample]:
        mine = (self._service,)
        yield Sample(metrics.BUILD, 1, (*mine, HEADRACE_VERSION))
        try:
            disk = shutil.disk_usage(self._settings.data)
        except OSError:  # the folder is not made yet, or gone: its absence is the reading
            pass
        else:
            yield Sample(metrics.DISK_FREE, disk.free, mine)
            yield Sample(metrics.DISK_SIZE, disk.total, mine)
        for read in self._reads:
            yield from read()


class HistogramFamily(HistogramMetricFamily):
    """A histogram's classic buckets for text, and its distributions for native ones."""

    def __init__(self, metric: Metric) -> None:
        super().__init__(metric.name, metric.about, labels=metric.labels)
        self.names = metric.labels
        self.distributions: list[tuple[dict[str, str], Distribution]] = []

    def add(self, labels: tuple[str, ...], value: Distribution) -> None:
        """Add one labelled distribution."""
        buckets = [
            ("+Inf" if bound == float("inf") else f"{bound:.12g}", float(count))
            for bound, count in value.buckets()
        ]
        self.add_metric(labels, buckets, value.total)
        self.distributions.append((dict(zip(self.names, labels, strict=True)), value))


def _family(metric: Metric) -> HistogramFamily | CounterMetricFamily | GaugeMetricFamily:
    if metric.kind == "histogram":
        return HistogramFamily(metric)
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    return kind(metric.name, metric.about, labels=metric.labels)


@contextmanager
def exposed(settings: Settings, service: str, *reads: Read) -> Iterator[Exposition]:
    """Serve the readings of `reads` while the body runs, where the settings name a port.

    A port that cannot be had is logged and no more: verdicts matter more than their counts.
    """
    exposition = Exposition(settings, service, *reads)
    server = _listen(settings, exposition)
    if server is None:
        yield exposition
        return
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    try:
        yield exposition
    finally:
        server.shutdown()
        server.server_close()


def _listen(settings: Settings, exposition: Exposition) -> ThreadingHTTPServer | None:
    if not settings.metrics_port:
        return None
    address = (settings.metrics_host, settings.metrics_port)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] != PATH:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            body, content_type = exposition.answer(self.headers.get("accept", ""))
            self.send_response(HTTPStatus.OK)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: a scrape every few seconds is not news."""

    try:
        server = ThreadingHTTPServer(address, Handler)
    except OSError as error:
        log.error("no metrics: %s:%d cannot be had: %s", *address, error)  # noqa: TRY400
        return None
    server.daemon_threads = True
    return server
