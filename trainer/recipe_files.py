"""Recipes in files: by name, by the nearest variant for a task, or from a person's own TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

import msgspec

from schemas.tasks import Task
from trainer import strategies
from trainer.errors import TrainerError
from trainer.recipe import Recipe

FOLDER: Final = Path(__file__).parent / "recipes"


def load(name: str, task: Task | None = None) -> Recipe:
    """The recipe of that name, the nearest variant for `task`, or the one in that TOML file.

    Raises:
        TrainerError: there is none, or a field is not understood.
    """
    path = Path(name) if name.endswith(".toml") else _nearest(name, task)
    if not path.is_file():
        known = ", ".join(sorted({found.name.split(".")[0] for found in FOLDER.glob("*.toml")}))
        raise TrainerError(f"no recipe {name!r}: known are {known}, or give a recipe file (.toml)")
    try:
        fields = tomllib.loads(path.read_text())
        found = msgspec.convert({"name": path.stem, **fields}, Recipe)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise TrainerError(f"the recipe {path} cannot be used: {error}") from error
    strategies.check(found.strategy, found.options)
    return found


def _nearest(name: str, task: Task | None) -> Path:
    kinds = () if task is None else (task.name, task.answer, task.inputs)
    variants = [FOLDER / f"{name}.{one}.toml" for one in kinds]
    return next((path for path in variants if path.is_file()), FOLDER / f"{name}.toml")
