"""Adversarial training: also on word vectors moved to where they hurt the most."""

from __future__ import annotations

from typing import Any

import torch

from trainer.strategies.base import Again, Strategy, Work


class Fgm(Strategy, frozen=True, kw_only=True):
    """One move along the gradient of the word vectors (Miyato et al., 2017); one more pass."""

    radius: float = 0.5

    def after_backward(self, work: Work, model: Any, batch: dict[str, Any], again: Again) -> None:
        """Add the gradients at the moved vectors."""
        weight = words(work)
        if not _movable(weight):
            return
        kept = weight.detach().clone()
        _move(weight, self.radius)
        again(model, batch)
        with torch.no_grad():
            weight.copy_(kept)


class Pgd(Strategy, frozen=True, kw_only=True):
    """Several smaller moves, held within a ball (Madry et al., 2018); as many more passes."""

    radius: float = 0.5
    step: float = 0.25
    moves: int = 3

    def after_backward(self, work: Work, model: Any, batch: dict[str, Any], again: Again) -> None:
        """Add the gradients at the vectors after the last move."""
        weight = words(work)
        if not _movable(weight):
            return
        kept = weight.detach().clone()
        gradients = {
            name: None if each.grad is None else each.grad.clone()
            for name, each in model.named_parameters()
        }
        for move in range(self.moves):
            _move(weight, self.step)
            with torch.no_grad():
                away = weight - kept
                if (length := away.norm()) > self.radius:
                    weight.copy_(kept + away * (self.radius / length))
            last = move == self.moves - 1
            for name, each in model.named_parameters():
                found = gradients[name]
                if last:  # the step's own gradients, to which the last ones are added
                    each.grad = found
                elif each.grad is not None:
                    each.grad = torch.zeros_like(each.grad)
            again(model, batch)
        with torch.no_grad():
            weight.copy_(kept)


def words(work: Work) -> torch.nn.Parameter:
    """The matrix of word vectors."""
    weight: torch.nn.Parameter = work.model.backbone.get_input_embeddings().weight
    return weight


def _movable(weight: torch.nn.Parameter) -> bool:
    # Frozen vectors have no gradient to follow: the recipe chose what it wants.
    return weight.requires_grad and weight.grad is not None


def _move(weight: torch.nn.Parameter, distance: float) -> None:
    with torch.no_grad():
        if weight.grad is not None and (length := weight.grad.norm()) > 0:
            weight.add_(weight.grad, alpha=distance / float(length))
