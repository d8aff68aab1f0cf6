"""The console's `/metrics`: behind its gate, with the lag of every service."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from schemas.ids import group_id
from schemas.services import SERVICES
from schemas.topics import CATALOGUE
from tests.web.conftest import Site


def test_a_scraper_with_a_token_reads_lag_under_bounded_labels(site: Site) -> None:
    with site.client("viewer") as client:
        answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {one.name: one for one in text_string_to_metric_families(answer.text)}
    assert families["headrace_brokers"].samples[0].value == 1
    groups = {group_id(name) for name in SERVICES}
    for sample in families["headrace_consumer_lag"].samples:
        assert sample.labels["group"] in groups
        assert sample.labels["topic"] in CATALOGUE


def test_nobody_else_reads_them(site: Site) -> None:
    with site.client(None) as client:
        assert client.get("/metrics").status_code in {303, 401}
