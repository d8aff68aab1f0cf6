"""What a network is taught by: the loss of each kind of answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch.nn import functional

from schemas.tasks import Task
from trainer.recipe import Recipe

Criterion = Callable[[torch.Tensor, Mapping[str, torch.Tensor]], torch.Tensor]
"""From what the network says and the batch to a scalar."""

_TEMPERATURE = 0.05
"""Of similarities among which the right pair is to be found, as in SimCSE (Gao et al., 2021)."""


def criterion(task: Task, recipe: Recipe) -> Criterion:
    """The loss of `task`."""
    if task.answer == "vector":
        return contrast

    def smoothed(logits: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return cross_entropy(logits, batch["labels"], recipe.label_smoothing)

    return smoothed


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0
) -> torch.Tensor:
    """Mean over the decisions of logits [..., labels]; a label of -100 is none."""
    return functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), label_smoothing=smoothing
    )


def contrast(vectors: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:  # noqa: ARG001
    """In-batch contrast (InfoNCE): the first half of `vectors` find theirs in the second."""
    texts, near = vectors.chunk(2)
    similar = texts @ near.T / _TEMPERATURE
    right = torch.arange(len(texts), device=vectors.device)
    return (
        functional.cross_entropy(similar, right) + functional.cross_entropy(similar.T, right)
    ) / 2


def divergence(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence, both ways, of two logits [decisions, labels], per decision."""
    a, b = first.log_softmax(dim=-1), second.log_softmax(dim=-1)
    one = functional.kl_div(a, b, log_target=True, reduction="none").sum(dim=-1)
    other = functional.kl_div(b, a, log_target=True, reduction="none").sum(dim=-1)
    return (one + other) / 2
