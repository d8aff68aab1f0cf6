"""Task definitions: those that Headrace knows, and those a user writes in a TOML file.

A task file holds `name`, `labels`, `inputs` ("text" or "pair") and optionally `about`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from schemas.tasks import TASKS, Task
from trainer.errors import TrainerError


def find(name: str) -> Task:
    """The task called `name`, or the one that the TOML file `name` defines.

    Raises:
        TrainerError: there is no such task, or the file defines none.
    """
    if name in TASKS:
        return TASKS[name]
    path = Path(name)
    if path.suffix != ".toml":
        known = ", ".join(TASKS)
        raise TrainerError(f"no task {name!r}: known are {known}, or give a task file (.toml)")
    try:
        task = msgspec.convert({"about": "", **tomllib.loads(path.read_text())}, Task)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise TrainerError(f"the task file {name} cannot be used: {error}") from error
    if len(set(task.labels)) < max(2, len(task.labels)):
        raise TrainerError(f"the task file {name} needs at least two labels, each once")
    return task
