"""A real model artefact, made in a moment and answering predictably: word counts to three labels.

`good` words push to positive, `bad` words to negative; everything else is neutral.
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
WORDS: Final = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "explode"]


def make(store: str, version: str, scratch: Path, *, flip: bool = False) -> tuple[str, str]:
    """Write and publish an artefact; return its address and digest.

    With `flip`, good means bad: a version that can be told apart by its labels.
    """
    folder = scratch / version
    folder.mkdir(parents=True)
    _tokenizer().save(str(folder / artefact.TOKENIZER))
    name = artefact.graph_name("fp32")
    onnx.save(_graph(flip=flip), folder / name)
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
    digest = artefact.seal(folder, manifest)
    return artefact.publish(folder, store), digest


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


def _graph(*, flip: bool) -> onnx.ModelProto:
    table = np.zeros((len(WORDS), len(LABELS)), np.float32)
    good, bad = (0, 2) if flip else (2, 0)
    table[WORDS.index("good"), good] = 3
    table[WORDS.index("bad"), bad] = 3
    table[WORDS.index("[CLS]"), 1] = 1
    table[WORDS.index("explode")] = np.inf  # poison: logits that are not finite
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], ["logits"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
