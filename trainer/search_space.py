"""What a search may choose: from a trial's numbers to a recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import optuna
from msgspec.structs import replace

from schemas.tasks import Task
from trainer import backbone
from trainer.dataset import Dataset
from trainer.recipe import Recipe

FEW_ROWS: Final = 64
"""Rows of each label up to which the few-shot head is tried."""
_LAYERS: Final = {"all": 1.0, "two thirds": 2 / 3, "half": 0.5}
"""Share of a backbone's layers that is kept: fewer are faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What is searched."""

    task: Task
    data: Dataset
    minutes: float
    max_ms: float | None
    """Longest pass over one text at the 99th percentile, through the exported graph."""
    backbones: Sequence[str] = (backbone.BUNDLED,)
    start: Recipe = field(default_factory=lambda: Recipe(name="search"))
    """What the search does not choose."""


def options(trial: optuna.Trial, space: Space) -> Recipe:
    """The recipe that a trial stands for."""
    strategy = trial.suggest_categorical("strategy", strategies(space))
    addition = trial.suggest_categorical("addition", additions(space.task))
    share = trial.suggest_categorical("layers", list(_LAYERS))
    name = trial.suggest_categorical("backbone", list(space.backbones))
    layers = backbone.layers(name)
    kept = max(1, round(layers * _LAYERS[share]))
    chosen: dict[str, dict[str, Any]] = {}
    if addition != "none":
        chosen[addition] = {}
    if kept < layers:
        chosen["prune"] = {"layers": kept}
    return replace(
        space.start,
        name="found",
        strategy=strategy,
        options=chosen,
        backbone=name,
        learning_rate=trial.suggest_float("learning_rate", 3e-5, 1e-3, log=True),
        head_learning_rate=trial.suggest_float("head_learning_rate", 3e-4, 1e-2, log=True),
        layer_decay=trial.suggest_float("layer_decay", 0.7, 1.0),
        label_smoothing=trial.suggest_float("label_smoothing", 0.0, 0.1),
        dropout=trial.suggest_float("dropout", 0.0, 0.2),
        batch_size=trial.suggest_categorical("batch_size", [16, 32]),
        frozen_vocabulary=trial.suggest_categorical("frozen_vocabulary", [False, True]),
    )


def strategies(space: Space) -> list[str]:
    """What may be trained."""
    counts = Counter(row.label for row in space.data.train)
    few = space.task.answer == "label" and max(counts.values(), default=0) <= FEW_ROWS
    return ["full", "lora", *(["few-shot"] if few else [])]


def additions(task: Task) -> list[str]:
    """What may be added to it."""
    by_label = ["mixup"] if task.answer == "label" else []
    return ["none", "r-drop", "fgm", "ema", *by_label]


def firsts(space: Space) -> list[dict[str, Any]]:
    """Trials that are made before any is sampled: the plain recipe, each way once."""
    plain = {
        "addition": "none",
        "layers": "all",
        "learning_rate": 2e-4,
        "head_learning_rate": 1e-3,
        "layer_decay": 0.85,
        "label_smoothing": 0.05,
        "dropout": 0.1,
        "batch_size": 16,
        "frozen_vocabulary": True,
    }
    return [
        plain | {"backbone": name, "strategy": strategy}
        for name in space.backbones
        for strategy in strategies(space)
    ]


def recipe_of(trial: optuna.trial.FrozenTrial) -> Recipe:
    """The recipe that a trial was made by."""
    return msgspec.json.decode(trial.user_attrs["recipe"], type=Recipe)


def shape(recipe: Recipe) -> tuple[str, str, object]:
    """What decides how long a recipe's graph takes."""
    # LoRA is merged into the weights; a prefix or an adapter is not.
    merged = "full" if recipe.strategy in {"lora", "few-shot"} else recipe.strategy
    return recipe.backbone, merged, recipe.options.get("prune", {}).get("layers")
