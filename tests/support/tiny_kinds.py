"""One real, tiny model of each kind, whose answers can be worked out by hand.

Each graph looks words up in a table and adds up, so that padding, windows and pooling show in
the numbers. `forever` is a word that keeps a graph busy for years, operator by operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from kernel import artefact
from kernel.artefact import Kind, Manifest, Windows

WORDS: Final = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "good",
    "bad",
    "ada",
    "lovelace",
    "london",
    "explode",
    "forever",
]
LABELS: Final = ["negative", "neutral", "positive"]
TAGS: Final = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
ROUNDS: Final = 2**40
"""Of `forever`."""


def table(kind: Kind) -> NDArray[np.float32]:
    """What each word adds: shape [words, outputs]."""
    width = {"token-classifier": len(TAGS), "embedder": 4, "reranker": 1}.get(kind, len(LABELS))
    found = np.zeros((len(WORDS), width), np.float32)

    def says(word: str, place: int, strength: float) -> None:
        found[WORDS.index(word), place] = strength

    if kind == "token-classifier":
        found[:, 0] = 1
        for word, tag in (("ada", "B-PER"), ("lovelace", "I-PER"), ("london", "B-LOC")):
            says(word, TAGS.index(tag), 5)
        found[0] = np.nan  # what is said to padding must not matter
    elif kind == "embedder":
        says("good", 0, 1)
        says("bad", 1, 1)
        says("[UNK]", 2, 1)
        says("[CLS]", 3, 0.5)
    elif kind == "reranker":
        says("good", 0, 1)
        says("bad", 0, -1)
    else:
        says("good", 2, 3)
        says("bad", 0, 3)
        says("[CLS]", 1, 1)
    found[WORDS.index("explode")] = np.inf
    return found


def make(folder: Path, kind: Kind, /, *, opset: int = 18, **fields: Any) -> Path:
    """Write an artefact of `kind`; `fields` are those of its manifest that differ."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer().save(str(folder / artefact.TOKENIZER))
    name = artefact.graph_name("fp32")
    onnx.save(_graph(kind, opset), folder / name)
    labels: Sequence[str] = LABELS if kind.endswith("-classifier") else ()
    manifest = Manifest(
        **{
            "task": kind,
            "version": "v1",
            "kind": kind,
            "labels": list(TAGS if kind == "token-classifier" else labels),
            "max_tokens": 16,
            "windows": Windows(),
            "precisions": {"fp32": name},
            "agreement": {"fp32": 1.0},
            "metrics": {},
            "files": {},
            **fields,
        }
    )
    artefact.seal(folder, manifest)
    return folder


def tokenizer() -> Tokenizer:
    """Words at their places in `WORDS`."""
    made = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token=WORDS[1])
    )
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return made


def _graph(kind: Kind, opset: int) -> onnx.ModelProto:
    rounds = np.zeros(len(WORDS), np.int64)
    rounds[WORDS.index("forever")] = ROUNDS
    per_token = kind in {"token-classifier", "embedder"}
    width = table(kind).shape[1]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], ["sums"], keepdims=0),
        helper.make_node("Gather", ["rounds", "input_ids"], ["each"]),
        helper.make_node("ReduceMax", ["each"], ["most"], keepdims=0),
        helper.make_node("Loop", ["most", "true", "nothing"], ["idle"], body=_idle()),
        helper.make_node("Add", ["rows" if per_token else "sums", "idle"], ["logits"]),
    ]
    shape = ["batch", "tokens", width] if per_token else ["batch", width]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(table(kind), "table"),
            numpy_helper.from_array(rounds, "rounds"),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
            numpy_helper.from_array(np.array(True), "true"),
            numpy_helper.from_array(np.array(0, np.float32), "nothing"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def _idle() -> onnx.GraphProto:
    """The body of a loop that does nothing, round by round."""
    return helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes"]),
            helper.make_node("Abs", ["before"], ["after"]),
        ],
        "idle",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, []),
        ],
    )


def flat() -> onnx.ModelProto:
    """A graph that gives one number for each text and no axis for it."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["numbers", "axis"], ["sums"], keepdims=0),
        ],
        "flat",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(np.array([1], np.int64), "axis")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
