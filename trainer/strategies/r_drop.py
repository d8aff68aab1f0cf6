"""R-Drop: two passes with different dropout must say the same (Liang et al., 2021)."""

from __future__ import annotations

from typing import Any

import torch

from trainer.encoding import IGNORED
from trainer.losses import divergence
from trainer.strategies.base import Loss, Strategy, Work


class RDrop(Strategy, frozen=True, kw_only=True):
    """Consistency regularisation; a step takes twice the time."""

    weight: float = 1.0

    def loss(self, work: Work, model: Any, batch: dict[str, Any], below: Loss) -> tuple[Any, Any]:  # noqa: ARG002
        """The loss of the batch twice in one pass, and how far the two answers are apart."""
        twice = {name: torch.cat([tensor, tensor]) for name, tensor in batch.items()}
        loss, logits = below(model, twice)
        first, second = logits.float().chunk(2)
        apart = divergence(first, second)
        asked = (batch["labels"] != IGNORED).to(apart.dtype)
        return loss + self.weight * (apart * asked).sum() / asked.sum().clamp_min(1), first
