"""Structured pruning: fewer layers, narrower feed-forward parts, fewer heads, before training.

What is cut is chosen by size of weights, so that a resumed run cuts the same. Layers are kept at
even distances (Sanh et al., 2019; Michel et al., 2019 for heads). Distil from the whole model to
win back what was lost.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from msgspec import Meta

from trainer.errors import RefusedError
from trainer.strategies.base import Strategy, Work

Kept = Annotated[float, Meta(gt=0, le=1)]


class Prune(Strategy, frozen=True, kw_only=True):
    """Shares that are kept; a backbone with fewer heads cannot be a `start` later."""

    layers: int | None = None
    """How many are kept; None: all."""
    feed_forward: Kept = 1.0
    heads: Kept = 1.0

    def prepare(self, work: Work) -> None:
        """Cut."""
        backbone = work.model.backbone
        encoder = getattr(backbone, "encoder", None)
        if encoder is None or not hasattr(encoder, "layer"):
            raise RefusedError("prune knows backbones built like BERT, which this one is not")
        if self.layers is not None:
            self._cut_layers(backbone, self.layers)
        for layer in encoder.layer:
            if self.feed_forward < 1:
                _narrow(layer, max(1, round(_width(layer) * self.feed_forward)))
            if self.heads < 1:
                _drop_heads(layer.attention, self.heads)
        if self.feed_forward < 1:
            backbone.config.intermediate_size = _width(encoder.layer[0])
        work.figures["parameters"] = float(sum(one.numel() for one in backbone.parameters()))

    def _cut_layers(self, backbone: Any, kept: int) -> None:
        layers = backbone.encoder.layer
        if not 1 <= kept <= len(layers):
            raise RefusedError(f"prune: of {len(layers)} layers {kept} cannot be kept")
        # The lowest and the highest stay, the others at even distances between.
        at = [round(n * (len(layers) - 1) / max(1, kept - 1)) for n in range(kept)]
        backbone.encoder.layer = torch.nn.ModuleList([layers[number] for number in at])
        backbone.config.num_hidden_layers = kept


def _width(layer: Any) -> int:
    return int(layer.intermediate.dense.out_features)


def _narrow(layer: Any, width: int) -> None:
    """Keep the neurons of the feed-forward part whose weights in and out are largest."""
    first, second = layer.intermediate.dense, layer.output.dense
    strength = first.weight.norm(dim=1) * second.weight.norm(dim=0)
    kept = strength.topk(width).indices.sort().values
    layer.intermediate.dense = _linear(first, rows=kept)
    layer.output.dense = _linear(second, columns=kept)


def _drop_heads(attention: Any, share: float) -> None:
    """Keep the heads whose values reach the output most."""
    own, out = attention.self, attention.output.dense
    size = own.attention_head_size
    count = own.num_attention_heads
    by_head = own.value.weight.reshape(count, size, -1).norm(dim=(1, 2))
    by_head = by_head * out.weight.reshape(-1, count, size).norm(dim=(0, 2))
    kept = by_head.topk(max(1, round(count * share))).indices.sort().values
    columns = (kept[:, None] * size + torch.arange(size)).reshape(-1)
    for name in ("query", "key", "value"):
        setattr(own, name, _linear(getattr(own, name), rows=columns))
    attention.output.dense = _linear(out, columns=columns)
    own.num_attention_heads = len(kept)
    own.all_head_size = len(columns)


def _linear(
    old: torch.nn.Linear, rows: torch.Tensor | None = None, columns: torch.Tensor | None = None
) -> torch.nn.Linear:
    weight, bias = old.weight.detach(), old.bias.detach()
    if rows is not None:
        weight, bias = weight[rows], bias[rows]
    if columns is not None:
        weight = weight[:, columns]
    made = torch.nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(bias)
    return made
