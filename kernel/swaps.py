"""Swaps, written down: from which offset of a partition other versions answer a task.

The record is a part of the lane's transaction in which the first answer by the new route is: it
is there exactly when that answer is, and its id is the position, so it is there once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kernel.served import Served, position_of
from schemas.events import ModelSwap
from schemas.ids import swap_id
from schemas.topics import SWAPS
from streams.message import Message

log = logging.getLogger(__name__)


def swap(
    task: str, served: Served, record: Any, marks: Mapping[str, str], service: str
) -> list[Message]:
    """What to say besides the answer to `record`: the swap, if the answer before had another route.

    `marks` are those that the lane's commit kept before it, by task.
    """
    before = _route(marks.get(task, ""))
    if before == str(served.route):
        return []
    log.info(
        "%s is answered by %s instead of %s from %s:%d:%d on",
        task,
        served.route,
        before or "nothing",
        record.topic,
        record.partition,
        record.offset,
    )
    said = ModelSwap(
        id=swap_id(task, record.topic, record.partition, record.offset),
        task=task,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        route=str(served.route),
        before=before,
        registry_offset=served.position,
        swapped_at=datetime.now(UTC),
    )
    return [Message.of(SWAPS, task.encode(), said, service)]


def _route(mark: str) -> str:
    return mark[: -len(f"@{position_of(mark)}")] if position_of(mark) else mark
