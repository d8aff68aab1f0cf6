"""What every strategy may do, and what it does it to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import torch

from schemas.tasks import Task
from trainer.dataset import Row
from trainer.encoding import Collator, Feature
from trainer.recipe import Recipe

Batch = Mapping[str, torch.Tensor]
Loss = Callable[[Any, dict[str, Any]], tuple[torch.Tensor, torch.Tensor]]
"""From a network and a batch to the loss, a scalar, and the logits that gave it."""
Again = Callable[[Any, dict[str, Any]], None]
"""Adds the gradients of the plain loss of a network on a batch, weighted as a step's own are."""


@dataclass
class Work:
    """One training while it is made. Strategies change it."""

    task: Task
    recipe: Recipe
    model: Any
    tokenizer: Any
    collate: Collator
    rows: list[Row]
    folder: Path
    """For what must outlive a kill: checkpoints, finished phases."""
    pretrain: Callable[[Work, Any, list[Feature], Any, Recipe], None]
    """Trains `(work, model, features, collate, recipe)` by the model's own loss."""
    unlabelled: list[str] = field(default_factory=list)
    validation: list[Row] = field(default_factory=list)
    """Rows set aside to decide when to stop, where a strategy asks for it."""
    figures: dict[str, float] = field(default_factory=dict)
    """What strategies found out; it goes to the manifest's metrics."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What a strategy keeps from one step to the next."""
    masked_language: Any = None
    """The backbone with its masked-language head, where one was trained."""

    def restarted(self, rows: list[Row]) -> None:
        """Take other rows for what follows."""
        self.rows = rows


class Strategy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way to train; its fields are its settings. Each step is optional."""

    trains: ClassVar[bool] = True
    """False where nothing is left to do after `prepare`."""

    def prepare(self, work: Work) -> None:
        """Before anything is encoded: change the network, the rows, pre-train."""

    def features(self, work: Work, features: list[Feature]) -> list[Feature]:  # noqa: ARG002
        """What is trained on, from what the rows were encoded to."""
        return features

    def loss(self, work: Work, model: Any, batch: dict[str, Any], below: Loss) -> tuple[Any, Any]:  # noqa: ARG002
        """Loss and logits of a batch; `below` is the loss without this strategy."""
        return below(model, batch)

    def after_backward(self, work: Work, model: Any, batch: dict[str, Any], again: Again) -> None:
        """More gradients, before the weights move."""

    def callbacks(self, work: Work) -> list[Any]:  # noqa: ARG002
        """Callbacks (of transformers) that look on."""
        return []

    def arguments(self, work: Work) -> dict[str, Any]:  # noqa: ARG002
        """Arguments of transformers' TrainingArguments that it needs."""
        return {}

    def again(self, work: Work, done: int) -> bool:  # noqa: ARG002
        """Whether to train on once more, after `done` rounds, with what it changed."""
        return False

    def finish(self, work: Work) -> None:
        """After the last round: what is left in `work.model` is exported."""
