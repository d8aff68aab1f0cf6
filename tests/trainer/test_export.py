"""Export: the graphs say what torch says, and what does not is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kernel.drivers.inputs import mark, model_inputs
from trainer import quantise
from trainer.build import check_agreement
from trainer.errors import RefusedError

WIDTH = 64


def graph(path: Path) -> None:
    """y = relu(x @ a) @ b on [rows, length, width], as a transformer's feed-forward part."""
    rng = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(rng.normal(size=(WIDTH, WIDTH)).astype(np.float32), name)
        for name in "ab"
    ]
    constants.append(numpy_helper.from_array(np.array([-1], np.int64), "last"))
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Unsqueeze", ["attention_mask", "last"], ["each"]),
                helper.make_node("Cast", ["each"], ["seen"], to=TensorProto.FLOAT),
                helper.make_node("Mul", ["x", "seen"], ["masked"]),
                helper.make_node("MatMul", ["masked", "a"], ["h"]),
                helper.make_node("Relu", ["h"], ["r"]),
                helper.make_node("MatMul", ["r", "b"], ["y"]),
            ],
            "feed-forward",
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "t", WIDTH]),
                helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["n", "t"]),
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "t", WIDTH])],
            constants,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 8
    onnx.save(model, str(path))


def inputs(seed: int) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
    """Activations with one loud dimension, in one loud token."""
    x = np.random.default_rng(seed).normal(size=(4, 6, WIDTH)).astype(np.float32)
    x[:, :, 7] *= 8
    x[:, 0, 7] *= 8
    return {"x": x, "attention_mask": np.ones((4, 6), np.int64)}


def answer(path: Path, feed: dict[str, NDArray[np.float32] | NDArray[np.int64]]) -> object:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, feed)[0]


@pytest.mark.parametrize(("loud", "error"), [(0, 0.05), (2, 0.02)])
def test_int8_stays_close_though_one_dimension_of_one_token_is_loud(
    tmp_path: Path, loud: int, error: float
) -> None:
    source, target = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    graph(source)
    calibration = inputs(1)
    quantise.int8(source, target, [_flat(calibration)], loud=loud)
    feed = inputs(2)
    exact, coded = answer(source, feed), answer(target, feed)
    assert isinstance(exact, np.ndarray)
    assert isinstance(coded, np.ndarray)
    quiet = slice(1, None)  # the tokens beside the loud one must not pay for it
    assert np.abs(exact - coded)[:, quiet].mean() < error * np.abs(exact)[:, quiet].mean()
    kinds = {node.op_type for node in onnx.load(str(target)).graph.node}
    assert "MatMulIntegerToFloat" in kinds


@given(st.integers(0, 2**31), st.floats(1e-6, 1e6), st.integers(1, 40))
def test_two_products_with_a_weight_fit_in_sixteen_bits_on_any_processor(
    seed: int, size: float, channels: int
) -> None:
    weights = np.random.default_rng(seed).standard_t(2, (64, channels)).astype(np.float32)
    weights *= np.float32(size)
    codes, scale = quantise.coded(weights)
    widest = np.abs(codes.astype(np.int64)).max()
    assert 2 * 255 * widest < 2**15
    plain = np.abs(weights).max(axis=0) / 64
    kept, lost = (
        np.square(given * step - weights).sum()
        for given, step in ((codes, scale), (np.rint(weights / plain), plain))
    )
    assert kept <= lost * 1.0001


def _flat(feed: dict[str, NDArray[np.float32] | NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    return dict(feed)  # type: ignore[arg-type]


def test_a_graph_that_does_not_say_what_torch_says_is_refused() -> None:
    by_torch = np.tile(np.array([[0.9, 0.1]], np.float32), (1_000, 1))
    other = by_torch.copy()
    other[:2] = other[:2, ::-1]
    with pytest.raises(RefusedError, match=r"torch's label on 99.80% of 1000 rows"):
        check_agreement({"fp32": other}, by_torch)
    assert check_agreement({"fp32": by_torch, "int8": other}, by_torch) == {
        "fp32": 1.0,
        "int8": 0.998,
    }


def test_a_target_is_marked_where_it_stands_as_a_word() -> None:
    assert mark("IT shares: its IT firms rose", "IT") == "* IT * shares: its * IT * firms rose"
    assert mark("Profit at AXIS bank", "Axis Bank") == "Profit at * AXIS bank *"
    assert mark("nothing here", "ACME") == "nothing here"
    assert mark("$ACME (NYSE) up", "$ACME") == "* $ACME * (NYSE) up"
    assert mark("as it is", " ") == "as it is"


def test_a_pair_model_asked_without_a_target_reads_the_text_alone() -> None:
    assert model_inputs("pair-classifier", "mention", ["a b", "c"], ["b", None]) == [
        ("b", "a * b *"),
        "c",
    ]
    assert model_inputs("text-classifier", "mention", ["a b"], ["b"]) == ["a b"]
