"""Masked-language pre-training on texts without labels, before fine-tuning.

"Don't stop pretraining" (Gururangan et al., 2020): first the feed's own words, then the task.
Loss and logits are of the masked tokens alone: the vocabulary is the costliest matrix there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import torch
from safetensors.torch import load_model, save_model

from trainer import distributed
from trainer.encoding import IGNORED, Feature, pad_id
from trainer.errors import RefusedError
from trainer.network import inputs_of
from trainer.strategies.base import Strategy, Work

_SHOWN: Final = 0.8
"""Share of the chosen tokens that the mask token hides; half of the rest is replaced, half kept."""


class MaskedLanguage(Strategy, frozen=True, kw_only=True):
    """Pre-train the backbone on the recipe's `unlabelled` texts and the labelled ones."""

    epochs: float = 1.0
    max_steps: int = -1
    learning_rate: float = 1e-4
    batch_size: int = 32
    max_tokens: int = 96
    share: float = 0.15
    """Of the tokens that are to be guessed."""
    most: int = 200_000
    """Texts that are read at most."""

    def prepare(self, work: Work) -> None:
        """Pre-train, or take what an earlier life of this run has pre-trained."""
        model = MaskedLanguageModel(work.model.backbone, work.tokenizer.get_vocab_size())
        end = work.folder / "mlm.safetensors"
        if end.exists():
            load_model(model, end)
        else:
            self._pretrain(work, model)
            if distributed.is_first():
                end.parent.mkdir(parents=True, exist_ok=True)
                partial = end.with_suffix(".partial")
                save_model(model, str(partial))
                partial.replace(end)
            distributed.meet()
        work.model.backbone = model.backbone
        work.masked_language = model

    def _pretrain(self, work: Work, model: MaskedLanguageModel) -> None:
        mask = work.tokenizer.token_to_id("[MASK]")
        if mask is None:
            raise RefusedError("mlm needs a backbone whose tokenizer has [MASK]")
        texts = [*work.unlabelled, *(row.text for row in work.rows)]
        texts = list(dict.fromkeys(texts))[: self.most]
        features = [
            {
                "input_ids": found.ids[: self.max_tokens],
                "token_type_ids": found.type_ids[: self.max_tokens],
                "special": found.special_tokens_mask[: self.max_tokens],
            }
            for found in work.tokenizer.encode_batch(texts)
            if len(found.ids) > sum(found.special_tokens_mask)
        ]
        recipe = msgspec.structs.replace(
            work.recipe,
            epochs=self.epochs,
            max_steps=self.max_steps,
            learning_rate=self.learning_rate,
            head_learning_rate=self.learning_rate * 5,
            batch_size=self.batch_size,
            layer_decay=1.0,
            warmup=0.05,
        )
        collate = _Masking(inputs_of(model.backbone), pad_id(work.tokenizer), mask, self.share)
        work.pretrain(work, model, features, collate, recipe)


class MaskedLanguageModel(torch.nn.Module):
    """A backbone that guesses hidden tokens; the guesses share the matrix of word vectors."""

    def __init__(self, backbone: Any, vocabulary: int) -> None:
        super().__init__()
        hidden = backbone.config.hidden_size
        self.backbone = backbone
        self.head = torch.nn.Sequential(
            torch.nn.Linear(hidden, hidden), torch.nn.GELU(), torch.nn.LayerNorm(hidden)
        )
        self.head_bias = torch.nn.Parameter(torch.zeros(vocabulary))

    def forward(self, labels: torch.Tensor, **inputs: torch.Tensor) -> Any:
        """`loss` and `logits` [guessed, vocabulary]; labels [batch, length], -100 where shown."""
        states = self.backbone(**inputs).last_hidden_state
        asked = labels != IGNORED
        logits = self.guesses(states[asked])
        loss = torch.nn.functional.cross_entropy(logits, labels[asked])
        return SimpleNamespace(loss=loss, logits=logits)

    def guesses(self, states: torch.Tensor) -> torch.Tensor:
        """Logits [..., vocabulary] for states [..., hidden]."""
        embedding = self.backbone.get_input_embeddings()
        weight = embedding.whole() if hasattr(embedding, "whole") else embedding.weight
        said: torch.Tensor = self.head(states) @ weight.T + self.head_bias[: len(weight)]
        return said


class _Masking:
    """Pads, and hides some tokens anew each time (Devlin et al., 2019)."""

    def __init__(self, inputs: Sequence[str], pad: int, mask: int, share: float) -> None:
        self.inputs = inputs
        self._pad = pad
        self._mask = mask
        self._share = share

    def __call__(self, features: Sequence[Feature]) -> dict[str, torch.Tensor]:
        """Tensors of shape [rows, longest], `labels` among them."""
        shape = (len(features), max(len(feature["input_ids"]) for feature in features))
        ids = torch.full(shape, self._pad)
        seen = torch.zeros(shape, dtype=torch.long)
        types = torch.zeros(shape, dtype=torch.long)
        special = torch.ones(shape, dtype=torch.bool)
        for row, feature in enumerate(features):
            length = len(feature["input_ids"])
            ids[row, :length] = torch.tensor(feature["input_ids"])
            types[row, :length] = torch.tensor(feature["token_type_ids"])
            special[row, :length] = torch.tensor(feature["special"], dtype=torch.bool)
            seen[row, :length] = 1
        chosen = (torch.rand(shape) < self._share) & ~special
        if not chosen.any():  # a loss of nothing is not a number
            chosen[0, int((~special[0]).nonzero()[0])] = True
        labels = torch.where(chosen, ids, IGNORED)
        dice = torch.rand(shape)
        ids = torch.where(chosen & (dice < _SHOWN), self._mask, ids)
        others = ids[~special]
        swapped = chosen & (dice >= (1 + _SHOWN) / 2)
        ids[swapped] = others[torch.randint(len(others), (int(swapped.sum()),))]
        batch = {"input_ids": ids, "attention_mask": seen, "token_type_ids": types}
        return {name: batch[name] for name in self.inputs} | {"labels": labels}
