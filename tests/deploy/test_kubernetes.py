"""deploy/kubernetes: valid by the schemas of those who read it, and true to the code it runs.

Core kinds are held against Kubernetes' own schemas, Strimzi's kinds against what Strimzi's own
generator makes, KEDA's and the Prometheus operator's against models made from their CRDs.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.main import get_command

from agents.service import NAMES
from console.main import app
from console.stack import specs
from schemas.ids import group_id
from schemas.services import SERVICES
from schemas.topics import MAX_MESSAGE_BYTES
from schemas.topics import MODELS as REGISTRY
from streams.settings import Settings
from tests.support import strimzi

kubernetes_validate: Any = importlib.import_module("kubernetes_validate")  # it has no types
FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
KUBERNETES = "1.34"
CORE = {"v1", "apps/v1", "batch/v1", "policy/v1", "networking.k8s.io/v1"}
MODELS = {
    "keda.sh/v1alpha1": "cloudcoil.models.keda.v1alpha1",
    "monitoring.coreos.com/v1": "cloudcoil.models.prometheus_operator.v1",
}
"""Modules whose classes were made from the CRDs of an operator."""


def load(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


LISTED = load(FOLDER / "kustomization.yaml")[0]["resources"]
RESOURCES = [one for name in LISTED for one in load(FOLDER / name)]
WORKLOADS = {
    one["metadata"]["name"]: one
    for one in RESOURCES
    if one["kind"] in {"Deployment", "StatefulSet", "Job"}
}
SERVING = {name: one for name, one in WORKLOADS.items() if one["kind"] != "Job"}
SCALED = {one["metadata"]["name"]: one for one in RESOURCES if one["kind"] == "ScaledObject"}
CONFIG = next(one["data"] for one in RESOURCES if one["kind"] == "ConfigMap")

workloads = pytest.mark.parametrize("name", WORKLOADS)


def of(*groups: str) -> pytest.MarkDecorator:
    """Parametrize by the resources whose apiVersion begins with one of `groups`."""
    chosen = [one for one in RESOURCES if one["apiVersion"].startswith(groups)]
    return pytest.mark.parametrize(
        "resource", chosen, ids=[f"{one['kind']}-{one['metadata']['name']}" for one in chosen]
    )


def pod(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = WORKLOADS[name]["spec"]["template"]["spec"]
    return spec


def container(name: str) -> dict[str, Any]:
    (found,) = pod(name)["containers"]
    assert isinstance(found, dict)
    return found


# Schemas.


def test_every_file_is_applied_and_every_kind_is_validated_by_a_test() -> None:
    others = {"kustomization.yaml", *LISTED}
    assert {path.name for path in FOLDER.glob("*.yaml")} == others
    versions = {one["apiVersion"] for one in RESOURCES}
    assert versions == CORE | set(MODELS) | {"kafka.strimzi.io/v1"}


@pytest.mark.parametrize(
    "resource",
    [one for one in RESOURCES if one["apiVersion"] in CORE],
    ids=lambda one: f"{one['kind']}-{one['metadata']['name']}",
)
def test_a_core_resource_keeps_to_kubernetes_schema(resource: dict[str, Any]) -> None:
    kubernetes_validate.validate(resource, KUBERNETES, strict=True)


@pytest.fixture(scope="session")
def strimzi_schemas() -> dict[tuple[str, str], dict[str, Any]]:
    try:
        return strimzi.schemas()
    except strimzi.UnavailableError as error:
        pytest.skip(f"the generator of Strimzi's schemas: {error}")


@of("kafka.strimzi.io")
def test_a_strimzi_resource_keeps_to_the_schema_of_its_definition(
    resource: dict[str, Any], strimzi_schemas: dict[tuple[str, str], dict[str, Any]]
) -> None:
    schema = strimzi_schemas[resource["apiVersion"], resource["kind"]]
    errors = jsonschema.Draft202012Validator(schema).iter_errors(resource)
    assert [error.message for error in errors] == []
    assert list(unknown(schema, resource)) == [], "the API server would drop these in silence"


def unknown(schema: dict[str, Any], value: Any, at: str = "") -> Iterator[str]:
    """Fields that a structural schema does not know."""
    if isinstance(value, list):
        for item in value:
            yield from unknown(schema.get("items", {}), item, f"{at}[]")
    if not isinstance(value, dict) or schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    fields = schema.get("properties", {})
    rest = schema.get("additionalProperties")
    for name, content in value.items():
        if name in fields:
            yield from unknown(fields[name], content, f"{at}.{name}")
        elif not rest and at != ".metadata":
            yield f"{at}.{name}"


@of(*MODELS)
def test_an_operator_s_resource_keeps_to_the_model_of_its_definition(
    resource: dict[str, Any],
) -> None:
    pytest.importorskip(
        "cloudcoil.models",
        reason="cloudcoil-models-keda and cloudcoil-models-prometheus-operator are not installed",
    )
    kind = getattr(importlib.import_module(MODELS[resource["apiVersion"]]), resource["kind"])
    understood = kind.model_validate(resource)
    # What the model does not know it leaves out.
    said = understood.model_dump(by_alias=True, exclude_unset=True, mode="json")
    assert said == resource


# True to the code.


@workloads
def test_a_workload_s_command_is_one_that_headrace_has(name: str) -> None:
    command: Any = get_command(app)
    rest = list(container(name)["args"])
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    command.make_context(command.name, rest)


def test_the_services_are_those_that_the_supervisor_starts() -> None:
    started = sorted(container(name)["args"][1:] for name in SERVING)
    supervised = [list(spec.command) for spec in specs(console=True)]
    assert started == sorted(line[line.index("serve") + 1 :] for line in supervised)
    assert {line[1] for line in started if line[0] == "agent"} == set(NAMES)


def test_every_setting_is_one_of_headrace_and_its_value_a_legal_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fields = {f"HEADRACE_{field.upper()}": field for field in Settings.model_fields}
    assert set(CONFIG) <= set(fields)
    for name in WORKLOADS:
        assert {one["name"] for one in container(name)["env"]} <= set(fields)
    for variable, value in CONFIG.items():
        monkeypatch.setenv(variable, value)
    settings = Settings()
    for variable, value in CONFIG.items():
        assert str(getattr(settings, fields[variable])) == value


@workloads
def test_a_secret_is_referred_to_and_never_written_down(name: str) -> None:
    secrets = {
        one["name"]: one["valueFrom"]["secretKeyRef"]
        for one in container(name)["env"]
        if "valueFrom" in one
    }
    user = next(one for one in RESOURCES if one["kind"] == "KafkaUser")
    assert secrets == {
        "HEADRACE_SASL_PASSWORD": {"name": user["metadata"]["name"], "key": "password"}
    }
    assert not any("PASSWORD" in variable for variable in CONFIG)
    assert not any(one["kind"] == "Secret" for one in RESOURCES)


@workloads
def test_a_pod_has_no_rights_that_it_does_not_need(name: str) -> None:
    spec = pod(name)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container(name)["resources"]["limits"]


@workloads
def test_a_pod_mounts_what_its_settings_point_to(name: str) -> None:
    mounts = {one["name"]: one for one in container(name)["volumeMounts"]}
    volumes = {one["name"] for one in pod(name)["volumes"]}
    claims = {
        one["metadata"]["name"] for one in WORKLOADS[name]["spec"].get("volumeClaimTemplates", [])
    }
    assert set(mounts) == volumes | claims
    paths = {one["mountPath"] for one in mounts.values()}
    assert {CONFIG["HEADRACE_DATA"], str(Path(CONFIG["HEADRACE_TLS_CA"]).parent)} <= paths
    if name in {"kernel", "trainer", "console"}:
        assert CONFIG["HEADRACE_MODEL_STORE"] in paths
        assert mounts["models"].get("readOnly", False) == (name != "trainer")


def test_every_service_is_probed_and_scraped_where_it_serves_its_metrics() -> None:
    monitor = next(one["spec"] for one in RESOURCES if one["kind"] == "PodMonitor")
    (endpoint,) = monitor["podMetricsEndpoints"]
    for name, one in SERVING.items():
        ports = {port["name"]: port["containerPort"] for port in container(name)["ports"]}
        assert str(ports[endpoint["port"]]) == CONFIG["HEADRACE_METRICS_PORT"]
        assert container(name)["livenessProbe"]["httpGet"]["port"] == endpoint["port"]
        labels = one["spec"]["template"]["metadata"]["labels"]
        assert monitor["selector"]["matchLabels"].items() <= labels.items()
        assert labels[monitor["jobLabel"]] == "headrace", "as the rules call the job"


def test_labels_select_the_pods_that_they_are_meant_for() -> None:
    for name, one in SERVING.items():
        labels = one["spec"]["template"]["metadata"]["labels"]
        assert one["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert labels["app.kubernetes.io/name"] == name
    for one in RESOURCES:
        if one["kind"] in {"PodDisruptionBudget", "Service"}:
            selector = one["spec"]["selector"]
            chosen = selector.get("matchLabels", selector)
            assert chosen["app.kubernetes.io/name"] in SERVING


def test_a_service_that_is_scaled_survives_a_node_that_is_drained() -> None:
    budgets = {one["metadata"]["name"] for one in RESOURCES if one["kind"] == "PodDisruptionBudget"}
    assert budgets == set(SCALED)
    for name in SCALED:
        assert WORKLOADS[name]["spec"]["replicas"] >= 2


@pytest.mark.parametrize("name", SCALED)
def test_lag_scales_a_service_within_its_partitions_on_the_topics_that_it_reads(name: str) -> None:
    scaled = SCALED[name]["spec"]
    args = container(scaled["scaleTargetRef"]["name"])["args"]
    service = SERVICES[args[-1]]
    assert 1 <= scaled["minReplicaCount"] < scaled["maxReplicaCount"]
    assert scaled["maxReplicaCount"] == int(CONFIG["HEADRACE_PARTITIONS"])
    topics = set()
    for trigger in scaled["triggers"]:
        told = trigger["metadata"]
        assert told["consumerGroup"] == group_id(service.name)
        assert told["allowIdleConsumers"] == "false"
        assert (
            told["bootstrapServers"].partition(".")[0]
            == (CONFIG["HEADRACE_BOOTSTRAP"].partition(":")[0])
        )
        assert int(told["lagThreshold"]) > 0
        topics.add(told["topic"])
    # The registry is read whole by everybody, without a group.
    assert topics == {topic.name for topic in service.reads} - {REGISTRY.name}


def test_autoscaling_logs_in_as_the_services_do() -> None:
    logs_in = next(one["spec"] for one in RESOURCES if one["kind"] == "TriggerAuthentication")
    (name,) = logs_in["configMapTargetRef"]
    assert CONFIG[name["key"]] == "headrace"
    given = {one["parameter"]: (one["name"], one["key"]) for one in logs_in["secretTargetRef"]}
    assert given == {
        "password": ("headrace", "password"),
        "ca": ("headrace-cluster-ca-cert", "ca.crt"),
    }


def test_one_broker_of_three_may_be_away_and_what_is_acknowledged_stays() -> None:
    pools = {one["metadata"]["name"]: one for one in RESOURCES if one["kind"] == "KafkaNodePool"}
    assert {name: pool["spec"]["roles"] for name, pool in pools.items()} == {
        "controllers": ["controller"],
        "brokers": ["broker"],
    }
    kafka = next(one for one in RESOURCES if one["kind"] == "Kafka")
    for pool in pools.values():
        assert pool["spec"]["replicas"] == 3
        assert pool["metadata"]["labels"]["strimzi.io/cluster"] == kafka["metadata"]["name"]
        for volume in pool["spec"]["storage"]["volumes"]:
            assert volume["deleteClaim"] is False
    config = kafka["spec"]["kafka"]["config"]
    assert config["min.insync.replicas"] == 2
    assert config["transaction.state.log.min.isr"] == 2
    assert config["unclean.leader.election.enable"] is False
    assert config["message.max.bytes"] == MAX_MESSAGE_BYTES
    assert int(CONFIG["HEADRACE_REPLICATION"]) == config["default.replication.factor"] == 3


def test_a_gpu_kernel_is_the_same_kernel_with_a_gpu() -> None:
    (patch,) = load(FOLDER / "gpu/kernel.yaml")
    assert patch["metadata"]["name"] in WORKLOADS
    (changed,) = patch["spec"]["template"]["spec"]["containers"]
    assert changed["name"] == container("kernel")["name"]
    merged = yaml.safe_load(yaml.safe_dump(WORKLOADS["kernel"]))
    merged["spec"]["template"]["spec"]["tolerations"] = patch["spec"]["template"]["spec"][
        "tolerations"
    ]
    merged["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] |= changed[
        "resources"
    ]["limits"]
    kubernetes_validate.validate(merged, KUBERNETES, strict=True)
    limits = merged["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == 1
