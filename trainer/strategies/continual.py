"""Continual learning from a stream of labels: the newest rows, with replay against forgetting.

Goes on from the recipe's `start`. Of the older rows a sample is replayed beside the new ones
(Rolnick et al., 2019), and some are kept apart: how much of them is forgotten is reported.
"""

from __future__ import annotations

import random

from trainer.encoding import encode, predict
from trainer.errors import RefusedError
from trainer.scoring import truth
from trainer.strategies.base import Strategy, Work


class Continual(Strategy, frozen=True, kw_only=True):
    """Rows stand in the order in which their labels came; the last of them are new."""

    new: int = 200
    """Rows that count as new; the others were learned before."""
    replay: float = 1.0
    """Older rows that are replayed, for each new one."""
    watched: int = 500
    """Older rows, never replayed, on which forgetting is measured, at most."""

    def prepare(self, work: Work) -> None:
        """Choose what is learned, and see what is known."""
        if not work.recipe.start:
            raise RefusedError(
                "continual goes on from a model: name its folder as the recipe's `start`"
            )
        if work.task.answer == "vector":
            raise RefusedError("continual measures accuracy, which vectors have none of")
        old, new = work.rows[: -self.new], work.rows[-self.new :]
        random.Random(work.recipe.seed).shuffle(old)
        watched = old[: min(self.watched, len(old) // 2)]
        old = old[len(watched) :]
        work.extra["watched"] = watched
        work.restarted([*new, *old[: round(len(new) * self.replay)]])
        if watched:
            work.figures["old_accuracy_before"] = self._accuracy(work)

    def finish(self, work: Work) -> None:
        """See what is still known."""
        if work.extra["watched"]:
            after = self._accuracy(work)
            work.figures["old_accuracy_after"] = after
            work.figures["forgetting"] = work.figures["old_accuracy_before"] - after

    def _accuracy(self, work: Work) -> float:
        rows = work.extra["watched"]
        features = encode(rows, work.tokenizer, work.task, work.recipe)
        said = predict(work.model, features, work.collate).argmax(axis=1)
        return float((said == truth(rows, work.task.labels)).mean())
