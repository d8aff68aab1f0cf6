"""IncrementalAlterConfigs (Kafka API 44, version 0), which aiokafka 0.14 does not have.

Source: KIP-339 and the message definitions of Apache Kafka, IncrementalAlterConfigsRequest.json.
"""

from __future__ import annotations

from typing import Any, Final

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

_SET: Final = 0


class IncrementalAlterConfigsResponse(Response):  # type: ignore[misc]
    """One error code and message per resource."""

    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "responses",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class IncrementalAlterConfigsStruct(RequestStruct):  # type: ignore[misc]
    """The request as it goes over the wire."""

    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = IncrementalAlterConfigsResponse
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "configs",
                    Array(
                        ("name", String("utf-8")),
                        ("config_operation", Int8),
                        ("value", String("utf-8")),
                    ),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class IncrementalAlterConfigs(Request[IncrementalAlterConfigsStruct]):  # type: ignore[misc]
    """Set settings of topics, leaving those not named as they are."""

    API_KEY = 44

    def __init__(self, topics: dict[str, dict[str, str]]) -> None:
        self._resources = [
            (
                int(ConfigResourceType.TOPIC),
                topic,
                [(name, _SET, value) for name, value in configs.items()],
            )
            for topic, configs in topics.items()
        ]

    def build(self, request_struct_class: type[IncrementalAlterConfigsStruct]) -> Any:
        """The request in the version that the broker speaks."""
        return request_struct_class(self._resources, False)
