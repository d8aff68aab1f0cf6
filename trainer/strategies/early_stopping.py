"""Early stopping: the best checkpoint on rows set aside, by transformers' own callback."""

from __future__ import annotations

import hashlib
from typing import Any

from transformers import EarlyStoppingCallback

from trainer.errors import RefusedError
from trainer.strategies.base import Strategy, Work


class EarlyStopping(Strategy, frozen=True, kw_only=True):
    """Looks at each checkpoint; ends when `patience` of them in a row were no better."""

    share: float = 0.1
    """Of the texts to learn from that are set aside; the held-back rows stay untouched."""
    patience: int = 3

    def prepare(self, work: Work) -> None:
        """Set rows aside, all of a text on one side."""
        if work.task.answer == "vector":
            raise RefusedError("early-stopping measures accuracy, which vectors have none of")
        aside = [row for row in work.rows if self._is_aside(row.text)]
        if not aside:
            raise RefusedError("early-stopping sets no row aside of so few: leave it out")
        work.validation = aside
        work.restarted([row for row in work.rows if not self._is_aside(row.text)])

    def arguments(self, work: Work) -> dict[str, Any]:
        """Evaluate at each checkpoint."""
        return {
            "eval_strategy": "steps",
            "eval_steps": work.recipe.checkpoint_steps,
            "load_best_model_at_end": True,
            "metric_for_best_model": "accuracy",
            "greater_is_better": True,
            "label_names": ["labels"],
            "per_device_eval_batch_size": 64,
        }

    def callbacks(self, work: Work) -> list[Any]:  # noqa: ARG002
        """The one of transformers."""
        return [EarlyStoppingCallback(early_stopping_patience=self.patience)]

    def _is_aside(self, text: str) -> bool:
        digest = hashlib.sha256(f"aside\0{text}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64
