"""docker-compose.yml: valid by the specification, and true to the code that it runs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.main import get_command

from agents.service import NAMES
from console.main import app
from console.stack import specs
from schemas.topics import MAX_MESSAGE_BYTES
from streams.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
BROKERS = ["kafka-1", "kafka-2", "kafka-3"]
MONITORING = ["prometheus", "grafana"]
OURS = [name for name in SERVICES if name not in {*BROKERS, *MONITORING}]

brokers = pytest.mark.parametrize("name", BROKERS)
ours = pytest.mark.parametrize("name", OURS)


def test_the_file_keeps_to_the_compose_specification() -> None:
    # The copy of the specification's schema that check-jsonschema ships; its command is not
    # run, because it needs a newer click than the lock has.
    found = importlib.util.find_spec("check_jsonschema")
    assert found is not None
    assert found.origin is not None
    schema = json.loads(
        (Path(found.origin).parent / "builtin_schemas/vendor/compose-spec.json").read_text()
    )
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []


@ours
def test_a_service_s_command_is_one_that_headrace_has(name: str) -> None:
    _parse(SERVICES[name]["command"])


@ours
def test_a_health_check_is_a_command_that_headrace_has(name: str) -> None:
    if name != "topics":
        _, program, *line = SERVICES[name]["healthcheck"]["test"]
        assert program == "headrace"
        _parse(line)


def _parse(line: list[str]) -> None:
    """Parse a command line as `headrace` does, and run nothing."""
    command: Any = get_command(app)
    rest = list(line)
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    command.make_context(command.name, rest)


@pytest.mark.parametrize("profile", ["gpu", "cpu"])
def test_a_profile_starts_exactly_the_services_that_the_supervisor_starts(profile: str) -> None:
    started = sorted(
        SERVICES[name]["command"][1:]
        for name in OURS
        if SERVICES[name]["command"][0] == "serve"
        and profile in SERVICES[name].get("profiles", [profile])
    )
    supervised = [list(spec.command) for spec in specs(console=True)]
    assert started == sorted(line[line.index("serve") + 1 :] for line in supervised)
    assert {line[1] for line in started if line[0] == "agent"} == set(NAMES)


@ours
def test_every_variable_is_a_setting_and_its_value_a_legal_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment: dict[str, Any] = {
        variable: value
        for variable, value in SERVICES[name]["environment"].items()
        if not variable.startswith("OTEL_")
    }
    fields = {f"HEADRACE_{field.upper()}": field for field in Settings.model_fields}
    assert set(environment) <= set(fields)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, str(value))
    settings = Settings()
    for variable, value in environment.items():
        assert str(getattr(settings, fields[variable])) == str(value)


@ours
def test_services_use_every_broker_and_all_three_replicas(name: str) -> None:
    environment = SERVICES[name]["environment"]
    addresses = environment["HEADRACE_BOOTSTRAP"].split(",")
    assert addresses == [f"{broker}:19092" for broker in BROKERS]
    assert environment["HEADRACE_REPLICATION"] == len(BROKERS)


@brokers
def test_a_broker_keeps_its_data_and_one_of_three_may_be_away(name: str) -> None:
    broker = SERVICES[name]
    environment = broker["environment"]
    assert broker["image"] == "apache/kafka:4.2.2"
    assert f"{name}:{environment['KAFKA_LOG_DIRS']}" in broker["volumes"]
    assert environment["KAFKA_PROCESS_ROLES"] == "broker,controller"
    assert environment["KAFKA_DEFAULT_REPLICATION_FACTOR"] == 3
    assert environment["KAFKA_MIN_INSYNC_REPLICAS"] == 2
    assert environment["KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR"] == 3
    assert environment["KAFKA_TRANSACTION_STATE_LOG_MIN_ISR"] == 2
    assert environment["KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR"] == 3


@brokers
def test_a_broker_takes_the_largest_message_of_the_catalogue(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert environment["KAFKA_MESSAGE_MAX_BYTES"] == MAX_MESSAGE_BYTES
    assert environment["KAFKA_REPLICA_FETCH_MAX_BYTES"] == MAX_MESSAGE_BYTES


def test_the_brokers_are_one_quorum_with_a_number_each() -> None:
    voters = {f"{SERVICES[name]['environment']['KAFKA_NODE_ID']}@{name}:9093" for name in BROKERS}
    for name in BROKERS:
        environment = SERVICES[name]["environment"]
        assert set(environment["KAFKA_CONTROLLER_QUORUM_VOTERS"].split(",")) == voters
        assert environment["CLUSTER_ID"] == SERVICES["kafka-1"]["environment"]["CLUSTER_ID"]
    assert len(voters) == len(BROKERS)


@brokers
def test_listeners_are_advertised_under_the_addresses_that_reach_them(name: str) -> None:
    broker = SERVICES[name]
    advertised = broker["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    (published,) = broker["ports"]
    host, outside, inside = published.split(":")
    assert advertised == [f"INTERNAL://{name}:19092", f"LOOPBACK://{host}:{outside}"]
    assert f"LOOPBACK://:{inside}" in broker["environment"]["KAFKA_LISTENERS"].split(",")


def test_ports_are_bound_to_the_loopback_address_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_others_could_reach_needs_a_password_that_the_file_does_not_have() -> None:
    grafana = SERVICES["grafana"]["environment"]
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert grafana["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert SERVICES["console"]["environment"]["HEADRACE_CONSOLE_HOST"] == "0.0.0.0"  # noqa: S104
    assert "console:/data" in SERVICES["console"]["volumes"], "its users outlive the container"


def test_monitoring_is_asked_for_and_reads_the_files_of_this_repository() -> None:
    for name in MONITORING:
        assert SERVICES[name]["profiles"] == ["monitoring"]
        for volume in SERVICES[name]["volumes"]:
            if volume.startswith("./"):
                assert (ROOT / volume.partition(":")[0]).exists()
                assert volume.endswith(":ro")


def test_there_is_no_secret_in_the_file() -> None:
    values = yaml.safe_dump(COMPOSE).upper()  # without the comments
    assert not any(word in values for word in ("PASSWORD", "SECRET", "TOKEN", "PRIVATE_KEY"))


def test_every_long_running_service_has_a_health_check_and_starts_again() -> None:
    for name, service in SERVICES.items():
        if name == "topics":
            continue
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["restart"] == "unless-stopped"


def test_services_wait_for_the_topics_and_these_for_every_broker() -> None:
    topics = SERVICES["topics"]["depends_on"]
    assert topics == {name: {"condition": "service_healthy"} for name in BROKERS}
    for name in OURS:
        if name != "topics":
            waits = SERVICES[name]["depends_on"]
            assert waits == {"topics": {"condition": "service_completed_successfully"}}


def test_only_the_kernel_of_the_gpu_profile_reserves_a_gpu() -> None:
    reserved = [name for name, service in SERVICES.items() if "deploy" in service]
    assert reserved == ["kernel"]
    assert SERVICES["kernel"]["profiles"] == ["gpu"]
    assert SERVICES["kernel-cpu"]["profiles"] == ["cpu"]
    (device,) = SERVICES["kernel"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


@ours
def test_every_service_sees_the_model_store(name: str) -> None:
    store = SERVICES[name]["environment"]["HEADRACE_MODEL_STORE"]
    assert f"models:{store}" in SERVICES[name]["volumes"]


def test_every_named_volume_is_declared_and_used() -> None:
    used = {
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if not volume.startswith("./")
    }
    assert used == set(COMPOSE["volumes"])
