"""Mixup of what the head sees: rows between rows (Zhang et al., 2018; Sun et al., 2020)."""

from __future__ import annotations

from typing import Any

import torch

from trainer.errors import RefusedError
from trainer.losses import cross_entropy
from trainer.strategies.base import Loss, Strategy, Work


class Mixup(Strategy, frozen=True, kw_only=True):
    """Each row is drawn towards another one, and its label with it."""

    alpha: float = 0.4
    """Of the beta distribution of shares; the smaller, the nearer to the rows as they are."""

    def prepare(self, work: Work) -> None:
        """Only whole texts can be mixed."""
        if work.task.answer != "label":
            raise RefusedError(
                f"mixup is for tasks with one label for a text, not {work.task.name}"
            )

    def loss(self, work: Work, model: Any, batch: dict[str, Any], below: Loss) -> tuple[Any, Any]:  # noqa: ARG002
        """The cross-entropy with both rows' labels, by their shares."""
        labels = batch["labels"]
        other = torch.randperm(len(labels), device=labels.device)
        share = float(torch.distributions.Beta(self.alpha, self.alpha).sample())
        share = max(share, 1 - share)
        logits = model(mix=(other, share), **{name: batch[name] for name in work.collate.inputs})
        smoothing = work.recipe.label_smoothing
        own = cross_entropy(logits, labels, smoothing)
        others = cross_entropy(logits, labels[other], smoothing)
        return share * own + (1 - share) * others, logits
