"""A sense of capitals for a backbone that reads lower case only, without another driver.

Names begin with a capital, and most backbones that fit two cores were taught on lower case. Each
word piece gets two more forms, `Piece` and `PIECE`, with the piece's own vector plus a learned
one that says "begins with a capital" or "all capitals". Texts are cut into the same pieces as
before, since every piece has all its forms. Once trained, the sums are written out as an
ordinary embedding matrix: serving sees a tokenizer and a graph like any other.
"""

from __future__ import annotations

import json
from typing import Any, Final

import torch
from tokenizers import Tokenizer

from trainer.errors import TrainerError

_LOWER, _TITLE, _UPPER = range(3)
_CONTINUES: Final = "##"


def cased(tokenizer: Any) -> Any:
    """`tokenizer` with every form of each piece, keeping capitals.

    Raises:
        TrainerError: it is not one that lowers capitals, as BERT's uncased ones do.
    """
    said = json.loads(tokenizer.to_str())
    normaliser = said.get("normalizer") or {}
    if said["model"]["type"] != "WordPiece" or not normaliser.get("lowercase"):
        raise TrainerError(
            "cased = true is for backbones with an uncased WordPiece tokenizer: leave it out"
        )
    vocabulary: dict[str, int] = said["model"]["vocab"]
    for piece, _, _ in _forms(vocabulary):
        vocabulary[piece] = len(vocabulary)
    said["normalizer"] = {**normaliser, "lowercase": False, "strip_accents": True}
    made = Tokenizer.from_str(json.dumps(said))
    if tokenizer.truncation:
        made.enable_truncation(
            tokenizer.truncation["max_length"], strategy=tokenizer.truncation["strategy"]
        )
    return made


def _forms(vocabulary: dict[str, int]) -> list[tuple[str, int, int]]:
    """Each new form, the id of its piece, and which form it is; in the pieces' order."""
    found: list[tuple[str, int, int]] = []
    known = set(vocabulary)
    for piece, number in sorted(vocabulary.items(), key=lambda entry: entry[1]):
        prefix = _CONTINUES if piece.startswith(_CONTINUES) else ""
        core = piece[len(prefix) :]
        if piece.startswith("[") and piece.endswith("]") and len(piece) > 2:
            continue
        for form, kind in ((core[:1].upper() + core[1:], _TITLE), (core.upper(), _UPPER)):
            if form != core and len(form) == len(core) and prefix + form not in known:
                known.add(prefix + form)
                found.append((prefix + form, number, kind))
    return found


class CasedEmbedding(torch.nn.Module):
    """Vectors of pieces in all their forms."""

    piece: torch.Tensor
    kind: torch.Tensor

    def __init__(self, base: torch.nn.Embedding, vocabulary: dict[str, int]) -> None:
        super().__init__()
        self.base = base
        self.case = torch.nn.Embedding(3, base.embedding_dim)
        torch.nn.init.zeros_(self.case.weight)
        # The forms stand behind the base's own pieces, in the order in which `cased` added them.
        own = {
            piece: number for piece, number in vocabulary.items() if number < base.num_embeddings
        }
        added = _forms(own)
        piece = list(range(base.num_embeddings)) + [number for _, number, _ in added]
        kind = [_LOWER] * base.num_embeddings + [kind for _, _, kind in added]
        self.register_buffer("piece", torch.tensor(piece), persistent=False)
        self.register_buffer("kind", torch.tensor(kind), persistent=False)

    @property
    def weight(self) -> torch.Tensor:
        """The vectors of the pieces as pre-trained."""
        return self.base.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Vectors [..., hidden] of ids [...]."""
        found: torch.Tensor = self.base(self.piece[ids]) + self.case(self.kind[ids])
        return found

    def whole(self) -> torch.Tensor:
        """The vectors of all forms, [vocabulary, hidden]."""
        return self.base.weight[self.piece] + self.case.weight[self.kind]

    def folded(self) -> torch.nn.Embedding:
        """The same vectors as one matrix."""
        whole = self.whole().detach()
        return torch.nn.Embedding(len(whole), whole.shape[1], _weight=whole)


def give(backbone: Any, tokenizer: Any) -> None:
    """Let `backbone` read what `tokenizer`, made by `cased`, cuts texts into."""
    embedding = CasedEmbedding(backbone.get_input_embeddings(), tokenizer.get_vocab())
    backbone.set_input_embeddings(embedding)


def fold(network: Any) -> None:
    """Write the learned forms out, in every backbone of `network` that has them."""
    for member in getattr(network, "members", [network]):
        embedding = member.backbone.get_input_embeddings()
        if isinstance(embedding, CasedEmbedding):
            member.backbone.set_input_embeddings(embedding.folded())
            member.backbone.config.vocab_size = len(embedding.piece)
