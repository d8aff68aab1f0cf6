"""Zero-shot: a text belongs to the label whose description is nearest in meaning."""

from __future__ import annotations

from typing import ClassVar

import torch

from trainer.encoding import IGNORED
from trainer.errors import RefusedError
from trainer.strategies.base import Strategy, Work
from trainer.strategies.few_shot import pooled


class ZeroShot(Strategy, frozen=True, kw_only=True):
    """The head holds the descriptions' vectors; no labelled row is learned from."""

    trains: ClassVar[bool] = False

    sharpness: float = 20.0
    """What cosines are multiplied by before the softmax."""

    def prepare(self, work: Work) -> None:
        """Write the vectors of the descriptions into the head."""
        task = work.task
        if task.answer != "label":
            raise RefusedError(f"zero-shot is for tasks with one label for a text, not {task.name}")
        said = [
            task.descriptions.get(label, label.replace("_", " ").replace("-", " "))
            for label in task.labels
        ]
        features = [
            {"input_ids": found.ids, "token_type_ids": found.type_ids, "labels": IGNORED}
            for found in work.tokenizer.encode_batch(said)
        ]
        vectors = torch.from_numpy(pooled(work, features))
        # A text's vector is not brought to length 1 before the head: its usual length is.
        usual = vectors.norm(dim=-1).mean()
        with torch.no_grad():
            unit = torch.nn.functional.normalize(vectors, dim=-1)
            work.model.head.weight.copy_(unit * self.sharpness / usual)
            work.model.head.bias.zero_()
