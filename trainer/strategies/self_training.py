"""Self-training: confident answers on texts without labels become rows to learn from.

Pseudo-labels (Lee, 2013); as many of each label as the rarest has, so that no label takes over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trainer.dataset import Row
from trainer.encoding import encode, predict
from trainer.errors import RefusedError
from trainer.strategies.base import Strategy, Work


class SelfTraining(Strategy, frozen=True, kw_only=True):
    """After each round the model labels texts for the next one."""

    rounds: int = 1
    """Trainings after the first."""
    threshold: float = 0.95
    """Confidence from which an answer counts as a label."""
    most: int = 2_000
    """Rows of one label that are added at most."""
    balanced: bool = True

    def prepare(self, work: Work) -> None:
        """There must be texts, and labels of whole texts without a target."""
        if not work.unlabelled:
            raise RefusedError(
                "self-training needs texts without labels: name files in the recipe's `unlabelled`"
            )
        if work.task.answer != "label":
            raise RefusedError(
                f"self-training gives labels to texts, which {work.task.name} has not"
            )
        work.extra["labelled"] = list(work.rows)

    def again(self, work: Work, done: int) -> bool:
        """Take the confident ones in."""
        if done > self.rounds:
            return False
        rows = self._asked(work, {row.text for row in work.extra["labelled"]})
        features = encode(rows, work.tokenizer, work.task, work.recipe)
        said = predict(work.model, features, work.collate)
        added = self._chosen(work.task.labels, rows, said.max(axis=1), said.argmax(axis=1))
        work.figures["self_labelled"] = float(len(added))
        work.restarted([*work.extra["labelled"], *added])
        return bool(added)

    def _asked(self, work: Work, known: set[str]) -> list[Row]:
        """The texts as rows; about a target where the task has one and the text names it."""
        targets = sorted({row.target for row in work.rows if row.target}, key=len, reverse=True)
        found = []
        for number, text in enumerate(dict.fromkeys(work.unlabelled)):
            if text in known:
                continue
            target = next((one for one in targets if one in text), None)
            if work.task.inputs == "pair" and target is None:
                continue
            found.append(Row(f"unlabelled-{number}", text, target, work.task.labels[0]))
        if not found:
            raise RefusedError("self-training finds no unlabelled text that it could ask about")
        return found

    def _chosen(
        self,
        labels: Sequence[str],
        rows: Sequence[Row],
        sure: NDArray[np.float32],
        said: NDArray[np.int64],
    ) -> list[Row]:
        by_label: dict[str, list[tuple[float, Row]]] = {label: [] for label in labels}
        for row, confidence, index in zip(rows, sure, said, strict=True):
            if confidence >= self.threshold:
                label = labels[int(index)]
                by_label[label].append((float(confidence), replace(row, label=label)))
        most = self.most
        if self.balanced:
            most = min([most, *(len(found) for found in by_label.values())])
        return [
            row
            for found in by_label.values()
            for _, row in sorted(found, key=lambda entry: -entry[0])[:most]
        ]
