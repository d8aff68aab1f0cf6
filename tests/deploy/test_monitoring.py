"""Rules and dashboards ask for what services expose, under names that they expose it by."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.metrics import METRICS

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
DASHBOARDS = {
    path.name: json.loads(path.read_text())
    for path in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
}
PAGE = (ROOT / "docs/monitoring.md").read_text()
SCRAPED = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
"""What Prometheus itself and its Python client add; the first has the labels of the scrape."""
OF_THE_SCRAPE = {"job", "instance", "le"}


def expressions() -> Iterator[tuple[str, str]]:
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]
    for name, board in DASHBOARDS.items():
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield f"{name}: {panel['title']}", target["expr"]


EXPRESSIONS = list(expressions())
asked = pytest.mark.parametrize(
    "expression", [one for _, one in EXPRESSIONS], ids=[name for name, _ in EXPRESSIONS]
)


def parsed(expression: str) -> Any:
    parser = pytest.importorskip("promql_parser", reason="promql-parser is not installed")
    return parser.parse(expression.replace("$__rate_interval", "1m"))


def bare(name: str) -> str:
    """A histogram's own name, of one of its series."""
    found = re.fullmatch(r"(.+_seconds)_(?:bucket|count|sum)", name)
    return found[1] if found else name


@asked
def test_an_expression_names_metrics_that_services_expose(expression: str) -> None:
    names = set(re.findall(r"\b(?:headrace|process)_\w+|\bup\b", expression))
    assert names
    for name in names:
        assert bare(name) in METRICS or name in SCRAPED
        if bare(name) != name:
            assert METRICS[bare(name)].kind == "histogram"


@asked
def test_an_expression_is_promql_over_labels_that_its_metrics_have(expression: str) -> None:
    parsed(expression)
    names = {bare(one) for one in re.findall(r"\bheadrace_\w+", expression)}
    labels = {label for name in names for label in METRICS[name].labels} | OF_THE_SCRAPE
    for group in re.findall(r"by \(([^)]*)\)", expression):
        assert {one.strip() for one in group.split(",")} <= labels
    for inside in re.findall(r"\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*[=!]", inside)) <= labels


@asked
def test_a_counter_is_asked_for_its_rate_and_a_gauge_for_its_value(expression: str) -> None:
    for name in re.findall(r"\bheadrace_\w+", expression):
        rated = re.search(rf"(?:rate|increase)\({name}\b", expression) is not None
        counts = name.endswith(("_total", "_bucket", "_count", "_sum"))
        assert rated == counts, name


def test_every_alert_says_what_to_do() -> None:
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert {"summary", "description", "runbook"} == set(rule["annotations"])
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/monitoring.md"
        assert f"### {rule['alert']}" in PAGE
        assert anchor == rule["alert"].lower()


def test_what_can_go_wrong_has_an_alert() -> None:
    named = {bare(name) for rule in ALERTS for name in re.findall(r"\bheadrace_\w+", rule["expr"])}
    assert named >= {
        "headrace_consumer_lag",
        "headrace_oldest_unanswered_seconds",
        "headrace_dead_letters_total",
        "headrace_lane_commit_seconds",
        "headrace_data_free_bytes",
    }
    assert any(rule["expr"].startswith("up{") for rule in ALERTS)


def test_the_prometheus_operator_is_given_the_same_rules() -> None:
    documents = yaml.safe_load_all((ROOT / "deploy/kubernetes/monitoring.yaml").read_text())
    (rule,) = [one for one in documents if one["kind"] == "PrometheusRule"]
    assert rule["spec"] == RULES


def test_prometheus_scrapes_every_service_of_the_compose_file() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    job = next(one for one in config["scrape_configs"] if one["job_name"] == "headrace")
    (targets,) = (one["targets"] for one in job["static_configs"])
    serving = {
        service.get("networks", {}).get("default", {}).get("aliases", [name])[0]
        for name, service in services.items()
        if service.get("command", [""])[0] == "serve"
    }
    port = services["relay"]["environment"]["HEADRACE_METRICS_PORT"]
    assert set(targets) == {f"{name}:{port}" for name in serving}
    assert job["scrape_native_histograms"] is True


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_provisioned_with_its_source_and_its_panels_do_not_overlap(
    name: str,
) -> None:
    source = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text()
    )["datasources"][0]
    board = DASHBOARDS[name]
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    for panel in board["panels"]:
        assert panel["datasource"]["uid"] == source["uid"]
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells


def test_the_page_s_table_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `(headrace_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    assert rows == [
        (one.name, one.kind, ", ".join(f"`{label}`" for label in one.labels), one.about)
        for one in METRICS.values()
    ]
