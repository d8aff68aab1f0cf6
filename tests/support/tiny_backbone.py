"""A backbone that learns in seconds: two narrow layers, fresh weights, the bundled vocabulary."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from tests.support.easy_labels import easy_rows
from trainer.recipe import Recipe

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def tiny_backbone(folder: Path, texts: Iterable[str] | None = None) -> Path:
    """Two layers of width 32, and a tokenizer that knows the words of `texts` and all letters."""
    texts = [row.text for row in easy_rows()] if texts is None else texts
    words = sorted({word for text in texts for word in re.findall(r"\w+|\S", text.lower())})
    letters = [*string.ascii_lowercase, *(f"##{one}" for one in string.ascii_lowercase)]
    signs = list("*,.:-'#$")
    vocabulary = dict.fromkeys([*SPECIAL, *words, *letters, *signs])
    tokenizer = Tokenizer(
        models.WordPiece(
            {piece: number for number, piece in enumerate(vocabulary)},
            unk_token="[UNK]",  # noqa: S106  (a token of text)
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", SPECIAL.index("[CLS]")), ("[SEP]", SPECIAL.index("[SEP]"))],
    )
    torch.manual_seed(0)
    model = BertModel(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=64,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"})
    )
    return folder


def quick(backbone: Path, strategy: str = "full", **fields: Any) -> Recipe:
    """A recipe that learns easy labels on `backbone` in seconds."""
    chosen: dict[str, Any] = {
        "max_steps": 60,
        "batch_size": 16,
        "learning_rate": 2e-3,
        "head_learning_rate": 1e-2,
        "held_back": 0.25,
        "max_tokens": 32,
        "checkpoint_steps": 1000,
        "mixed_precision": "off",
    }
    return Recipe(name="quick", backbone=str(backbone), strategy=strategy, **(chosen | fields))
