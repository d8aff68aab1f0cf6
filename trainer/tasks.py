"""Task definitions: those that Headrace knows, and those a user writes in a TOML file.

A task file holds `name`, `inputs` ("text", "pair" or "tokens") and the other fields of
`schemas.tasks.Task`. Without `labels` the labelled data name them. A file with `parts` names
other tasks, by name or file, that one shared backbone learns together.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from schemas.tasks import TASKS, Task
from trainer.errors import DataError, TrainerError

if TYPE_CHECKING:
    from trainer.dataset import Row

OUTSIDE: Final = "O"
"""The BIO tag of a word that belongs to no entity."""


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
        fields = tomllib.loads(path.read_text())
        if unknown := set(fields) - set(Task.__struct_fields__):
            raise TrainerError(f"the task file {name} has unknown fields: {', '.join(unknown)}")
        if "parts" in fields:
            fields = {"inputs": "text", **fields}
        task = msgspec.convert(fields, Task)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise TrainerError(f"the task file {name} cannot be used: {error}") from error
    _check(task, name)
    return task


def _check(task: Task, name: str) -> None:
    if task.labels and len(set(task.labels)) < max(2, len(task.labels)):
        raise TrainerError(f"the task file {name} needs at least two labels, each once")
    if task.out_of_scope and (
        task.answer != "label" or (task.labels and task.out_of_scope not in task.labels)
    ):
        raise TrainerError(
            f"the task file {name}: out_of_scope must be one of the labels, not "
            f"{task.out_of_scope!r}"
        )
    if (task.answer == "tags") != (task.inputs == "tokens"):
        raise TrainerError(f"the task file {name}: inputs 'tokens' and answer 'tags' come together")
    if task.answer == "tags" and task.labels and task.labels[0] != OUTSIDE:
        raise TrainerError(f"the task file {name}: the first of the labels must be {OUTSIDE!r}")
    if task.answer == "vector" and task.inputs != "pair":
        raise TrainerError(
            f"the task file {name}: answer 'vector' learns from pairs (text and a target that is "
            'near it in meaning): set inputs = "pair"'
        )


def parts(task: Task, file: Path) -> list[Task]:
    """The parts of a multi-task file; files among them are found beside it.

    Raises:
        TrainerError: a part is not a task, or has parts of its own.
    """
    found = [
        find(str(file.parent / name) if name.endswith(".toml") else name) for name in task.parts
    ]
    if len({part.name for part in found}) < max(2, len(found)):
        raise TrainerError(f"{file} needs at least two different parts")
    for part in found:
        if part.parts or part.answer == "vector":
            raise TrainerError(f"{part.name} cannot be a part: parts give labels or tags")
    return found


def with_labels(task: Task, rows: Iterable[Row]) -> Task:
    """`task` with the labels that `rows` name, where it leaves them to the data.

    Raises:
        DataError: fewer than two.
    """
    if task.labels or task.answer == "vector":
        return task
    if task.answer == "tags":
        kinds = sorted({tag[2:] for row in rows for tag in row.tags if tag != OUTSIDE})
        labels = [OUTSIDE, *(f"{place}-{kind}" for kind in kinds for place in "BI")]
    else:
        labels = sorted({row.label for row in rows if row.label and row.text.strip()})
    if len(labels) < 2:
        raise DataError(
            f"too few labels for {task.name}: its labels come from the data, which name "
            f"{', '.join(labels) or 'none'}; give rows of at least two"
        )
    return msgspec.structs.replace(task, labels=tuple(labels))
