"""Multi-task: several tasks on one shared backbone, in one training, and an artefact for each.

Each row is read once and answered by every head; only its own part's head is told what is right.
After training every part takes the backbone with its own head, and is exported by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from schemas.tasks import Task
from trainer import backbone, encoding
from trainer.dataset import Dataset
from trainer.encoding import IGNORED, Collator, Feature
from trainer.losses import cross_entropy
from trainer.network import Network, TextClassifier, TokenClassifier
from trainer.recipe import Recipe

Parts = list[tuple[Task, Dataset]]


class Shared(torch.nn.Module):
    """One backbone under the heads of all parts."""

    def __init__(self, loaded: Any, tasks: Sequence[Task], dropout: float) -> None:
        super().__init__()
        self.backbone = loaded
        self.parts = [_network(loaded, task, dropout) for task in tasks]
        self.heads = torch.nn.ModuleList([part.head for part in self.parts])
        self.inputs = self.parts[0].inputs
        self._dropout = torch.nn.Dropout(dropout)

    def forward(self, **inputs: torch.Tensor) -> list[torch.Tensor]:
        """What every head says: [batch, labels], or [batch, length, tags]."""
        tokens = self.backbone(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1).to(tokens.dtype)
        mean = (tokens * mask).sum(dim=1) / mask.sum(dim=1)
        return [
            head(self._dropout(tokens if isinstance(part, TokenClassifier) else mean))
            for part, head in zip(self.parts, self.heads, strict=True)
        ]


def _network(loaded: Any, task: Task, dropout: float) -> Network:
    kind = TokenClassifier if task.answer == "tags" else TextClassifier
    return kind(loaded, len(task.labels), dropout)


def load(recipe: Recipe, tasks: Sequence[Task], tokenizer: Any) -> Shared:
    """The recipe's backbone under fresh heads.

    Raises:
        TrainerError: the backbone cannot be had.
    """
    return Shared(backbone.load_backbone(recipe, tokenizer), tasks, recipe.dropout)


def features(parts: Parts, tokenizer: Any, recipe: Recipe) -> list[Feature]:
    """The rows of all parts, each with the number of its part."""
    return [
        {**feature, "part": number}
        for number, (task, data) in enumerate(parts)
        for feature in encoding.encode(data.train, tokenizer, task, recipe)
    ]


def loss(
    said: Sequence[torch.Tensor], batch: Mapping[str, torch.Tensor], smoothing: float
) -> torch.Tensor:
    """Sum over the parts of their mean losses, each weighted by its share of the rows."""
    labels, part = batch["labels"], batch["part"]
    total = torch.zeros((), device=labels.device)
    for number, logits in enumerate(said):
        own = part == number
        # A head without rows still takes part, or processes would wait for its gradients.
        if not own.any():
            total = total + logits.sum() * 0
            continue
        right = labels[own]
        if logits.ndim == 2 and right.ndim == 2:
            right = right[:, 0]
        if logits.ndim == 3 and right.ndim == 1:
            right = right[:, None]
        if (right != IGNORED).any():
            total = total + cross_entropy(logits[own], right, smoothing) * own.float().mean()
    return total


def collator(model: Shared, tokenizer: Any) -> Collator:
    """For features of all parts."""
    return Collator(model.inputs, encoding.pad_id(tokenizer))


def split(model: Shared) -> list[Network]:
    """A network for each part. They share the backbone: export one after the other."""
    return model.parts


def folder(root: Path, task: Task) -> Path:
    """Where the artefact of a part lies."""
    return root / task.name


def plan(parts: Parts) -> bytes:
    """What names a multi-task run: the same plan goes on where it was killed."""
    return msgspec.json.encode(parts)
