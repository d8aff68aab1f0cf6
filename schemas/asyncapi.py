"""The AsyncAPI 3.0 document: topics, the messages on them, and which service does what.

Made from the catalogue (`schemas.topics`), the types (`schemas.envelope`) and the
services (`schemas.services`). Source: AsyncAPI 3.0.0 and its Kafka bindings 0.5.0.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from schemas.envelope import TYPES
from schemas.events import Event
from schemas.json_schemas import file_name
from schemas.services import RELAY, SERVICES, Service
from schemas.topics import CATALOGUE, OUTBOX, Topic

BINDING: Final = "0.5.0"
SCHEMA_FORMAT: Final = "application/schema+json;version=draft-2020-12"
_BODY: Final = "application/json"
RELAYED: Final = tuple(topic.carries for topic in RELAY.produces if topic.carries is not None)
"""Types that pass through the outbox."""


def asyncapi() -> dict[str, Any]:
    """The whole document; payloads refer to the files beside it in `schemas/`."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Headrace",
            "version": version("headrace"),
            "description": (
                "What Headrace says on Apache Kafka. Messages are CloudEvents 1.0 in binary mode: "
                "attributes in `ce_*` headers, the body as JSON. Structured mode "
                "(`application/cloudevents+json`) is understood too, and so is a JSON body "
                "without headers: its type is the topic's, and its id, where the body has none, "
                "is `topic:partition:offset`. Read with `isolation.level=read_committed`. "
                "Keys are hashed with murmur2, as Java's client does: set "
                "`partitioner=murmur2_random` in librdkafka."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _BODY,
        "channels": {topic.name: _channel(topic) for topic in CATALOGUE.values()},
        "operations": {
            f"{service.name}.{action}.{topic.name}": _operation(service, action, topic)
            for service in SERVICES.values()
            for action, topics in (("receive", service.reads), ("send", service.writes))
            for topic in topics
        },
        "components": {
            "messages": {
                **{_name(kind): _message(kind) for kind in TYPES},
                **{_name(kind, relayed=True): _message(kind, relayed=True) for kind in RELAYED},
            }
        },
    }


def _name(kind: type[Event], *, relayed: bool = False) -> str:
    """Name of a message among the components."""
    return kind.__name__ + ("Relayed" if relayed else "")


def _names(topic: Topic) -> list[str]:
    """Names of the messages on a topic; the outbox carries what the relay writes."""
    if topic.carries is not None:
        return [_name(topic.carries)]
    return [_name(kind, relayed=True) for kind in RELAYED]


def _channel(topic: Topic) -> dict[str, Any]:
    count = "" if topic.partitions else " As many partitions as HEADRACE_PARTITIONS says."
    config: dict[str, Any] = {
        name: int(value) if value.lstrip("-").isdigit() else value
        for name, value in topic.configs().items()
    }
    config["cleanup.policy"] = config["cleanup.policy"].split(",")
    kafka: dict[str, Any] = {"topic": topic.name}
    if topic.partitions:
        kafka["partitions"] = topic.partitions
    kafka |= {"topicConfiguration": config, "bindingVersion": BINDING}
    return {
        "address": topic.name,
        "description": f"{topic.about} Key: {topic.key}.{count}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _names(topic)},
        "bindings": {"kafka": kafka},
    }


def _operation(service: Service, action: str, topic: Topic) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "summary": service.about,
        "tags": [{"name": service.name}],
    }
    if topic is OUTBOX and service.by_outbox:
        operation["messages"] = [
            {"$ref": f"#/channels/{topic.name}/messages/{_name(said.carries, relayed=True)}"}
            for said in service.by_outbox
            if said.carries is not None
        ]
    return operation


def _message(kind: type[Event], *, relayed: bool = False) -> dict[str, Any]:
    key = next(topic.key for topic in CATALOGUE.values() if topic.carries is kind)
    about = (kind.__doc__ or "").strip().partition("\n")[0]
    on_its_way = " On its way through the outbox, replays included."
    return {
        "name": TYPES[kind],
        "title": kind.__name__,
        "summary": about + (on_its_way if relayed else ""),
        "contentType": _BODY,
        "headers": _headers(kind, relayed=relayed),
        "payload": {
            "schemaFormat": SCHEMA_FORMAT,
            "schema": {"$ref": f"./schemas/{file_name(kind)}"},
        },
        "bindings": {
            "kafka": {"key": {"type": "string", "description": key}, "bindingVersion": BINDING}
        },
    }


def _headers(kind: type[Event], *, relayed: bool) -> dict[str, Any]:
    text = {"type": "string"}
    properties: dict[str, Any] = {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {**text, "description": "The body's id."},
        "ce_source": {**text, "description": "The service that says it: /headrace/SERVICE."},
        "ce_type": {"type": "string", "const": TYPES[kind]},
        "content-type": {"type": "string", "const": _BODY},
    }
    if relayed:
        properties["headrace-to"] = {**text, "description": "Topic that the relay copies it to."}
        properties["headrace-cause"] = {
            **text,
            "description": "JSON list: agent, topic, partition, offset, index.",
        }
    # A body without headers is accepted, but for the two that the relay works by.
    required = [name for name in properties if name.startswith("headrace-")]
    headers: dict[str, Any] = {"type": "object", "properties": properties}
    return {**headers, "required": required} if required else headers
