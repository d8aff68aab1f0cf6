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


def dead_letter_id(service: str, topic: str, partition: int, offset: int) -> str:
    """Id of the one dead letter that a service writes of a record: each reader may refuse it."""
    return f"dead:{service}:{topic}:{partition}:{offset}"


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
