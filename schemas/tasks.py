"""The tasks that Headrace knows by itself: what is asked, and which answers there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, kw_only=True)
class Task:
    """A question that a kernel answers with one of `labels`."""

    name: str
    labels: tuple[str, ...]
    inputs: Literal["text", "pair"]
    """`pair`: the text and a target that the question is about."""
    about: str


SENTIMENT: Final = Task(
    name="sentiment",
    labels=("negative", "neutral", "positive"),
    inputs="pair",
    about="Is the text good, bad or neither for the target?",
)
TASKS: Final[dict[str, Task]] = {task.name: task for task in (SENTIMENT,)}
