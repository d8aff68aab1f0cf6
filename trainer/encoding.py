"""Rows as tensors: the same tokens that the kernel's driver makes, padded for torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from kernel.artefact import Kind
from kernel.drivers.inputs import model_inputs
from schemas.tasks import Task
from trainer.dataset import Row
from trainer.network import TextClassifier
from trainer.recipe import Recipe

Feature = dict[str, Any]
"""`input_ids` and `token_type_ids` as lists of equal length, `labels` as an index."""
_INFERENCE_BATCH: Final = 64


def kind(task: Task) -> Kind:
    """The kind of artefact that answers `task`."""
    return "pair-classifier" if task.inputs == "pair" else "text-classifier"


def encode(rows: Sequence[Row], tokenizer: Any, task: Task, recipe: Recipe) -> list[Feature]:
    """One feature for each row, cut to the length that `tokenizer` was told."""
    inputs = model_inputs(
        kind(task), recipe.marking, [row.text for row in rows], [row.target for row in rows]
    )
    return [
        {
            "input_ids": found.ids,
            "token_type_ids": found.type_ids,
            "labels": task.labels.index(row.label),
        }
        for row, found in zip(rows, tokenizer.encode_batch(inputs), strict=True)
    ]


class Collator:
    """Pads features to the longest and keeps the inputs that `model` takes."""

    def __init__(self, model: TextClassifier, pad_id: int) -> None:
        self.inputs = model.inputs
        self._pad_id = pad_id

    def __call__(self, features: Sequence[Feature]) -> dict[str, torch.Tensor]:
        """Tensors of shape [rows, longest], and `labels` of shape [rows]."""
        shape = (len(features), max(len(feature["input_ids"]) for feature in features))
        batch = {
            "input_ids": torch.full(shape, self._pad_id),
            "attention_mask": torch.zeros(shape, dtype=torch.long),
            "token_type_ids": torch.zeros(shape, dtype=torch.long),
        }
        for row, feature in enumerate(features):
            length = len(feature["input_ids"])
            batch["input_ids"][row, :length] = torch.tensor(feature["input_ids"])
            batch["token_type_ids"][row, :length] = torch.tensor(feature["token_type_ids"])
            batch["attention_mask"][row, :length] = 1
        kept = {name: batch[name] for name in self.inputs}
        return kept | {"labels": torch.tensor([feature["labels"] for feature in features])}


def pad_id(tokenizer: Any) -> int:
    """The id that pads; masked out, so that any other would do as well."""
    return int(tokenizer.token_to_id("[PAD]") or 0)


def batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, shortest first: padding is half the cost."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    for start in range(0, len(order), size):
        yield order[start : start + size]


@torch.inference_mode()
def predict(
    model: TextClassifier, features: Sequence[Feature], collate: Collator
) -> NDArray[np.float32]:
    """Probabilities by torch, shape [rows, labels]."""
    model.eval()
    device = next(model.parameters()).device
    probabilities = np.zeros((len(features), model.head.out_features), np.float32)
    for rows in batches([len(feature["input_ids"]) for feature in features], _INFERENCE_BATCH):
        batch = collate([features[row] for row in rows])
        batch.pop("labels")
        logits = model(**{name: tensor.to(device) for name, tensor in batch.items()})
        probabilities[rows] = logits.float().softmax(dim=1).cpu().numpy()
    return probabilities
