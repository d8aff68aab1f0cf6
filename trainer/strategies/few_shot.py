"""Few-shot: the backbone learns to put like labels near each other, then a head is fitted.

As SetFit (Tunstall et al., 2022), with the supervised contrastive loss over whole batches
(Khosla et al., 2020) instead of sampled pairs: for 8 to 64 labels a class.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from trainer.encoding import batches, encode
from trainer.errors import RefusedError
from trainer.strategies.base import Loss, Strategy, Work

_BATCH: Final = 64


class FewShot(Strategy, frozen=True, kw_only=True):
    """A contrastive backbone, or the frozen one, and a logistic regression as its head."""

    contrastive: bool = True
    temperature: float = 0.1
    regularisation: float = 10.0
    """Of the logistic regression: its C, larger is freer."""

    def prepare(self, work: Work) -> None:
        """Only whole texts have one label."""
        if work.task.answer != "label":
            raise RefusedError(
                f"few-shot is for tasks with one label for a text, not {work.task.name}"
            )
        if not self.contrastive:
            work.model.backbone.requires_grad_(requires_grad=False)
        work.model.head.requires_grad_(requires_grad=not self.contrastive)

    def loss(self, work: Work, model: Any, batch: dict[str, Any], below: Loss) -> tuple[Any, Any]:
        """How much nearer rows of the same label are than others."""
        if not self.contrastive:
            return below(model, batch)
        inputs = {name: batch[name] for name in work.collate.inputs}
        vectors = torch.nn.functional.normalize(model(only_pooled=True, **inputs).float(), dim=-1)
        labels = batch["labels"]
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        same = (labels[:, None] == labels[None, :]) & ~own
        similar = (vectors @ vectors.T / self.temperature).masked_fill(own, -1e9)
        log_share = similar.log_softmax(dim=1)
        count = same.sum(dim=1)
        per_row = -(log_share * same).sum(dim=1) / count.clamp_min(1)
        some = (count > 0).to(per_row.dtype)
        return (per_row * some).sum() / some.sum().clamp_min(1), vectors

    def finish(self, work: Work) -> None:
        """Fit the head on the vectors of all rows."""
        features = encode(work.rows, work.tokenizer, work.task, work.recipe)
        vectors = pooled(work, features)
        labels = np.array([feature["labels"] for feature in features])
        found = LogisticRegression(C=self.regularisation, max_iter=1000).fit(vectors, labels)
        weight, bias = found.coef_, found.intercept_
        if len(found.classes_) == 2:  # one row says both: the log-odds of the second
            weight = np.concatenate([-weight / 2, weight / 2])
            bias = np.concatenate([-bias / 2, bias / 2])
        with torch.no_grad():
            work.model.head.weight.zero_()
            work.model.head.bias.fill_(-1e4)  # a label without rows is never said
            work.model.head.weight[found.classes_] = torch.tensor(weight, dtype=torch.float32)
            work.model.head.bias[found.classes_] = torch.tensor(bias, dtype=torch.float32)


@torch.inference_mode()
def pooled(work: Work, features: list[dict[str, Any]]) -> Any:
    """What the head sees of each row, float32 [rows, hidden]."""
    model = work.model.eval()
    device = model.head.weight.device
    found = np.zeros((len(features), model.head.in_features), np.float32)
    for rows in batches([len(feature["input_ids"]) for feature in features], _BATCH):
        batch = work.collate([features[row] for row in rows])
        inputs = {name: batch[name].to(device) for name in work.collate.inputs}
        found[rows] = model(only_pooled=True, **inputs).float().cpu().numpy()
    return found
