"""Rows as tensors: the same tokens that the kernel's driver makes, padded for torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from kernel.artefact import Kind
from kernel.drivers.inputs import model_inputs
from schemas.tasks import Task
from trainer.dataset import Row
from trainer.recipe import Recipe

Feature = dict[str, Any]
"""`input_ids` and `token_type_ids` as lists of equal length; `labels` as an index, or as one for
each token; what strategies add, such as `teacher`, a distribution over the labels."""
IGNORED: Final = -100
"""Label of a token that is not the first piece of a word: no loss, no answer."""
_INFERENCE_BATCH: Final = 64


class Asked(Protocol):
    """What `predict` needs of a network."""

    inputs: list[str]
    head: torch.nn.Linear

    def __call__(self, **inputs: torch.Tensor) -> torch.Tensor:
        """The answer to a batch."""

    def eval(self) -> Any:
        """Without dropout."""

    def parameters(self) -> Iterator[Any]:
        """The weights."""


def kind(task: Task) -> Kind:
    """The kind of artefact that answers `task`."""
    if task.answer == "tags":
        return "token-classifier"
    if task.answer == "vector":
        return "embedder"
    return "pair-classifier" if task.inputs == "pair" else "text-classifier"


def encode(rows: Sequence[Row], tokenizer: Any, task: Task, recipe: Recipe) -> list[Feature]:
    """One feature for each row, cut to the length that `tokenizer` was told."""
    texts = [row.text for row in rows]
    if task.answer == "vector":
        return _encode_pairs(rows, tokenizer)
    if task.answer == "tags":
        index = {label: number for number, label in enumerate(task.labels)}
        return [
            {
                "input_ids": found.ids,
                "token_type_ids": found.type_ids,
                **_tagged(row, found.offsets, index),
            }
            for row, found in zip(rows, tokenizer.encode_batch(texts), strict=True)
        ]
    inputs = model_inputs(kind(task), recipe.marking, texts, [row.target for row in rows])
    return [
        {
            "input_ids": found.ids,
            "token_type_ids": found.type_ids,
            "labels": task.labels.index(row.label),
        }
        for row, found in zip(rows, tokenizer.encode_batch(inputs), strict=True)
    ]


def _encode_pairs(rows: Sequence[Row], tokenizer: Any) -> list[Feature]:
    """Text and what is near it, one behind the other: the collator makes rows of both."""
    near = tokenizer.encode_batch([row.target or "" for row in rows])
    return [
        {
            "input_ids": found.ids,
            "token_type_ids": found.type_ids,
            "near": {"input_ids": other.ids, "token_type_ids": other.type_ids},
            "labels": IGNORED,
        }
        for found, other in zip(
            tokenizer.encode_batch([row.text for row in rows]), near, strict=True
        )
    ]


def _tagged(
    row: Row, offsets: Sequence[tuple[int, int]], index: dict[str, int]
) -> dict[str, list[Any]]:
    """`labels` of the tokens, and of each word the token that answers for it (`first`)."""
    labels = [IGNORED] * len(offsets)
    first = first_pieces(row.words, offsets)
    for token, tag in zip(first, row.tags, strict=True):
        if token is not None:
            labels[token] = index[tag]
    return {"labels": labels, "first": first}


def first_pieces(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[int | None]:
    """Of each word, the token with its first characters; None where the text was cut before it.

    `offsets` are the tokens' first and last characters in the words joined by single spaces.
    """
    tokens = iter([(start, number) for number, (start, end) in enumerate(offsets) if end > start])
    token = next(tokens, None)
    found: list[int | None] = []
    begins = 0
    for word in words:
        while token is not None and token[0] < begins:
            token = next(tokens, None)
        inside = token is not None and token[0] < begins + len(word)
        found.append(token[1] if token is not None and inside else None)
        begins += len(word) + 1
    return found


class Collator:
    """Pads features to the longest and keeps the inputs that the model takes."""

    def __init__(self, inputs: Sequence[str], pad_id: int) -> None:
        self.inputs = inputs
        self._pad_id = pad_id

    def __call__(self, features: Sequence[Feature]) -> dict[str, torch.Tensor]:
        """Tensors of shape [rows, longest]; `labels` of shape [rows] or [rows, longest].

        Of pairs that are near each other, first all texts and then all that are near them.
        """
        if "near" in features[0]:
            features = [*features, *({**one["near"], "labels": IGNORED} for one in features)]
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
        kept["labels"] = _labels(features, shape)
        if "teacher" in features[0]:
            kept["teacher"] = _teacher(features, shape)
        if "part" in features[0]:
            kept["part"] = torch.tensor([feature["part"] for feature in features])
        return kept


def _labels(features: Sequence[Feature], shape: tuple[int, int]) -> torch.Tensor:
    if all(isinstance(feature["labels"], int) for feature in features):
        return torch.tensor([feature["labels"] for feature in features])
    labels = torch.full(shape, IGNORED)
    for row, feature in enumerate(features):
        own = feature["labels"]
        # Among parts that give tags, a text's one label stands at its first token.
        own = [own] if isinstance(own, int) else own
        labels[row, : len(own)] = torch.tensor(own)
    return labels


def _teacher(features: Sequence[Feature], shape: tuple[int, int]) -> torch.Tensor:
    said = [np.asarray(feature["teacher"], np.float32) for feature in features]
    if said[0].ndim == 1:
        return torch.from_numpy(np.stack(said))
    whole = np.zeros((*shape, said[0].shape[-1]), np.float32)
    for row, own in enumerate(said):
        whole[row, : len(own)] = own
    return torch.from_numpy(whole)


def pad_id(tokenizer: Any) -> int:
    """The id that pads; masked out, so that any other would do as well."""
    return int(tokenizer.token_to_id("[PAD]") or 0)


def batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, shortest first: padding is half the cost."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    for start in range(0, len(order), size):
        yield order[start : start + size]


def predict(model: Asked, features: Sequence[Feature], collate: Collator) -> NDArray[np.float32]:
    """Probabilities by torch, shape [decisions, labels]: a row's label, or each of its words' tags.

    Vectors of an embedder come as they are, [rows, hidden].
    """
    by_row = answers(model, features, collate)
    if "first" not in features[0]:
        return np.stack(by_row)
    return np.concatenate(
        [of_words(said, own["first"]) for said, own in zip(by_row, features, strict=True)]
    )


def of_words(said: NDArray[np.float32], first: Sequence[int | None]) -> NDArray[np.float32]:
    """Of `said` [tokens, tags], the rows of each word's first token, [words, tags].

    A word that was cut off belongs to no entity: the first tag, `O`, with certainty.
    """
    found = np.zeros((len(first), said.shape[1]), np.float32)
    for word, token in enumerate(first):
        if token is None:
            found[word, 0] = 1
        else:
            found[word] = said[token]
    return found


@torch.inference_mode()
def answers(
    model: Asked, features: Sequence[Feature], collate: Collator
) -> list[NDArray[np.float32]]:
    """What torch says to each row: [labels], or [tokens, labels], or a vector [hidden]."""
    model.eval()
    device = next(iter(model.parameters())).device
    found: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(features)
    for rows in batches([len(feature["input_ids"]) for feature in features], _INFERENCE_BATCH):
        asked = [{k: v for k, v in features[row].items() if k != "near"} for row in rows]
        batch = collate(asked)
        said = model(**{name: batch[name].to(device) for name in collate.inputs}).float().cpu()
        if getattr(model, "output", "logits") == "logits":
            said = said.softmax(dim=-1)
        for row, one in zip(rows, said.numpy(), strict=True):
            found[row] = one[: len(features[row]["input_ids"])] if one.ndim == 2 else one
    return found
