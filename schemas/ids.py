"""Ids that are a pure function of a position, so that a replay says the same id."""

from __future__ import annotations

import hashlib
from typing import Final

from schemas.events import Cause

ASIDE: Final = "aside:"
"""How the thread of a question begins that is the asker's own: no agent counts its answer."""


def emission_id(cause: Cause) -> str:
    """Id of what an agent emitted for a source position."""
    return f"{cause.agent}:{cause.topic}:{cause.partition}:{cause.offset}:{cause.index}"


def record_id(topic: str, partition: int, offset: int) -> str:
    """Id of a record that its publisher gave none."""
    return f"{topic}:{partition}:{offset}"


def result_id(request_id: str) -> str:
    """Id of the one result of a request."""
    return f"result:{request_id}"


def rescored_id(task: str, version: str, topic: str, partition: int, offset: int) -> str:
    """Id of what `version` says, asked again, to the request at a position."""
    # A digest: the names are the user's, and together they may outgrow an id.
    asked = hashlib.sha256(f"{task}\0{version}".encode()).hexdigest()[:16]
    return f"rescored:{asked}:{topic}:{partition}:{offset}"


def shadow_id(version: str, request_id: str) -> str:
    """Id of what a version says aside to a request: a replay says it again under the same id."""
    asked = hashlib.sha256(f"{version}\0{request_id}".encode()).hexdigest()[:32]
    return f"shadow:{asked}"


def swap_id(task: str, topic: str, partition: int, offset: int) -> str:
    """Id of the one swap of a task at a position."""
    return f"swap:{hashlib.sha256(task.encode()).hexdigest()[:16]}:{topic}:{partition}:{offset}"


def delivery_id(alert_id: str, target: str) -> str:
    """Id of telling one target about one alert."""
    asked = hashlib.sha256(f"{target}\0{alert_id}".encode()).hexdigest()[:32]
    return f"delivery:{asked}"


def dead_letter_id(service: str, topic: str, partition: int, offset: int) -> str:
    """Id of the one dead letter that a service writes of a record: each reader may refuse it."""
    return f"dead:{service}:{topic}:{partition}:{offset}"


def refused_by(letter_id: str) -> str:
    """The service that wrote the dead letter of this id; empty where it is no such id."""
    kind, _, rest = letter_id.partition(":")
    return rest.partition(":")[0] if kind == "dead" else ""


def model_key(task: str, version: str) -> str:
    """Key of a model version on the registry topic."""
    return f"{task}/{version}"


def label_id(task: str, target: str | None, text: str) -> str:
    """Id of a labelled example, from its content: a label corrected later replaces the first."""
    content = "\0".join((task, target or "", text))
    return f"label-{hashlib.sha256(content.encode()).hexdigest()[:20]}"


def group_id(service: str) -> str:
    """Consumer group of a service, e.g. `kernel` or `finance.trends`."""
    return f"headrace.{service}"
