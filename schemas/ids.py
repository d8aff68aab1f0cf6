"""Ids that are a pure function of a position, so that a replay says the same id."""

from __future__ import annotations

from schemas.events import Cause


def emission_id(cause: Cause) -> str:
    """Id of what an agent emitted for a source position."""
    return f"{cause.agent}:{cause.topic}:{cause.partition}:{cause.offset}:{cause.index}"


def record_id(topic: str, partition: int, offset: int) -> str:
    """Id of a record that its publisher gave none."""
    return f"{topic}:{partition}:{offset}"


def result_id(request_id: str) -> str:
    """Id of the one result of a request."""
    return f"result:{request_id}"


def dead_letter_id(topic: str, partition: int, offset: int) -> str:
    """Id of the one dead letter of a record."""
    return f"dead:{topic}:{partition}:{offset}"


def model_key(task: str, version: str) -> str:
    """Key of a model version on the registry topic."""
    return f"{task}/{version}"


def group_id(service: str) -> str:
    """Consumer group of a service, e.g. `kernel` or `finance.trends`."""
    return f"headrace.{service}"
