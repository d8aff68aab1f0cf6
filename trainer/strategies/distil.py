"""Distillation: learn what a larger teacher says, not only what is right (Hinton et al., 2015)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kernel import artefact
from kernel.artefact import ArtefactError
from trainer import scoring
from trainer.dataset import Row
from trainer.encoding import IGNORED, Feature
from trainer.errors import RefusedError
from trainer.strategies.base import Loss, Strategy, Work


class Distil(Strategy, frozen=True, kw_only=True):
    """Teachers are artefacts of the same task; several are averaged."""

    teachers: list[str]
    weight: float = 0.7
    """Of the teacher's word; the rest is the label's."""
    temperature: float = 2.0
    unlabelled: int = 20_000
    """Texts without labels on which the teacher's word alone is learned, at most."""

    def features(self, work: Work, features: list[Feature]) -> list[Feature]:
        """With `teacher`, its probabilities, on every feature."""
        said = np.mean([self._asked(work, Path(one), work.rows) for one in self.teachers], axis=0)
        if work.task.answer == "tags":
            return [
                {**feature, "teacher": own}
                for feature, own in zip(features, _by_token(features, said), strict=True)
            ]
        return [{**feature, "teacher": own} for feature, own in zip(features, said, strict=True)]

    def prepare(self, work: Work) -> None:
        """Take texts without labels in, under what the teacher says of them."""
        if not self.teachers:
            raise RefusedError("distil needs teachers: folders of artefacts of the same task")
        if work.task.answer != "label" or work.task.inputs != "text" or not work.unlabelled:
            return
        texts = list(dict.fromkeys(work.unlabelled))[: self.unlabelled]
        rows = [
            Row(f"unlabelled-{n}", text, None, work.task.labels[0]) for n, text in enumerate(texts)
        ]
        said = np.mean([self._asked(work, Path(one), rows) for one in self.teachers], axis=0)
        labels = [work.task.labels[index] for index in said.argmax(axis=1)]
        work.restarted(
            [*work.rows, *(replace(row, label=one) for row, one in zip(rows, labels, strict=True))]
        )

    def loss(self, work: Work, model: Any, batch: dict[str, Any], below: Loss) -> tuple[Any, Any]:  # noqa: ARG002
        """The label's loss, and how far the answer is from the teacher's."""
        loss, logits = below(model, batch)
        teacher = batch["teacher"][: len(logits)].clamp_min(1e-6)
        softer = (teacher.log() / self.temperature).log_softmax(dim=-1)
        said = (logits.float() / self.temperature).log_softmax(dim=-1)
        apart = torch.nn.functional.kl_div(said, softer, log_target=True, reduction="none").sum(-1)
        asked = (batch["labels"][: len(logits)] != IGNORED).to(apart.dtype)
        distance = (apart * asked).sum() / asked.sum().clamp_min(1) * self.temperature**2
        return (1 - self.weight) * loss + self.weight * distance, logits

    def _asked(self, work: Work, teacher: Path, rows: list[Row]) -> NDArray[np.float32]:
        """The teacher's probabilities in the task's order of labels."""
        try:
            labels = artefact.read(teacher).labels
        except ArtefactError as error:
            raise RefusedError(f"the teacher cannot be asked: {error}") from error
        if set(labels) != set(work.task.labels):
            raise RefusedError(
                f"the teacher {teacher} knows {', '.join(labels)}, the task "
                f"{', '.join(work.task.labels)}: they must be the same"
            )
        said = scoring.scores(teacher, rows, "fp32")
        return said[:, [labels.index(label) for label in work.task.labels]]


def _by_token(features: list[Feature], said: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What was said of words, at each word's first token."""
    found = []
    at = 0
    for feature in features:
        own = np.full((len(feature["input_ids"]), said.shape[1]), 1 / said.shape[1], np.float32)
        for token in feature["first"]:
            if token is not None:
                own[token] = said[at]
            at += 1
        found.append(own)
    return found
