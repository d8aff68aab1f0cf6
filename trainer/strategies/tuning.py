"""Tuning of few weights, by peft: the backbone stays, small additions learn."""

from __future__ import annotations

from typing import Any, Literal

import torch
from peft import LoraConfig, PrefixTuningConfig, TaskType, get_peft_model

from trainer.encoding import Collator, pad_id
from trainer.errors import RefusedError
from trainer.strategies.base import Strategy, Work


class Lora(Strategy, frozen=True, kw_only=True):
    """Low-rank additions to the attention's matrices (Hu et al., 2022); merged once trained."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    modules: Literal["attention", "all-linear"] = "attention"

    def prepare(self, work: Work) -> None:
        """Wrap the backbone."""
        chosen = ["query", "key", "value"] if self.modules == "attention" else "all-linear"
        config = LoraConfig(
            r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=chosen
        )
        try:
            work.model.backbone = get_peft_model(work.model.backbone, config)
        except ValueError as error:
            raise RefusedError(
                f"lora finds no layers called {chosen} in this backbone; "
                'set modules = "all-linear" in [options.lora]'
            ) from error

    def finish(self, work: Work) -> None:
        """Add what was learned to the backbone's own matrices."""
        for member in getattr(work.model, "members", [work.model]):
            member.backbone = member.backbone.merge_and_unload()


class Prefix(Strategy, frozen=True, kw_only=True):
    """Learned keys and values before each layer's own (Li and Liang, 2021)."""

    tokens: int = 16
    project: bool = False
    """Learn them through a small network, as the paper does for stability."""

    def prepare(self, work: Work) -> None:
        """Wrap the backbone."""
        config = PrefixTuningConfig(
            task_type=TaskType.FEATURE_EXTRACTION,
            num_virtual_tokens=self.tokens,
            prefix_projection=self.project,
        )
        wrapped = get_peft_model(work.model.backbone, config)
        # peft's second name for the word vectors, which prefixes do not use, cannot be saved.
        wrapped.word_embeddings = None
        work.model.backbone = wrapped
        # peft leaves token types out beside a prefix; so must whoever asks the graph.
        work.model.inputs = [name for name in work.model.inputs if name != "token_type_ids"]
        work.collate = Collator(work.model.inputs, pad_id(work.tokenizer))


class Adapter(Strategy, frozen=True, kw_only=True):
    """A narrow network behind the feed-forward part of each layer (Pfeiffer et al., 2021).

    peft has no such adapters, so they are written here; they stay in the exported graph.
    """

    width: int = 64

    def prepare(self, work: Work) -> None:
        """Freeze the backbone and put an adapter behind each layer's last matrix."""
        backbone = work.model.backbone
        backbone.requires_grad_(requires_grad=False)
        hidden = backbone.config.hidden_size
        found = [
            parent
            for name, parent in backbone.named_modules()
            if name.endswith(".output") and "attention" not in name and hasattr(parent, "dense")
        ]
        if not found:
            raise RefusedError(
                "adapter knows backbones built like BERT, which this one is not: use lora with "
                'modules = "all-linear"'
            )
        for parent in found:
            parent.dense = _Adapted(parent.dense, hidden, self.width)


class _Adapted(torch.nn.Module):
    def __init__(self, dense: Any, hidden: int, width: int) -> None:
        super().__init__()
        self.dense = dense
        self.down = torch.nn.Linear(hidden, width)
        self.up = torch.nn.Linear(width, hidden)
        torch.nn.init.zeros_(self.up.weight)  # it begins as if it were not there
        torch.nn.init.zeros_(self.up.bias)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """States [..., hidden] of the layer, and what the adapter adds."""
        out: torch.Tensor = self.dense(states)
        added: torch.Tensor = self.up(torch.nn.functional.gelu(self.down(out)))
        return out + added
