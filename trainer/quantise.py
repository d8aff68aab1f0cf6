"""Dynamic int8 with one scale for each token, so that one loud token costs the others nothing.

ONNX Runtime's own dynamic quantisation takes one scale for a whole batch of activations.
On the bundled backbone that changed 3.5 % of the labels of a freshly tuned classifier: some
dimensions of some tokens are ten times louder than all others. Here each constant matrix
product becomes

    scale[token] = widest value of the token / levels          (as the values pass)
    y = (round(x / scale) + zero) @ int8 weights               (MatMulIntegerToFloat)
    y * scale[token]

with one scale per output channel for the weights, and a zero point that calibration rows
choose once for each input: what leaves GELU is hardly ever negative, and a symmetric code
would waste half of its levels on it. Where that is not close enough, the loudest input
dimensions can stay in fp32 (`loud`), as a small product beside the large one.

Weights use 7 of the 8 bits. A processor with AVX2 and without VNNI adds two products of a code
and a weight in 16 bits, and what does not fit there is cut off without a word: 2 x 255 x 127
does not, 2 x 255 x 64 does. So an artefact that was made on one machine says the same on any
other. What the bit costs is won back by choosing each channel's scale for the least squared
error, where a few large weights would waste the levels of all others.

Sources: per-token dynamic quantisation as in ZeroQuant (Yao et al., 2022); outlier
dimensions kept in higher precision as in LLM.int8() (Dettmers et al., 2022); the reduced
range of weights as in ONNX Runtime's guide to quantisation (`reduce_range`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_LEVELS: Final = 255
_WEIGHTS: Final = 64
"""Largest code of a weight: two products with 255 must fit in 16 bits."""
_CLIPS: Final = np.linspace(0.7, 1.0, 31, dtype=np.float32)
"""Shares of a channel's largest weight that are tried as the end of its scale."""
_LOUD: Final = 4.0
"""A dimension this many times louder than the median one is worth its own product."""
_CONTRIB: Final = "com.microsoft"

Batch = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Range:
    """What calibration saw of one activation."""

    zero: int
    """Zero point, in [1, 254], that gives the finest scale on average."""
    loudness: NDArray[np.float32]
    """Largest absolute value of each dimension, shape [dimensions]."""


def int8(source: Path, target: Path, batches: Iterable[Batch], *, loud: int = 0) -> None:
    """Write the int8 form of the fp32 graph `source` to `target`.

    `batches` are calibration inputs by graph input name, each of shape [rows, length].
    Up to `loud` dimensions of each input stay in fp32, where they stand out.
    """
    model = onnx.load(str(source))
    products = _products(model)
    ranges = _calibrate(model, list(dict.fromkeys(node.input[0] for node in products)), batches)
    _Writer(model, ranges, loud).replace(products)
    onnx.save(model, str(target))


def _products(model: Any) -> list[Any]:
    """MatMul nodes whose right side is a constant matrix."""
    matrices = {each.name for each in model.graph.initializer if len(each.dims) == 2}
    return [
        node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in matrices
    ]


def _calibrate(model: Any, names: list[str], batches: Iterable[Batch]) -> dict[str, Range]:
    """Ranges of the activations `names`, over all tokens that are not padding."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    low: dict[str, list[Any]] = {name: [] for name in names}
    high: dict[str, list[Any]] = {name: [] for name in names}
    loudness: dict[str, Any] = dict.fromkeys(names, np.float32(0))
    for batch in batches:
        real = batch["attention_mask"].astype(bool)
        for name, values in zip(names, session.run(names, dict(batch)), strict=True):
            tokens = values[real]
            low[name].append(tokens.min(axis=1))
            high[name].append(tokens.max(axis=1))
            loudness[name] = np.maximum(loudness[name], np.abs(tokens).max(axis=0))
    return {
        name: Range(_zero(np.concatenate(low[name]), np.concatenate(high[name])), loudness[name])
        for name in names
    }


def _zero(low: NDArray[np.float32], high: NDArray[np.float32]) -> int:
    """The zero point with the smallest mean scale for tokens from `low` to `high`."""
    zeros = np.arange(1, _LEVELS)
    scales = np.maximum(high[:, None] / (_LEVELS - zeros), -low[:, None] / zeros)
    return int(zeros[np.maximum(scales, 0).mean(axis=0).argmin()])


def coded(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Codes [inputs, channels] and scale [channels]: their product is near `weights`."""
    widest = np.maximum(np.abs(weights).max(axis=0), 1e-12).astype(np.float32)
    best = np.full(len(widest), np.inf, np.float32)
    scale = widest / _WEIGHTS
    for clip in _CLIPS:
        tried = clip * widest / _WEIGHTS
        error = np.square(_codes(weights, tried) * tried - weights).sum(axis=0)
        better = error < best
        best[better], scale[better] = error[better], tried[better]
    return _codes(weights, scale).astype(np.int8), scale


def _codes(weights: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.clip(np.rint(weights / scale), -_WEIGHTS, _WEIGHTS)
    return found


class _Writer:
    """Rewrites the products of one graph."""

    def __init__(self, model: Any, ranges: dict[str, Range], loud: int) -> None:
        self._model = model
        self._ranges = ranges
        self._loud = loud
        self._weights = {each.name: each for each in model.graph.initializer}
        self._out: list[Any] = []
        self._constants: set[str] = set()

    def replace(self, products: list[Any]) -> None:
        """Put the int8 form in the place of each of `products`."""
        graph = self._model.graph
        self._constant("int8/one", np.float32(1))
        self._constant("int8/least", np.float32(1e-8))
        chosen = {node.output[0] for node in products}
        coded: set[str] = set()
        for node in list(graph.node):
            if node.output[0] not in chosen:
                self._out.append(node)
                continue
            if node.input[0] not in coded:
                coded.add(node.input[0])
                self._code(node.input[0])
            self._product(node)
        for name in {node.input[1] for node in products}:
            graph.initializer.remove(self._weights[name])
        del graph.node[:]
        graph.node.extend(self._out)
        self._model.opset_import.append(helper.make_opsetid(_CONTRIB, 1))

    def _code(self, x: str) -> None:
        """Nodes that give `x/codes` (uint8) and `x/scale` [..., 1] for the activation `x`."""
        zero = self._ranges[x].zero
        above = self._constant(f"int8/above/{zero}", np.float32(1 / (_LEVELS - zero)))
        below = self._constant(f"int8/below/{zero}", np.float32(-1 / zero))
        self._constant(f"int8/zero/{zero}", np.uint8(zero))
        source = x
        loud = self._loud_dimensions(x)
        if len(loud):
            quiet = np.ones_like(self._ranges[x].loudness)
            quiet[loud] = 0
            source = f"{x}/quiet"
            self._node("Mul", [x, self._constant(f"{x}/is_quiet", quiet)], source)
            which = self._constant(f"{x}/loud_at", loud)
            self._node("Gather", [x, which], f"{x}/loud", axis=2)
        self._node("ReduceMax", [source], f"{x}/high", axes=[-1], keepdims=1)
        self._node("ReduceMin", [source], f"{x}/low", axes=[-1], keepdims=1)
        self._node("Mul", [f"{x}/high", above], f"{x}/scale_above")
        self._node("Mul", [f"{x}/low", below], f"{x}/scale_below")
        self._node("Max", [f"{x}/scale_above", f"{x}/scale_below", "int8/least"], f"{x}/scale")
        self._node("Div", [source, f"{x}/scale"], f"{x}/scaled")
        self._node("QuantizeLinear", [f"{x}/scaled", "int8/one", f"int8/zero/{zero}"], f"{x}/codes")

    def _product(self, node: Any) -> None:
        """Nodes that give the output of `node` from codes, scale and loud dimensions."""
        x, name, y = node.input[0], node.input[1], node.output[0]
        weights = numpy_helper.to_array(self._weights[name])
        codes, scale = coded(weights)
        inputs = [
            f"{x}/codes",
            self._constant(f"{name}/codes", codes),
            "int8/one",
            self._constant(f"{name}/scale", scale),
            f"int8/zero/{self._ranges[x].zero}",
            self._constant(f"{name}/zero", np.zeros(len(scale), np.int8)),
        ]
        self._node("MatMulIntegerToFloat", inputs, f"{y}/unscaled", domain=_CONTRIB)
        loud = self._loud_dimensions(x)
        if not len(loud):
            self._node("Mul", [f"{y}/unscaled", f"{x}/scale"], y)
            return
        beside = self._constant(f"{name}/loud", np.ascontiguousarray(weights[loud]))
        self._node("Mul", [f"{y}/unscaled", f"{x}/scale"], f"{y}/quiet")
        self._node("MatMul", [f"{x}/loud", beside], f"{y}/loud")
        self._node("Add", [f"{y}/quiet", f"{y}/loud"], y)

    def _loud_dimensions(self, x: str) -> NDArray[np.int64]:
        loudness = self._ranges[x].loudness
        if not self._loud or loudness.max() <= _LOUD * np.median(loudness):
            return np.zeros(0, np.int64)
        return np.argsort(loudness)[-self._loud :].astype(np.int64)

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._out.append(helper.make_node(kind, inputs, [output], name=output, **attributes))

    def _constant(self, name: str, value: Any) -> str:
        if name not in self._constants:
            self._constants.add(name)
            self._model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name
