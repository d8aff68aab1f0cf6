"""The networks that are trained: a backbone, and what makes its tokens an answer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import torch
from safetensors.torch import load_file, save_file

HEAD: Final = "head.safetensors"
_INIT_STD: Final = 0.02


class Network(torch.nn.Module):
    """A backbone and a linear head; which tokens the head sees is the subclass's.

    Mean pooling is how the bundled backbone was pre-trained (Reimers and Gurevych, 2019); over
    the first token's pooler it gained about a point of accuracy here and does not collapse at
    higher learning rates.
    """

    output: str = "logits"
    """Name of the exported graph's output."""

    def __init__(self, backbone: Any, labels: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = torch.nn.Dropout(dropout)
        self.head = torch.nn.Linear(backbone.config.hidden_size, labels)
        torch.nn.init.normal_(self.head.weight, std=_INIT_STD)
        torch.nn.init.zeros_(self.head.bias)
        self.inputs = inputs_of(backbone)
        """Names of the tensors that `forward` takes."""
        for name, weight in backbone.named_parameters():
            if "pooler" in name.split("."):
                weight.requires_grad_(requires_grad=False)  # it is not asked

    def tokens(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The backbone's vectors [batch, length, hidden]."""
        found: torch.Tensor = self.backbone(**inputs).last_hidden_state
        return found

    def pooled(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The mean over the tokens that are not padding, [batch, hidden]."""
        tokens = self.tokens(inputs)
        mask = inputs["attention_mask"].unsqueeze(-1).to(tokens.dtype)
        return (tokens * mask).sum(dim=1) / mask.sum(dim=1)

    def save(self, folder: Path) -> None:
        """Write backbone and head as safetensors, and the backbone's config."""
        self.backbone.save_pretrained(folder)
        save_file(
            {name: tensor.contiguous() for name, tensor in self.head.state_dict().items()},
            folder / HEAD,
        )


class TextClassifier(Network):
    """Logits over the labels for each text."""

    def forward(
        self,
        mix: tuple[torch.Tensor, float] | None = None,
        only_pooled: bool = False,
        **inputs: torch.Tensor,
    ) -> torch.Tensor:
        """Logits [batch, labels] from int64 tensors of shape [batch, length].

        `mix` is a permutation [batch] and the share that each row keeps of itself;
        `only_pooled` asks for what the head would see, [batch, hidden].
        """
        mean = self.pooled(inputs)
        if only_pooled:
            return mean
        if mix is not None:
            other, share = mix
            mean = share * mean + (1 - share) * mean[other]
        logits: torch.Tensor = self.head(self.dropout(mean))
        return logits


class TokenClassifier(Network):
    """Logits over the tags for each token."""

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Logits [batch, length, tags] from int64 tensors of shape [batch, length]."""
        logits: torch.Tensor = self.head(self.dropout(self.tokens(inputs)))
        return logits


class Embedder(Network):
    """A vector of length 1 for each text: near in meaning is near by cosine.

    The head stays unused; it is there so that all networks are saved alike.
    """

    output = "vectors"

    def __init__(self, backbone: Any, labels: int, dropout: float) -> None:
        super().__init__(backbone, max(1, labels), dropout)
        self.head.requires_grad_(requires_grad=False)

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Vectors [batch, hidden] from int64 tensors of shape [batch, length]."""
        return torch.nn.functional.normalize(self.pooled(inputs), dim=-1)


class Ensemble(torch.nn.Module):
    """Several networks of one task that answer together: the mean of their probabilities."""

    output = "logits"
    head: torch.nn.Linear

    def __init__(self, members: list[Any]) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList(members)
        self.inputs = members[0].inputs
        labels = members[0].head.out_features
        self.head = torch.nn.Linear(labels, labels)
        """Passes on what the members say, until a temperature is folded into it."""
        torch.nn.init.eye_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Logarithms of the mean probabilities, in the shape of a member's logits."""
        said = torch.stack([member(**inputs).softmax(dim=-1) for member in self.members])
        logits: torch.Tensor = self.head(said.mean(dim=0).clamp_min(1e-12).log())
        return logits

    def save(self, folder: Path) -> None:
        """Write each member to a folder of its own."""
        for number, member in enumerate(self.members):
            cast("Network", member).save(folder / f"member-{number}")


def inputs_of(backbone: Any) -> list[str]:
    """Names of the tensors that `backbone` takes."""
    takes = inspect.signature(backbone.forward).parameters
    return [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in takes]


def load_head(network: Network, folder: Path) -> bool:
    """Take the head that `save` left in `folder`; False where there is none of as many labels."""
    path = folder / HEAD
    if not path.is_file():
        return False
    found = load_file(path)
    if found["weight"].shape != network.head.weight.shape:
        return False
    network.head.load_state_dict(found)
    return True
