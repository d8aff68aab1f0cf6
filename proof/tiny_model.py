"""A real model artefact, made in a moment and answering predictably: word counts to three labels.

`good` words push to positive, `bad` words to negative; everything else is neutral. Two words
are poison: `explode` gives numbers that are not finite, and `exhaust` asks ONNX Runtime for more
memory than an address space has, so that its allocation really fails.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from kernel import artefact
from kernel.artefact import Manifest

LABELS: Final = ["negative", "neutral", "positive"]
WORDS: Final = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "explode", "exhaust"]
_TOO_MANY: Final = 2**46
"""Of floats: 256 TiB, which no allocator promises, whatever the system overcommits."""


def make(
    store: str, version: str, scratch: Path, *, flip: bool = False, broken: str = ""
) -> tuple[str, str]:
    """Build and publish an artefact; return its address and digest."""
    folder, digest = build(version, scratch, flip=flip, broken=broken)
    return artefact.publish(folder, store), digest


def build(version: str, scratch: Path, *, flip: bool = False, broken: str = "") -> tuple[Path, str]:
    """Write an artefact below `scratch`; return its folder and digest.

    With `flip`, good means bad: a version that can be told apart by its labels. `broken` is a
    word that this version fails on, and others do not.
    """
    folder = scratch / version
    folder.mkdir(parents=True)
    _tokenizer().save(str(folder / artefact.TOKENIZER))
    name = artefact.graph_name("fp32")
    onnx.save(_graph(flip=flip, broken=broken), folder / name)
    manifest = Manifest(
        task="sentiment",
        version=version,
        kind="pair-classifier",
        labels=LABELS,
        max_tokens=64,
        precisions={"fp32": name},
        agreement={"fp32": 1.0},
        metrics={"accuracy": 1.0},
        files={},
    )
    return folder, artefact.seal(folder, manifest)


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token=WORDS[1])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def _graph(*, flip: bool, broken: str) -> onnx.ModelProto:
    table = np.zeros((len(WORDS), len(LABELS)), np.float32)
    good, bad = (0, 2) if flip else (2, 0)
    table[WORDS.index("good"), good] = 3
    table[WORDS.index("bad"), bad] = 3
    table[WORDS.index("[CLS]"), 1] = 1
    table[WORDS.index("explode")] = np.inf  # poison: logits that are not finite
    if broken:
        table[WORDS.index(broken)] = np.inf
    hunger = np.ones(len(WORDS), np.int64)
    hunger[WORDS.index("exhaust")] = _TOO_MANY
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], ["sums"], keepdims=0),
        # As many zeros as the hungriest word of the batch asks for: one, as a rule.
        helper.make_node("Gather", ["hunger", "input_ids"], ["asked"]),
        helper.make_node("ReduceMax", ["asked"], ["most"], keepdims=0),
        helper.make_node("Reshape", ["most", "axis"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("Add", ["sums", "zeros"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(hunger, "hunger"),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
