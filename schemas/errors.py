"""Why a record cannot be answered: stable names that a dead letter carries."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from schemas.limits import MAX_REASON_CHARACTERS

if TYPE_CHECKING:
    from schemas.events import Cause


class ErrorClass(StrEnum):
    """The error classes of dead letters; documented in docs/errors.md."""

    NOT_JSON = "not-json"
    """The body is not JSON, or not UTF-8."""
    WRONG_TYPE = "wrong-type"
    """The body is JSON but a field is missing or of another type."""
    UNKNOWN_SCHEMA = "unknown-schema"
    """The CloudEvents type or version is not one that the topic carries."""
    NO_VALUE = "no-value"
    """A tombstone on a topic where it means nothing."""
    EMPTY_TEXT = "empty-text"
    TEXT_TOO_LONG = "text-too-long"
    BAD_TIME = "bad-time"
    """Event time before 1970 or more than a day after the record's own time."""
    DUPLICATE_ID = "duplicate-id"
    """The same event id was seen within the reader's window."""
    UNKNOWN_TASK = "unknown-task"
    """No live model answers the task."""
    DRIVER_FAILED = "driver-failed"
    """The model raised, returned NaN or the wrong shape for this record alone."""
    AGENT_FAILED = "agent-failed"
    """An agent's own code raised on this record."""


class Unanswerable(Exception):  # noqa: N818  (it is a verdict on a record, not a fault of ours)
    """Raised where a record cannot be answered; becomes exactly one dead letter.

    `cause` is the record's, where it could be read: a replay of it is not refused again.
    """

    def __init__(self, error_class: ErrorClass, reason: str, *, cause: Cause | None = None) -> None:
        if len(reason) > MAX_REASON_CHARACTERS:
            reason = reason[: MAX_REASON_CHARACTERS - 1] + "…"
        super().__init__(reason)
        self.error_class = error_class
        self.reason = reason
        self.cause = cause
